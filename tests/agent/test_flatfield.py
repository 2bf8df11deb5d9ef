"""The flat field: what shows it, what does not, and what dividing by it does."""

import struct
import threading
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import pytest

from agent.sources.synthetic import SyntheticSource
from agent.vision.flatfield import FlatField, Leveller, measure, read_flat, write_flat
from agent.vision.quality import assess
from agent.vision.segmentation import find_cells
from common.errors import CheckError, IntegrityError, UsageError
from contract.types import Image

SIZE = (240, 320)
UM = 0.2


def lamp(image: Image, *, loss: float = 0.65) -> Image:
    """Light that falls from a place off the middle to ``1 - loss`` of it in the farthest corner."""
    y, x = np.mgrid[-1 : 1 : image.shape[0] * 1j, -1 : 1 : image.shape[1] * 1j]
    square = (x - 0.2) ** 2 + (y + 0.1) ** 2
    return np.asarray(image * (1 - loss * square / square.max())[..., None], np.uint8)


def empty_fields(count: int = 5, *, level: int = 230) -> list[Image]:
    rng = np.random.default_rng(0)
    return [lamp(np.asarray(np.clip(rng.normal(level, 2, (*SIZE, 3)), 0, 255), np.uint8)) for _ in range(count)]


@lru_cache
def smears(count: int = 24) -> tuple[Image, ...]:
    source = SyntheticSource(frames=count, seed=3, um_per_pixel=UM, height=SIZE[0], width=SIZE[1])
    with source.open(threading.Event()) as made:
        return tuple(frame.image for frame in made)


def test_an_empty_field_shows_the_light() -> None:
    flat = measure(empty_fields())
    truth = lamp(np.full((*SIZE, 3), 250, np.uint8)) / 250
    assert flat.empty
    assert flat.frames == 5
    assert flat.light.shape == (*SIZE, 3)
    assert flat.light.max() == 1
    assert np.abs(flat.light / (truth / truth.max()) - 1).max() < 0.03
    assert flat.notes == ()


def test_a_moving_smear_shows_it_too() -> None:
    """The rendered smear has a lamp of its own, which the flat field holds as well."""
    own, both = (measure([spoil(image) for image in smears()]) for spoil in (np.copy, lamp))
    assert not both.empty
    truth = lamp(np.full((*SIZE, 3), 250, np.uint8)) / 250 * own.light
    ratio = both.light / truth
    assert np.abs(ratio / np.median(ratio) - 1).max() < 0.06


@pytest.mark.parametrize(
    ("images", "why"),
    [
        (lambda: empty_fields(2), "too few"),
        (lambda: [np.full((*SIZE, 3), 255, np.uint8)] * 5, "limit"),
        (lambda: [np.full((*SIZE, 3), 40, np.uint8)] * 5, "expose"),
        (lambda: [*empty_fields(3), empty_fields(1)[0][:200]], "differ in size"),
        (lambda: [lamp(image, loss=0.8) for image in empty_fields()], "condenser"),
        (lambda: smears()[:5], "not empty"),
        (lambda: [smears()[0]] * 24, "stand still"),
    ],
    ids=["few", "white", "dark", "sizes", "vignette", "cells", "still"],
)
def test_frames_that_do_not_show_it_are_refused_with_the_reason(
    images: Callable[[], Sequence[Image]], why: str
) -> None:
    with pytest.raises(CheckError, match=why):
        measure(images())


def test_dust_and_defective_pixels_are_named() -> None:
    dirty, shadow = empty_fields(), np.ones((*SIZE, 1))
    shadow[50:58, 100:108] = 0.8
    for image in dirty:
        image[:] = cv2.GaussianBlur(image * shadow, (0, 0), 1.5)
        image[150, 160] = 0
    notes = "; ".join(measure(dirty).notes)
    assert "dust at (x, y) (104, 54)" in notes
    assert "(160, 150)" in notes


def test_a_vignetted_smear_is_uneven_and_passes_with_the_flat_field_and_shows_the_same_cells() -> None:
    level = Leveller(measure(empty_fields()).light)
    for image in smears()[:6]:
        dim = lamp(image)
        assert "uneven" in assess(dim, UM).reasons
        even = level(dim)
        assert assess(even, UM).accepted
        ours, theirs = ([cell.centre for cell in find_cells(picture, UM)] for picture in (even, image))
        assert len(ours) == len(theirs)
        assert np.abs(np.array(ours) - np.array(theirs)).max(initial=0) < 1 / UM


def test_a_frame_of_another_size_does_not_fit() -> None:
    level = Leveller(np.ones((*SIZE, 3), np.float32))
    assert level.fits(np.zeros((*SIZE, 3), np.uint8))
    assert not level.fits(np.zeros((200, 320, 3), np.uint8))
    assert "320x200" in level.misfit(np.zeros((200, 320, 3), np.uint8))


def test_the_frame_is_left_as_it_is() -> None:
    image = smears()[0]
    before = image.copy()
    Leveller(np.full((*SIZE, 3), 0.5, np.float32))(image)
    assert np.array_equal(image, before)


def test_a_flat_field_comes_back_from_its_file(tmp_path: Path) -> None:
    flat = measure(empty_fields())
    write_flat(flat, tmp_path / "a" / "flat.png")
    content = (tmp_path / "a" / "flat.png").read_bytes()
    assert np.abs(read_flat(content, tmp_path) - flat.light).max() < 1e-4


def test_a_file_that_is_no_flat_field_is_refused(tmp_path: Path) -> None:
    for content in (b"", b"no png", cv2.imencode(".png", np.zeros((4, 4, 3), np.uint8))[1].tobytes()):
        with pytest.raises(IntegrityError, match="no flat field"):
            read_flat(content, tmp_path / "flat.png")
    dark = cv2.imencode(".png", np.zeros((4, 4, 3), np.uint16))[1].tobytes()
    with pytest.raises(IntegrityError, match="no light"):
        read_flat(dark, tmp_path / "flat.png")
    with pytest.raises(UsageError, match="no PNG"):
        write_flat(FlatField(np.ones((4, 4, 3), np.float32), 3, empty=True, notes=()), tmp_path / "flat.npz")


def test_a_picture_that_would_fill_the_memory_is_refused_by_its_head(tmp_path: Path) -> None:
    """Of these there is no more than a head: who decoded one would say that it is damaged."""
    for width, height, bits, colour in (
        (8000, 8000, 16, 6),
        (8000, 8000, 8, 0),
        (8000, 8000, 16, 2),
        (1 << 31, 1, 16, 2),
    ):
        head = b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sIIBB", 13, b"IHDR", width, height, bits, colour)
        with pytest.raises(IntegrityError, match="no flat field; make it with"):
            read_flat(head + bytes(1000), tmp_path / "flat.png")
    with pytest.raises(IntegrityError, match="the PNG is damaged"):
        read_flat(b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sIIBB", 13, b"IHDR", 8, 8, 16, 2), tmp_path / "flat.png")
