"""The picked method is the one that answers nearest to FP32."""

from pathlib import Path

import numpy as np
import onnx

from calibration.methods import METHODS
from calibration.ranges import calibrate_by
from contract.bundle import FP32, SHIPPED, open_bundle
from contract.pixels import stack
from evaluation.datasets.sample import Kind, Sample
from export.golden import draw_cell
from export.pick import cells_to_pick_on, ranked
from tests.processor import saturates


def test_tables_are_ranked_by_the_worse_of_their_two_graphs_and_a_spoilt_one_is_last() -> None:
    manifest = open_bundle(SHIPPED).manifest
    spec, rng = manifest.input, np.random.default_rng(0)
    crops = stack((draw_cell(spec, blast=k % 2 == 0, rng=rng) for k in range(32)), spec)
    tables = calibrate_by(sorted(METHODS), SHIPPED / FP32, crops[:16], spec)
    best = tables["minmax"]
    spoilt = {name: (16 * low, 16 * high) for name, (low, high) in best.ranges.items()}
    tables["spoilt"] = best.model_copy(update={"ranges": spoilt})
    rows = ranked(onnx.load(SHIPPED / FP32), tables, crops[16:], spec, decision=manifest.decisions.fp32, quiet=True)
    assert {row.method for row in rows} == set(tables)
    worse = [max(row.twin or 0, row.s8 or 0) for row in rows]
    assert worse == sorted(worse)
    assert rows[-1].method in {"spoilt", "entropy"}
    assert 0 < worse[0] < (0.25 if saturates() else 0.1)


def test_tables_are_ranked_on_cells_that_are_all_alike_too() -> None:
    """Their scores have no spread, and a spoilt table is farther from them all the same."""
    manifest = open_bundle(SHIPPED).manifest
    spec, graph = manifest.input, SHIPPED / FP32
    alike = stack([draw_cell(spec, blast=True, rng=np.random.default_rng(0))] * 3, spec)
    best = calibrate_by(["minmax"], graph, alike, spec)["minmax"]
    spoilt = {name: (99 * low, 99 * high) for name, (low, high) in best.ranges.items()}
    tables = {"spoilt": best.model_copy(update={"ranges": spoilt}), "best": best}
    rows = ranked(onnx.load(graph), tables, alike, spec, decision=manifest.decisions.fp32, quiet=True)
    assert [row.method for row in rows] == ["best", "spoilt"]
    assert {(row.twin, row.s8) for row in rows} == {(None, None)}


def test_cells_of_the_two_classes_are_picked_on_if_there_are_any() -> None:
    def cells(kind: Kind, count: int) -> list[Sample]:
        return [Sample(Path(f"{kind}-{k}"), str(k % 3), kind, kind, "validation") for k in range(count)]

    assert {s.kind for s in cells_to_pick_on([*cells("rare", 9), *cells("blast", 5)])} == {"blast"}
    assert len(cells_to_pick_on(cells("rare", 9))) == 9
    assert len(cells_to_pick_on(cells("normal", 2000))) == 512
