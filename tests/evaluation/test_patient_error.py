"""The error that a model is known to make: by patient, among the cells that it calls."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from contract.known_error import ModelError
from contract.manifest import TWO, Columns, Decision, Unknown
from contract.types import Tensor
from evaluation.datasets.sample import Kind, Sample
from evaluation.patient_error import known_error

DECISION = Decision(temperature=1.0, threshold=0.5, uncertain_from=0.4, uncertain_to=0.6)
Cell = tuple[Sample, float]
"""A cell, and its margin."""


def cells(patient: str, kind: Kind, right: int, wrong: int, uncertain: int = 0) -> list[Cell]:
    sign = 3.0 if kind == "blast" else -3.0
    margins = [sign] * right + [-sign] * wrong + [0.0] * uncertain
    return [(Sample(Path(f"{patient}-{k}"), patient, "", kind, "validation"), m) for k, m in enumerate(margins)]


def found(given: list[Cell], columns: Columns = TWO, unknown: Unknown | None = None) -> ModelError | None:
    scores = np.zeros((len(given), columns.width), np.float32)
    scores[:, columns.blasts[0]] = [margin for _, margin in given]
    return measured([sample for sample, _ in given], scores, columns, unknown)


def measured(samples: list[Sample], scores: Tensor, columns: Columns, unknown: Unknown | None) -> ModelError | None:
    return known_error(samples, scores, DECISION, columns=columns, unknown=unknown)


def five(kind: Kind = "normal", *, right: int = 20, wrong: int = 0) -> list[Cell]:
    return [cell for k in range(5) for cell in cells(f"{kind} {k}", kind, right, wrong)]


def test_patients_weigh_alike_however_many_cells_they_have() -> None:
    """Shares 1, 1, 1, 0.5, 0.5: mean 0.8, standard deviation 0.27386."""
    blasts = [
        *cells("a", "blast", 200, 0), *cells("b", "blast", 20, 0), *cells("c", "blast", 10, 0),
        *cells("d", "blast", 10, 10), *cells("e", "blast", 5, 5),
    ]  # fmt: skip
    error = found([*blasts, *five()])
    assert error is not None
    assert (error.sensitivity.mean, error.sensitivity.std) == pytest.approx((0.8, 0.27386), abs=1e-5)
    assert error.sensitivity.patients == 5


def test_a_cell_that_is_uncertain_is_in_neither() -> None:
    blasts = [cell for k in range(5) for cell in cells(str(k), "blast", 9, 1, uncertain=90)]
    error = found([*blasts, *five()])
    assert error is not None
    assert error.sensitivity.mean == 0.9


def test_a_cell_unlike_the_trainings_is_uncertain_here_too() -> None:
    columns, unknown = Columns(("normal", "blast", "other"), distance=True), Unknown(other=0.5, distance=1.0)
    given = [*five("blast", right=10, wrong=10), *five()]
    scores = np.zeros((len(given), 4), np.float32)
    scores[:, 1] = [margin for _, margin in given]
    scores[:, 2] = -5.0
    scores[:, 3] = [2.0 if sample.kind == "blast" and margin < 0 else 0.5 for sample, margin in given]
    error = measured([sample for sample, _ in given], scores, columns, unknown)
    assert error is not None
    assert error.sensitivity.mean == 1.0


def test_patients_who_all_do_alike_by_chance_still_differ_by_the_draw_of_their_cells() -> None:
    """Of 100 blasts of five patients none is missed: 102 of 104, and 20 cells of each."""
    error = found([*five("blast"), *five()])
    assert error is not None
    assert error.sensitivity.std == pytest.approx((102 * 2 / 104**2 / 20) ** 0.5, abs=1e-5)


def test_four_patients_of_a_class_tell_nothing_of_others() -> None:
    blasts = [cell for k in range(4) for cell in cells(str(k), "blast", 50, 0)]
    assert found([*blasts, *five()]) is None


def test_a_patient_with_few_cells_does_not_count() -> None:
    blasts = [*five("blast", right=10), *cells("f", "blast", 0, 4)]
    error = found([*blasts, *five()])
    assert error is not None
    assert (error.sensitivity.mean, error.sensitivity.patients) == (1.0, 5)


def test_cells_of_nobody_and_cells_of_neither_class_do_not_count() -> None:
    nobodys = [(replace(sample, by_image=True), margin) for sample, margin in cells("z", "normal", 0, 30)]
    neither = [(replace(sample, kind="reject"), margin) for sample, margin in cells("y", "normal", 30, 0)]
    error = found([*five("blast"), *five(), *nobodys, *neither])
    assert error is not None
    assert (error.specificity.mean, error.specificity.patients) == (1.0, 5)


def test_of_no_cell_nothing_is_known() -> None:
    assert found([]) is None
