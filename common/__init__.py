"""How commands, settings, the journal and durable files are done; nothing of microscopes. Imports no other room."""

import os

# OpenCV reads its bounds on decoded images once, when it is loaded: so they stand here, before any of our rooms
# imports it. 64 megapixels are 192 MB, well over any microscope camera and well under a board's memory. They are no
# settings: larger frames are refused in any case, and OpenCV ends the process over a value that is no number.
os.environ |= {
    "OPENCV_IO_MAX_IMAGE_PIXELS": "64000000",
    "OPENCV_IO_MAX_IMAGE_WIDTH": "64000000",
    "OPENCV_IO_MAX_IMAGE_HEIGHT": "64000000",
}
# FFmpeg must not decode what the transport says is cut, and must not lose packets where a camera can send them by TCP.
os.environ.setdefault("OPENCV_FFMPEG_CAPTURE_OPTIONS", "fflags;discardcorrupt|rtsp_transport;tcp")
# What is wrong with a file or a camera, the agent says itself, once. These two are levels of OpenCV and FFmpeg.
os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")

# ONNX Runtime reports to its maker over the network and keeps a device id in the home folder, unless it is told not to
# before it is loaded. What runs in a laboratory tells nobody anything.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
