"""From scores to labels."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.decide import blast_probability, decide, label_of
from contract.manifest import (
    Calibration,
    ClassName,
    ClassSpec,
    Decision,
    Decisions,
    Gate,
    InputSpec,
    Manifest,
    Unknown,
)
from contract.types import Box, Cell, Prediction

DECISION = Decision(temperature=2, threshold=0.5, uncertain_from=0.3, uncertain_to=0.7)
CLASSES = (ClassSpec(name="normal", description="-"), ClassSpec(name="blast", description="-"))
CELL = Cell(Box(0, 0, 10, 10), (5, 5), 50.0)
CUT = Cell(Box(0, 0, 10, 10), (5, 5), 50.0, flags=("edge",))


KINDS: tuple[ClassName, ...] = ("normal", "lymphoblast", "myeloblast", "other")
UNKNOWN = Unknown(other=0.5, distance=2.0)


def manifest_with(classes: tuple[ClassSpec, ...], unknown: Unknown | None = None) -> Manifest:
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
        unknown=unknown,
        files={},
    )


def kinds(*rows: list[float]) -> list[Prediction]:
    """Predictions of a model that tells four kinds and knows a distance."""
    manifest = manifest_with(tuple(ClassSpec(name=name, description="-") for name in KINDS), UNKNOWN)
    return decide([CELL] * len(rows), np.array(rows, np.float32), manifest, "fp32")


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
    whole, cut = decide([CELL, CUT], scores, manifest_with(CLASSES), "int8")
    assert whole.label == "blast"
    assert cut == Prediction(CUT, "not_judged", None)


def test_cells_and_scores_must_pair_up() -> None:
    with pytest.raises(ValueError, match="1 cells"):
        decide([CELL], np.zeros((2, 2), np.float32), manifest_with(CLASSES), "int8")


@given(st.lists(st.floats(-(2.0**80), 2.0**80, width=32), min_size=2, max_size=2))
def test_any_scores_give_a_probability(row: list[float]) -> None:
    p = blast_probability(np.array([row], np.float32), manifest_with(CLASSES), "int8")[0]
    assert 0 <= p <= 1


def test_kinds_of_blasts_add_up_to_a_blast() -> None:
    """Scores 0, ln 2 and ln 1 are odds of 3 to 1."""
    (found,) = kinds([0, np.log(2), np.log(1), -9, 0])
    assert found.probability == pytest.approx(0.75)
    assert found.classes == pytest.approx({"normal": 0.25, "lymphoblast": 0.5, "myeloblast": 0.25})
    assert found.label == "blast"


def test_what_is_no_cell_to_be_judged_is_uncertain_with_the_reason() -> None:
    smudge, sound = kinds([0, 9, 0, 3, 0], [0, 9, 0, -3, 0])
    assert (smudge.label, smudge.doubts) == ("uncertain", ("other",))
    assert (sound.label, sound.doubts) == ("blast", ())


def test_a_cell_far_from_the_trainings_is_uncertain_with_the_reason() -> None:
    far, near = kinds([9, 0, 0, -9, 2.1], [9, 0, 0, -9, 1.9])
    assert (far.label, far.doubts) == ("uncertain", ("unlike_training",))
    assert (near.label, near.doubts) == ("normal", ())


def test_a_frame_in_doubt_judges_no_cell_and_says_why() -> None:
    manifest = manifest_with(CLASSES)
    (found,) = decide([CELL], np.array([[-9, 9]], np.float32), manifest, "int8", doubts=("colours_unknown",))
    assert (found.label, found.doubts) == ("uncertain", ("colours_unknown",))
    assert found.probability is not None
    assert found.probability > 0.9


@pytest.mark.parametrize(
    "names",
    [("normal", "other"), ("normal", "normal"), ("lymphoblast", "myeloblast"), ("normal", "blast", "myeloblast")],
)
def test_classes_that_do_not_go_together_are_refused(names: tuple[ClassName, ...]) -> None:
    with pytest.raises(ValueError, match=r"classes|go together"):
        manifest_with(tuple(ClassSpec(name=name, description="-") for name in names))


def test_a_class_other_needs_a_limit_and_a_limit_the_class() -> None:
    four, two = (tuple(ClassSpec(name=name, description="-") for name in KINDS[:count]) for count in (4, 2))
    with pytest.raises(ValueError, match="go together"):
        manifest_with(four)
    with pytest.raises(ValueError, match="go together"):
        manifest_with(two, UNKNOWN)
