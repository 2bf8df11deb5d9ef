"""White cells of real frames with other looks, and of a laboratory with greenish light."""

import os
from pathlib import Path

import pytest

from bench.restain import AS_IT_IS, LOOKS, Labelled, judged, labelled

pytestmark = [
    pytest.mark.requires_data,
    pytest.mark.skipif("MICROSCOPE_DATA" not in os.environ, reason="MICROSCOPE_DATA does not name the real images"),
]


BARS = {"recall": 0.97, "precision": 0.96}


@pytest.fixture(scope="module")
def frames() -> dict[str, list[Labelled]]:
    return labelled(Path(os.environ["MICROSCOPE_DATA"]), 30)


def test_under_greenish_light_each_white_cell_is_one_and_no_red_cell_is(frames: dict[str, list[Labelled]]) -> None:
    found = judged(frames["draaslan"], AS_IT_IS, "draaslan")
    assert found["recall"] >= 0.97
    assert found["precision"] >= 0.97
    assert found["refused"] == 0


@pytest.mark.parametrize("look", LOOKS)
def test_white_cells_are_found_and_frames_judged_whatever_the_stain_looks_like(
    look: str, frames: dict[str, list[Labelled]]
) -> None:
    """Of the three data sets together: single ones are too few to tell a hundredth."""
    found = [judged(some, look, source) for source, some in frames.items()]
    weights = [sum(len(f.boxes) for f in some) for some in frames.values()]
    for name, least in BARS.items():
        assert sum(f[name] * w for f, w in zip(found, weights, strict=True)) / sum(weights) >= least, (name, found)
    assert max(f["refused"] for f in found) <= 0.1, found
