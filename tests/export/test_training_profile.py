"""What the manifest keeps of the training images: measured on drawn cells."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from calibration.strata import stratified
from contract.manifest import Decision, Decisions, InputSpec
from contract.reference import Reference
from evaluation.datasets import LAYOUTS
from evaluation.datasets.files import images_below
from evaluation.datasets.sample import Sample
from export.golden import draw_cell
from export.scored import ENGINES, Scored
from export.training_profile import LEVELS, profile_of_samples, reference_of

WIDE = InputSpec(um_per_pixel=0.2, size=180, mean=(0, 0, 0), std=(1, 1, 1))
DECISIONS = Decisions(
    fp32=Decision(temperature=2, threshold=0.4, uncertain_from=0.3, uncertain_to=0.8),
    int8=Decision(temperature=0.5, threshold=0.4, uncertain_from=0.3, uncertain_to=0.8),
)


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> list[Sample]:
    root = tmp_path_factory.mktemp("cells")
    rng = np.random.default_rng(3)
    for kind in ("normal", "blast"):
        (root / kind).mkdir()
        for k in range(6):
            cv2.imwrite(str(root / kind / f"{k}.png"), draw_cell(WIDE, blast=kind == "blast", rng=rng))
    return LAYOUTS["folders"].find(root)


def scored(samples: list[Sample], margins: np.ndarray) -> Scored:
    rows = np.stack([np.zeros_like(margins), margins], axis=1).astype(np.float32)
    return Scored(samples, np.zeros((len(samples), 16, 16, 3), np.uint8), dict.fromkeys(ENGINES, rows))


def a_reference(samples: list[Sample], gate: Scored) -> Reference:
    made = reference_of(samples, gate, DECISIONS, um_per_pixel=0.2, on="drawn cells")
    assert made is not None
    return made


def test_it_holds_what_was_drawn(samples: list[Sample]) -> None:
    """Background as drawn; nuclei take more green and red than red cells, and hardly more blue."""
    reference = a_reference(samples, scored(samples, np.arange(12.0)))
    assert reference.images > 6
    assert np.array(reference.bare) * 255 == pytest.approx((222, 214, 228), abs=6)
    assert reference.nuclei.mean[1] > 1.5 * reference.red_cells.mean[1]
    assert reference.stains.blue[2] / reference.stains.blue[0] > reference.stains.red[2] / reference.stains.red[0]
    assert reference.focus.low <= reference.focus.mean <= reference.focus.high


def test_scores_are_calibrated_log_odds_of_each_precision(samples: list[Sample]) -> None:
    """The fourth cell of the blasts is at 2 for FP32 if its margin is 4, and at 8 for INT8."""
    margins = np.array([4.0 if s.kind == "blast" else -6.0 for s in samples])
    scores = a_reference(samples, scored(samples, margins)).scores
    assert scores.levels == LEVELS
    assert set(scores.fp32.blast or ()) == {2.0}
    assert set(scores.fp32.normal or ()) == {-3.0}
    assert set(scores.int8.blast or ()) == {8.0}
    assert scores.fp32.cells == 12
    assert scores.fp32.every[0] == -3.0
    assert scores.fp32.every[-1] == 2.0
    assert scores.on == "drawn cells"


def test_cells_without_labels_have_one_distribution(samples: list[Sample]) -> None:
    nobody_knows = [Sample(s.path, s.patient, "", "rare", s.split) for s in samples]
    scores = a_reference(samples, scored(nobody_knows, np.arange(12.0))).scores
    assert scores.fp32.normal is None
    assert scores.fp32.blast is None
    assert scores.fp32.every[4] == pytest.approx(5.5 / 2)


def test_cells_cut_out_on_black_have_no_look(tmp_path: Path, samples: list[Sample]) -> None:
    for k, sample in enumerate(samples):
        image = cv2.imread(str(sample.path))
        assert image is not None
        disc = cv2.circle(np.zeros(image.shape[:2], np.uint8), (90, 90), 35, 1, cv2.FILLED)
        cv2.imwrite(str(tmp_path / f"{k}.png"), image * disc[..., None])
    black = [Sample(p, p.name, "", "rare", "training") for p in images_below(tmp_path)]
    assert profile_of_samples(black, 0.2) is None
    gate = scored(samples, np.arange(12.0))
    assert reference_of(black, gate, DECISIONS, um_per_pixel=0.2, on="drawn cells") is None


def test_it_is_the_same_every_time(samples: list[Sample]) -> None:
    """Threads read the images; their order does not show."""
    some = [samples[k] for k in stratified([s.kind for s in samples], 8, 0)]
    assert profile_of_samples(some, 0.2) == profile_of_samples(some, 0.2)
