"""Cells as other laboratories would show them: another look, aligned, the same each time."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from contract.manifest import CellColours, CellView, InputSpec
from contract.types import Crops
from evaluation.datasets import LAYOUTS
from evaluation.datasets.sample import Sample
from training.augment import LIGHT
from training.laboratories import EVERY, LABORATORIES, Laboratory, draw_laboratory, foreign_features

SIDE = 64
GOAL = CellColours(mean=(0.5, 0.35, 0.6), std=(0.16, 0.19, 0.08))
SPEC = InputSpec(
    um_per_pixel=18 / SIDE, size=SIDE, mean=(0, 0, 0), std=(1, 1, 1), cell=CellView(colours=GOAL, surroundings=LIGHT)
)
SURROUNDINGS = np.rint(np.array(LIGHT[::-1]) * 255)
AS_IT_IS = np.column_stack([np.eye(3), np.zeros(3)]).astype(np.float32)


@pytest.fixture(scope="module")
def samples(drawn_folder: Path) -> list[Sample]:
    return sorted(LAYOUTS["folders"].find(drawn_folder), key=lambda s: s.path)


def seen(samples: list[Sample], spec: InputSpec = SPEC) -> tuple[list[Crops], list[Sample]]:
    """The crops in place of their features."""
    parts: list[Crops] = []

    def keep(crops: Crops) -> np.ndarray:
        parts.append(crops)
        return np.zeros((len(crops), 1), np.float32)

    features, places = foreign_features(keep, samples, spec, um_per_pixel=0.2, quiet=True)
    assert [len(rows) for rows in features] == [len(crops) for crops in parts]
    return parts, [samples[k] for k in places]


def test_each_laboratory_shows_its_share_of_the_cells_and_all_together_show_every_cell(samples: list[Sample]) -> None:
    parts, owners = seen(samples)
    assert len(parts) == LABORATORIES
    assert sum(map(len, parts)) == len(owners)
    assert {len(crops) for crops in parts} <= {len(samples) // EVERY, len(samples) // EVERY + 1}
    assert {s.path for s in owners} == {s.path for s in samples}


def test_cells_are_alone_and_aligned_as_a_real_laboratory_s_are(samples: list[Sample]) -> None:
    told = []
    for crops in seen(samples)[0]:
        cell = (crops != SURROUNDINGS).any(axis=3)
        assert 0.05 < cell.mean() < 0.6
        inside = crops[cell][:, ::-1] / 255
        told.append((inside.mean(axis=0), inside.std(axis=0)))
    mean, std = np.median(np.array(told), axis=0)
    assert mean == pytest.approx(GOAL.mean, abs=0.04)
    assert std == pytest.approx(GOAL.std, rel=0.2)


def test_the_same_cells_give_the_same_views(samples: list[Sample]) -> None:
    (first, names), (again, others) = seen(samples), seen(samples)
    assert all(np.array_equal(*pair) for pair in zip(first, again, strict=True))
    assert names == others


def test_what_alignment_can_not_undo_differs_between_laboratories(samples: list[Sample]) -> None:
    """The first and the last that show the same cells do not show the same."""
    parts, _ = seen(samples)
    one, other = parts[0], parts[LABORATORIES - EVERY]
    assert one.shape == other.shape
    turned = [np.rot90(other, k, axes=(1, 2)) for k in range(4)]
    cells = (one != SURROUNDINGS).any(axis=3)
    assert min(np.abs(one.astype(int) - picture)[cells].mean() for picture in turned) > 5


def test_of_cells_on_black_each_laboratory_shows_fewer(samples: list[Sample]) -> None:
    parts, _ = seen([*samples, *(replace(s, dataset="b", cut_out=True) for s in samples * 4)])
    assert [len(crops) for crops in parts[:2]] == [len(samples) // 4 + (len(samples) % 4 > 0), len(samples) // 4]


def test_a_model_that_sees_surroundings_has_no_such_views(samples: list[Sample]) -> None:
    assert seen(samples, SPEC.model_copy(update={"cell": None})) == ([], [])


def test_images_without_a_cell_are_left_out(samples: list[Sample], tmp_path: Path) -> None:
    blank = tmp_path / "blank.png"
    cv2.imwrite(str(blank), np.full((96, 96, 3), 230, np.uint8))
    _, owners = seen([replace(samples[0], path=blank), *samples])
    assert {s.path for s in owners} == {s.path for s in samples}


def test_a_laboratory_that_changes_nothing_shows_the_cells_as_they_are() -> None:
    crops = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), np.uint8)
    looks = Laboratory(AS_IT_IS, 0.0).looks(crops, np.random.default_rng(0))
    assert np.abs(looks.astype(int) - crops).max() <= 1


@pytest.mark.parametrize("seed", range(5))
def test_a_laboratory_keeps_dark_dark(seed: int) -> None:
    """What is denser in all colours stays denser: nuclei stay darker than the field."""
    laboratory = draw_laboratory(np.random.default_rng(seed))
    grey = np.repeat(np.array([230, 60], np.uint8)[:, None], 3, axis=1).reshape(1, 1, 2, 3)
    looks = Laboratory(laboratory.density, 0.0).looks(grey, np.random.default_rng(0))
    light, dark = looks[0, 0].astype(int).sum(axis=1)
    assert dark < light
