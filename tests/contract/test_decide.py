"""From scores to labels."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.decide import blast_probability, decide, label_of
from contract.manifest import Calibration, ClassSpec, Decision, Decisions, Gate, InputSpec, Manifest
from contract.types import Box, Cell

DECISION = Decision(temperature=2, threshold=0.5, uncertain_from=0.3, uncertain_to=0.7)
CLASSES = (ClassSpec(name="normal", description="-"), ClassSpec(name="blast", description="-"))
CELL = Cell(Box(0, 0, 10, 10), (5, 5), 50.0)
CUT = Cell(Box(0, 0, 10, 10), (5, 5), 50.0, flags=("edge",))


def manifest_with(classes: tuple[ClassSpec, ...]) -> Manifest:
    return Manifest(
        id="test-1",
        model="test",
        version=1,
        created_at="2026-01-31T12:00:00Z",
        task="none",
        terms="none",
        input=InputSpec(um_per_pixel=0.25, size=16, mean=(0, 0, 0), std=(1, 1, 1)),
        classes=classes,
        decisions=Decisions(fp32=DECISION.model_copy(update={"temperature": 1}), int8=DECISION),
        gate=Gate(state="passed", cells=1, on="none"),
        calibration=Calibration(method="minmax", cells=1, sample_sha256="0" * 64),
        files={},
    )


def test_the_temperature_divides_the_margin() -> None:
    scores = np.array([[0, 2 * np.log(3)]], np.float32)
    np.testing.assert_allclose(blast_probability(scores, manifest_with(CLASSES), "int8"), [0.75], rtol=1e-6)


def test_each_precision_has_its_own_decision() -> None:
    scores = np.array([[0, np.log(3)]], np.float32)
    np.testing.assert_allclose(blast_probability(scores, manifest_with(CLASSES), "fp16"), [0.75], rtol=1e-6)
    assert blast_probability(scores, manifest_with(CLASSES), "int8")[0] < 0.7


def test_the_blast_column_is_found_by_name() -> None:
    scores = np.array([[5, -5]], np.float32)
    assert blast_probability(scores, manifest_with(CLASSES), "int8")[0] < 0.01
    assert blast_probability(scores, manifest_with(CLASSES[::-1]), "int8")[0] > 0.99


@pytest.mark.parametrize(
    ("probability", "label"), [(0.29, "normal"), (0.3, "uncertain"), (0.7, "uncertain"), (0.71, "blast")]
)
def test_the_band_belongs_to_uncertain(probability: float, label: str) -> None:
    assert label_of(probability, DECISION) == label


def test_a_cell_cut_by_the_border_is_never_judged() -> None:
    scores = np.array([[-9, 9], [-9, 9]], np.float32)
    labels = [p.label for p in decide([CELL, CUT], scores, manifest_with(CLASSES), "int8")]
    assert labels == ["blast", "uncertain"]


def test_cells_and_scores_must_pair_up() -> None:
    with pytest.raises(ValueError, match="1 cells"):
        decide([CELL], np.zeros((2, 2), np.float32), manifest_with(CLASSES), "int8")


@given(st.lists(st.floats(-(2.0**80), 2.0**80, width=32), min_size=2, max_size=2))
def test_any_scores_give_a_probability(row: list[float]) -> None:
    p = blast_probability(np.array([row], np.float32), manifest_with(CLASSES), "int8")[0]
    assert 0 <= p <= 1
