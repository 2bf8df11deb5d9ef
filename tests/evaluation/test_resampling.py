"""Thresholds chosen on half of the people and judged on the others."""

import numpy as np
import pytest

from common.errors import UsageError
from evaluation.metrics import Labels, Numbers
from evaluation.resampling import BOUNDS, _half, resampled

PEOPLE, EACH = 40, 50
PATIENTS: Labels = np.repeat(np.arange(PEOPLE), EACH)
LABELS: Labels = (PATIENTS % 2).astype(np.int64)


def margins(*, apart: float, between_people: float) -> Numbers:
    """Scores of cells, normal ones and blasts ``apart``, shifted from person to person."""
    rng = np.random.default_rng(0)
    shift = rng.normal(0, between_people, PEOPLE)
    return np.asarray((2 * LABELS - 1) * apart / 2 + shift[PATIENTS] + rng.normal(0, 1, len(LABELS)))


def test_nobody_stands_in_both_halves_and_each_data_set_is_halved() -> None:
    parts = [PATIENTS < 11, PATIENTS >= 11]
    first = _half(np.random.default_rng(0), PATIENTS, parts)
    chosen, judged = set(PATIENTS[first]), set(PATIENTS[~first])
    assert not chosen & judged
    assert [len({p for p in chosen if (p < 11) == own}) for own in (True, False)] == [6, 15]


def test_the_bounds_hold_for_others_where_people_are_alike() -> None:
    found, overlapping = (
        resampled(LABELS, margins(apart=apart, between_people=0), PATIENTS, ["one"] * len(LABELS))["one"]
        for apart in (4.5, 3)
    )
    assert overlapping["blasts_called_normal"]["mean"] == pytest.approx(0.02, abs=0.004)
    assert overlapping["normal_called_blast"]["mean"] == pytest.approx(0.01, abs=0.004)
    assert found["nine_tenths_accuracy"]["held"] > 0.8
    assert found["nine_tenths_uncertain"]["held"] > 0.9


def test_they_hold_less_often_where_people_differ() -> None:
    alike, apart = (
        resampled(LABELS, margins(apart=4.5, between_people=spread), PATIENTS, ["one"] * len(LABELS))["one"]
        for spread in (0, 1.5)
    )
    low, high = (apart["blasts_called_normal"][end] for end in ("low", "high"))
    assert high - low > 2 * (alike["blasts_called_normal"]["high"] - alike["blasts_called_normal"]["low"])
    assert apart["nine_tenths_accuracy"]["held"] < alike["nine_tenths_accuracy"]["held"]


def test_a_data_set_of_normal_cells_alone_says_nothing_of_blasts() -> None:
    datasets = ["healthy" if patient % 4 == 0 else "both" for patient in PATIENTS]
    found = resampled(LABELS, margins(apart=5, between_people=0), PATIENTS, datasets, draws=20)
    assert "blasts_called_normal" not in found["healthy"]
    assert found["healthy"].keys() | {"blasts_called_normal"} == found["both"].keys() >= BOUNDS.keys()


def test_the_same_seed_gives_the_same_figures() -> None:
    one, again, other = (
        resampled(LABELS, margins(apart=3, between_people=1), PATIENTS, ["one"] * len(LABELS), draws=20, seed=seed)
        for seed in (0, 0, 1)
    )
    assert one == again != other


def test_people_of_one_kind_are_refused() -> None:
    with pytest.raises(UsageError, match="need people of both kinds"):
        resampled(np.zeros(8, np.int64), np.arange(8.0), np.arange(8), ["one"] * 8, draws=5)
