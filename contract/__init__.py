"""What the rooms promise one another; imports none of ours."""

import os

# OpenCV reads its bound on decoded images once, when it is loaded: so it stands here, before any of our rooms
# imports it. 64 megapixels are 192 MB, well over any microscope camera and well under a board's memory.
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", "64000000")
