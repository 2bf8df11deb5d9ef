"""Grey pictures whose brightness tells their number, and files of them."""

from pathlib import Path

import cv2
import numpy as np

from contract.types import Image

SIZE = (64, 48)


def picture(number: int) -> Image:
    """A grey picture of 64 x 48 pixels."""
    return np.full((SIZE[1], SIZE[0], 3), 40 + number, np.uint8)


def number_of(image: Image) -> int:
    """Which picture an image is."""
    return round(float(image.mean())) - 40


def jpeg(number: int) -> bytes:
    """The picture as a JPEG."""
    return cv2.imencode(".jpg", picture(number))[1].tobytes()


def write_pictures(folder: Path, count: int) -> None:
    """Write pictures 1 to ``count`` as PNG."""
    folder.mkdir(exist_ok=True)
    for number in range(1, count + 1):
        cv2.imwrite(str(folder / f"frame{number}.png"), picture(number))


def write_video(path: Path, count: int) -> None:
    """Write pictures 1 to ``count`` as a lossless video of ten a second."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"FFV1"), 10, SIZE)
    for number in range(1, count + 1):
        writer.write(picture(number))
    writer.release()
