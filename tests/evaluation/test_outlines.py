"""The cell in the middle of a labelled image, and what colours the cells of a data set have."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from contract.cell_colours import distance
from evaluation.datasets import LAYOUTS
from evaluation.datasets.files import read_image
from evaluation.datasets.outlines import colours_by_data_set, outline_of
from evaluation.datasets.sample import Sample
from export.training_profile import aligned
from tests.drawn import WIDE, write_cells


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> list[Sample]:
    """Drawn cells, 0.2 um per pixel."""
    root = write_cells(tmp_path_factory.mktemp("cells"), patients=3, each=3)
    return [replace(s, um_per_pixel=0.2) for s in LAYOUTS["folders"].find(root)]


def test_the_cell_in_the_middle_is_outlined_as_the_agent_outlines_it(samples: list[Sample]) -> None:
    """Drawn white cells have radii of 5.5 to 7.5 um, so areas of 95 to 177 square micrometres."""
    outlines = [outline_of(read_image(s.path), s, 0.2) for s in samples]
    areas = [cv2.contourArea(o) * 0.04 for o in outlines if o is not None]
    assert len(areas) >= 0.8 * len(samples)
    assert 80 < np.median(areas) < 190


def test_a_cell_on_black_is_outlined_where_the_black_ends(tmp_path: Path) -> None:
    image = np.zeros((60, 80, 3), np.uint8)
    cv2.circle(image, (40, 30), 20, (120, 60, 110), -1)
    outline = outline_of(image, Sample(tmp_path, "1", "all", "blast", "training", cut_out=True), 0.1)
    assert outline is not None
    assert cv2.contourArea(outline) == pytest.approx(np.pi * 400, rel=0.05)


def test_an_image_without_a_cell_in_its_middle_has_no_outline(samples: list[Sample]) -> None:
    assert outline_of(np.full((100, 100, 3), 220, np.uint8), samples[0], 0.2) is None
    assert outline_of(np.zeros((100, 100, 3), np.uint8), replace(samples[0], cut_out=True), 0.2) is None


def test_each_data_set_has_colours_of_its_own(samples: list[Sample], tmp_path: Path) -> None:
    """The second is the first under a third less light."""
    dark = []
    for k, sample in enumerate(samples):
        path = tmp_path / f"{k}.png"
        cv2.imwrite(str(path), (read_image(sample.path) * 0.67).astype(np.uint8))
        dark.append(replace(sample, path=path, dataset="dark"))
    found = colours_by_data_set([*samples, *dark], quiet=True)
    assert set(found) == {"folders", "dark"}
    ratio = np.array(found["dark"].mean) / found["folders"].mean
    np.testing.assert_allclose(ratio, 0.67, atol=0.05)
    assert distance(found["dark"], found["folders"]) > 1


def test_a_bundle_says_the_colours_of_its_training_unless_several_data_sets_were_in_it(samples: list[Sample]) -> None:
    (own,) = colours_by_data_set(samples, quiet=True).values()
    found = aligned(WIDE, samples, ["folders"], um_per_pixel=None)
    assert found.cell is not None
    assert found.cell.colours == own
    assert aligned(WIDE, samples, ["cnmc", "folders"], um_per_pixel=None).cell is None
    assert aligned(WIDE, samples, ["deepapl"], um_per_pixel=None).cell is None
