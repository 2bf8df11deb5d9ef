"""Cells that look alike are near each other, whatever picture format holds them."""

import cv2
import numpy as np
import pytest

from contract.manifest import InputSpec
from contract.pixels import BEYOND
from contract.types import Image
from dashboard.reviews.likeness import (
    DIMENSIONS,
    StoredPicture,
    by_likeness,
    described,
    descriptor_of,
    distances,
)
from export.golden import draw_cell

SPEC = InputSpec(um_per_pixel=0.2, size=150, mean=(0, 0, 0), std=(1, 1, 1))


def drawn(*, blast: bool, seed: int) -> Image:
    return draw_cell(SPEC, blast=blast, rng=np.random.default_rng(seed))


def png(image: Image) -> bytes:
    return cv2.imencode(".png", image)[1].tobytes()


def test_drawn_cells_of_one_kind_are_nearer_to_each_other_than_to_the_other_kind() -> None:
    cells = {f"{kind}{n}": drawn(blast=kind == "blast", seed=n) for kind in ("blast", "normal") for n in range(8)}
    table = {name: descriptor_of(image, 0.2, 150.0) for name, image in cells.items()}
    alike = 0
    for name in cells:
        nearest = by_likeness(list(cells), table, name)
        assert nearest[0] == name
        alike += sum(other[:5] == name[:5] for other in nearest[1:8])
    assert alike > 0.9 * len(cells) * 7


def test_size_tells_cells_of_one_colour_apart() -> None:
    image = drawn(blast=True, seed=1)
    table = {
        "a": descriptor_of(image, 0.2, 100),
        "b": descriptor_of(image, 0.2, 110),
        "c": descriptor_of(image, 0.2, 300),
    }
    assert by_likeness(["c", "b", "a"], table, "a") == ["a", "b", "c"]


def test_what_lies_around_a_cell_hardly_counts() -> None:
    image = drawn(blast=True, seed=1)
    crowded = image.copy()
    crowded[:20], crowded[-20:] = (90, 90, 200), (90, 90, 200)
    table = {
        "a": descriptor_of(image, 0.2, 150),
        "crowded": descriptor_of(crowded, 0.2, 150),
        "other": descriptor_of(drawn(blast=True, seed=2), 0.2, 150),
    }
    found = distances(table, "a")
    assert found["crowded"] < 0.5 * found["other"]


def test_a_cell_is_like_itself_at_another_scale() -> None:
    image = drawn(blast=True, seed=1)
    half = np.asarray(cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), np.uint8)
    table = {
        "a": descriptor_of(image, 0.2, 150),
        "half": descriptor_of(half, 0.4, 150),
        "other": descriptor_of(drawn(blast=False, seed=2), 0.2, 150),
    }
    found = distances(table, "a")
    assert found["half"] < 0.5 * found["other"]


def test_what_lies_beyond_the_frame_makes_no_cell_like_another() -> None:
    """As if the frame's border went on there, which it does in what networks see."""
    image = drawn(blast=True, seed=1)
    height, width = image.shape[:2]
    cut, other = image.copy(), drawn(blast=False, seed=2)
    for one in (cut, other):
        one[: height // 5], one[:, : width // 4] = BEYOND, BEYOND
    plain, at_border, another = (described(StoredPicture(png(one), 0.2), 150) for one in (image, cut, other))
    assert plain is not None
    assert at_border is not None
    assert another is not None
    found = distances({"a": plain, "at border": at_border, "other": another}, "a")
    assert found["at border"] < 0.2 * found["other"]
    raw = distances({"a": plain, "raw": descriptor_of(cut, 0.2, 150)}, "a")["raw"]
    assert found["at border"] < raw


@pytest.mark.parametrize("shape", [(1, 1, 3), (8, 300, 3)])
def test_a_picture_of_any_form_has_a_descriptor(shape: tuple[int, int, int]) -> None:
    found = descriptor_of(np.full(shape, 200, np.uint8), 0.1, 0.0)
    assert found.shape == (DIMENSIONS,)
    assert np.isfinite(found).all()


def test_what_is_no_picture_has_none_and_comes_last() -> None:
    assert described(None, 100) is None
    assert described(StoredPicture(b"no picture", 0.1), 100) is None
    image = drawn(blast=True, seed=1)
    found = described(StoredPicture(png(image), 0.2), 150)
    assert found is not None
    assert by_likeness(["x", "a", "b"], {"a": found, "b": found}, "b") == ["b", "a", "x"]
    assert by_likeness(["x", "a", "b"], {"a": found}, "b") == ["b", "x", "a"]
