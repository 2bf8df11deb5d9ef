"""What the gate lets through, and what it fits."""

import re

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibration.ranges import Table
from common.errors import GateError
from contract.bundle import CALIBRATION, FP32, SHIPPED
from contract.manifest import Decision, Decisions
from evaluation.judgement import called_blast
from export.gate import (
    FEW_CELLS,
    Held,
    Limits,
    blind,
    caveat,
    enforce,
    faults,
    figures,
    fit_decisions,
    most_flips,
    range_faults,
    refuse_if_blind,
)

FP32_DECISION = Decision(temperature=1, threshold=0.4, uncertain_from=0.3, uncertain_to=0.8)


def cells(count: int, *, noise: float = 0.0, seed: int = 0) -> Held:
    """Margins of cells that FP32 tells apart fairly well, and an INT8 that is off by a little noise."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, count)
    margins = rng.normal(6.0 * labels - 3, 2)
    return Held({"fp32": margins, "int8": margins + rng.normal(0, max(noise, 1e-9), count)}, labels)


def costs(held: Held) -> dict[str, dict[str, float]]:
    return figures(held, fit_decisions(FP32_DECISION, cells(2000, seed=1), engine="int8"))


def test_an_int8_that_answers_as_fp32_does_passes() -> None:
    assert faults(costs(cells(2000, noise=0.02)), Limits()) == []


def test_an_int8_that_answers_otherwise_is_refused_with_every_reason() -> None:
    found = faults(costs(cells(2000, noise=3)), Limits())
    assert len(found) == 4
    with pytest.raises(GateError, match=r"nothing was written.*accuracy lost"):
        enforce(found, 2000)


def test_without_labels_agreement_alone_decides() -> None:
    held = cells(2000, noise=3)
    found = faults(costs(Held(held.margins, None)), Limits())
    assert len(found) == 2
    assert any("flipped" in line for line in found)


def test_scores_that_are_no_numbers_are_refused() -> None:
    held = cells(100)
    broken = Held({**held.margins, "int8": np.full(100, np.nan)}, None)
    assert faults(costs(broken), Limits())


@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("known", [True, False])
def test_one_score_that_is_no_number_leaves_the_decision_of_fp32(odd: float, known: bool) -> None:  # noqa: FBT001
    """Nothing can be fitted to it: the gate refuses this INT8 in its own words, and no other error comes before."""
    fit = cells(200)
    other = fit.margins["int8"].copy()
    other[7] = odd
    broken = Held({**fit.margins, "int8": other}, fit.labels if known else None)
    assert fit_decisions(FP32_DECISION, broken, engine="int8") == Decisions(fp32=FP32_DECISION, int8=FP32_DECISION)


def test_few_cells_are_told_with_what_they_leave_open() -> None:
    assert "8 cells show little: none changed, and yet INT8 may change up to 31 % of all" in caveat(8, 0)
    assert "150 cells show little: 1 changed, and yet INT8 may change up to 3 % of all" in caveat(150, 1)
    assert caveat(FEW_CELLS, 0) == ""


@given(cells=st.integers(1, FEW_CELLS), flips=st.integers(0, 3))
def test_the_bound_of_flips_falls_with_more_cells_and_rises_with_more_flips(cells: int, flips: int) -> None:
    """Without a flip it is the rule that the chance of seeing none is one in twenty."""
    bound = most_flips(cells + 3, flips)
    assert most_flips(cells + 4, flips) < bound < most_flips(cells + 3, flips + 1)
    assert (1 - most_flips(cells, 0)) ** cells == pytest.approx(0.05)


def test_few_enough_cells_are_those_that_can_not_hold_the_gates_limit() -> None:
    assert most_flips(FEW_CELLS - 1, 0) > 0.99 * Limits().flip_share
    assert most_flips(FEW_CELLS, 0) <= Limits().flip_share


@given(shift=st.floats(-1, 1), stretch=st.floats(0.5, 2))
def test_the_fitted_decision_keeps_fp32s_operating_point(shift: float, stretch: float) -> None:
    """However INT8 shifts and stretches the margins, as many of the fitting cells are called blasts."""
    held = cells(500)
    moved = Held({"fp32": held.margins["fp32"], "int8": stretch * held.margins["fp32"] + shift}, held.labels)
    decisions = fit_decisions(FP32_DECISION, moved, engine="int8")
    before = called_blast(moved.margins["fp32"], decisions.fp32)
    after = called_blast(moved.margins["int8"], decisions.int8)
    assert abs(int(before.sum()) - int(after.sum())) <= 1


@given(shift=st.floats(-1, 1), stretch=st.floats(0.5, 2), known=st.booleans())
def test_the_fitted_bounds_lie_where_fp32s_lie_on_int8s_own_scale(shift: float, stretch: float, *, known: bool) -> None:
    """A chance cell next to a bound does not move it: what counts is the line through all of them."""
    held = cells(500)
    moved = Held({"fp32": held.margins["fp32"], "int8": stretch * held.margins["fp32"] + shift}, held.labels)
    fitted = fit_decisions(FP32_DECISION, moved if known else Held(moved.margins, None), engine="int8").int8
    for name in ("threshold", "uncertain_from", "uncertain_to"):
        before, after = getattr(FP32_DECISION, name), getattr(fitted, name)
        wanted = stretch * FP32_DECISION.temperature * np.log(before / (1 - before)) + shift
        assert fitted.temperature * np.log(after / (1 - after)) == pytest.approx(wanted, abs=0.01)


@pytest.mark.parametrize("strange", [np.nan, np.inf, 0.0, -1e6, 1e6])
def test_margins_without_a_line_still_get_a_decision_for_the_gate_to_refuse(strange: float) -> None:
    held = cells(50)
    broken = Held({"fp32": held.margins["fp32"], "int8": np.full(50, strange)}, held.labels)
    decisions = fit_decisions(FP32_DECISION, broken, engine="int8")
    assert faults(figures(broken, decisions), Limits())


def test_the_same_scores_get_the_same_decision() -> None:
    same = Held({"fp32": cells(500).margins["fp32"], "int8": cells(500).margins["fp32"]}, None)
    assert fit_decisions(FP32_DECISION, same, engine="int8").int8 == FP32_DECISION


@pytest.mark.parametrize("count", [1, 2, 3, 4, 50])
@pytest.mark.parametrize("off", [0.0, 0.3, 1e6])
def test_cells_that_are_all_alike_are_refused_in_words_and_not_in_shares_of_a_spread_that_is_none(
    count: int, off: float
) -> None:
    alike = np.full(count, 2.0) + np.linspace(0, 1e-6, count)
    held = Held({"fp32": alike, "int8": alike + off}, np.ones(count, np.int64))
    assert not any("sigma" in line for line in faults(costs(held), Limits()))
    with pytest.raises(GateError, match=r"can not show what INT8 costs.*give --gate DIR with 300 or more") as refused:
        refuse_if_blind(held)
    said = str(refused.value)
    assert f"{count} held-out cell" in said
    assert ("FP32 scores all of them alike" in said) == (count > 1)


@given(
    margins=st.lists(st.floats(-40, 40), min_size=1, max_size=4),
    off=st.lists(st.floats(-(2.0**60), 2.0**60), min_size=4, max_size=4),
)
def test_no_share_that_few_cells_are_refused_for_is_beyond_reason(margins: list[float], off: list[float]) -> None:
    few = np.array(margins)
    held = Held({"fp32": few, "int8": few + np.array(off[: len(few)])}, None)
    for line in faults(costs(held), Limits()):
        assert re.search(r": (\d{1,4}\.\d\d %|more than 1000 %) of", line), line


def test_a_few_cells_that_differ_can_show_something() -> None:
    assert blind(Held({"fp32": np.array([-2.0, 2.0]), "int8": np.array([-2.0, 2.0])}, None)) == ""


def test_an_fp32_whose_scores_are_no_numbers_is_named() -> None:
    assert "FP32 itself" in blind(Held({"fp32": np.array([np.nan, 1.0]), "int8": np.zeros(2)}, None))


def test_a_range_that_no_held_out_cell_uses_is_told_in_words() -> None:
    table = Table.model_validate_json((SHIPPED / CALIBRATION).read_text()).ranges
    nothing = dict.fromkeys(table, (0.0, 0.0))
    lines = range_faults(onnx.load(SHIPPED / FP32), table, nothing, Limits())
    assert len(lines) == len(table)
    assert all(line.endswith("is used by no held-out cell") for line in lines)


def test_a_range_that_is_eight_times_too_wide_is_named_with_its_node() -> None:
    table = Table.model_validate_json((SHIPPED / CALIBRATION).read_text()).ranges
    model = onnx.load(SHIPPED / FP32)
    assert range_faults(model, table, table, Limits()) == []
    for node in model.graph.node:
        name = node.output[0]
        if name not in table:
            continue
        low, high = table[name]
        [line] = range_faults(model, {**table, name: (8 * low, 8 * high)}, table, Limits())
        assert node.name in line
        assert "8.0 times" in line
