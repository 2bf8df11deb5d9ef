"""The sample is fair, and the table says what the graph did."""

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from calibration.methods import METHODS
from calibration.ranges import Table, calibrate, calibrate_by, key_of, read_table
from calibration.strata import fingerprint, sampling, stratified
from common.errors import UsageError
from contract.manifest import InputSpec
from contract.pixels import to_batch

SPEC = InputSpec(um_per_pixel=1.5, size=16, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
CROPS = np.random.default_rng(0).integers(0, 256, (40, 16, 16, 3), np.uint8)

STAIN = np.random.default_rng(1).normal(size=(60, 2))
strata = st.lists(st.sampled_from("abcdef"), min_size=1, max_size=60)


@given(strata, st.integers(1, 60), st.integers(0, 9), st.sampled_from([0, 60]))
def test_no_stratum_comes_twice_before_all_came_once(names: list[str], count: int, seed: int, known: int) -> None:
    chosen = stratified(names, count, seed, stain=STAIN[: len(names)] if known else None)
    assert len(chosen) == len(set(chosen.tolist())) == min(count, len(names))
    taken, whole = Counter(names[k] for k in chosen), Counter(names)
    most = max(taken.values())
    assert all(taken[name] >= min(most - 1, whole[name]) for name in whole)


@given(strata, st.integers(0, 9))
def test_the_same_seed_chooses_the_same_cells(names: list[str], seed: int) -> None:
    for stain in (None, STAIN[: len(names)]):
        first, second = (stratified(names, 5, seed, stain=stain).tolist() for _ in range(2))
        assert first == second


@pytest.mark.parametrize("seed", range(20))
def test_cells_of_a_rare_hue_are_in_the_sample_although_they_are_few(seed: int) -> None:
    """Of 200 cells in one stratum, 190 have one hue; every fifth is chosen, so about two of the ten others."""
    stain = np.random.default_rng(seed).normal(0, 0.01, (200, 2))
    stain[:10, 0] = np.linspace(5, 10, 10)
    chosen = stratified(["blast 1"] * 200, 40, seed, stain=stain)
    assert 1 <= (chosen < 10).sum() <= 4


@pytest.mark.parametrize("seed", range(20))
def test_faint_and_strong_stains_of_a_stratum_are_chosen_alike(seed: int) -> None:
    """Ten of 40 from each quarter of the strengths, whatever the hues are; at random it may be two."""
    stain = np.random.default_rng(seed).random((200, 2))
    chosen = stratified(["blast 1"] * 200, 40, seed, stain=stain)
    quarters = np.bincount((stain[chosen, 1] * 4).astype(int), minlength=4)
    assert quarters.min() >= 5


@given(st.integers(1, 80), st.integers(1, 80), st.integers(0, 9))
def test_a_sample_leaves_no_gap_in_the_hue_of_a_stratum(cells: int, count: int, seed: int) -> None:
    """With one strength, the walk through the stains is a walk along the hue: neighbours are a few steps apart."""
    stain = np.stack([np.random.default_rng(seed).permutation(cells), np.zeros(cells)], axis=1).astype(float)
    chosen = np.sort(stain[stratified(["a"] * cells, count, seed, stain=stain), 0])
    step = cells / min(count, cells)
    assert max(np.diff(chosen), default=0) <= 2 * step + np.sqrt(cells) + 1


def test_what_a_sample_covers_is_said_beside_what_was_on_offer() -> None:
    stain = np.array([[10, 0.1], [20, 0.2], [30, 0.3]])
    covers = sampling(["a", "a", "b"], stain, np.array([0, 1]))
    assert (covers.cells, covers.candidates, covers.strata) == (2, 3, 1)
    assert (covers.hue_degrees, covers.strength) == ((10, 20), (0.1, 0.2))
    assert (covers.candidates_hue_degrees, covers.candidates_strength) == ((10, 30), (0.1, 0.3))


def test_the_fingerprint_sees_every_pixel_and_the_shape() -> None:
    other = CROPS.copy()
    other[-1, -1, -1, -1] ^= 1
    prints = {
        fingerprint(CROPS),
        fingerprint(other),
        fingerprint(CROPS[:-1]),
        fingerprint(CROPS.reshape(20, 32, 16, 3)),
    }
    assert len(prints) == 4
    assert fingerprint(CROPS.copy()) == fingerprint(CROPS)


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    """Doubles the image and clips it at zero."""
    two = numpy_helper.from_array(np.array(2, np.float32), "two")
    nodes = [helper.make_node("Mul", ["image", "two"], ["doubled"]), helper.make_node("Relu", ["doubled"], ["clipped"])]
    shape: list[str | int | None] = ["batch", 3, 16, 16]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)
    result = helper.make_tensor_value_info("clipped", TensorProto.FLOAT, shape)
    model = helper.make_model(
        helper.make_graph(nodes, "g", [image], [result], [two]),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=8,
    )
    onnx.save(model, tmp_path / "model.onnx")
    return tmp_path / "model.onnx"


def test_minmax_gives_every_activation_the_range_that_it_had(graph: Path) -> None:
    table = calibrate(graph, CROPS, SPEC)
    batch = to_batch(CROPS, SPEC)
    assert table.ranges["image"] == pytest.approx((batch.min(), batch.max()))
    assert table.ranges["doubled"] == pytest.approx((2 * batch.min(), 2 * batch.max()))
    assert table.ranges["clipped"] == pytest.approx((0, 2 * batch.max()))
    assert (table.method, table.cells, table.sample_sha256) == ("minmax", 40, fingerprint(CROPS))


@pytest.mark.parametrize("method", sorted(METHODS))
def test_every_method_makes_a_table_that_can_be_written_and_read(graph: Path, method: str) -> None:
    table = calibrate(graph, CROPS, SPEC, method=method)
    assert set(table.ranges) == {"image", "doubled", "clipped"}
    assert Table.model_validate_json(table.model_dump_json()) == table


def test_one_walk_gives_the_tables_that_each_method_gives_alone(graph: Path) -> None:
    together = calibrate_by(sorted(METHODS), graph, CROPS, SPEC)
    assert together == {method: calibrate(graph, CROPS, SPEC, method=method) for method in METHODS}


def test_an_unknown_method_or_parameter_and_an_empty_sample_are_refused(graph: Path) -> None:
    with pytest.raises(UsageError, match="minmax"):
        calibrate(graph, CROPS, SPEC, method="guess")
    with pytest.raises(UsageError, match="it has share"):
        calibrate(graph, CROPS, SPEC, method="percentile", parameters={"shore": 1})
    with pytest.raises(UsageError, match="up to 100"):
        calibrate(graph, CROPS, SPEC, method="percentile", parameters={"share": 101})
    with pytest.raises(UsageError, match="no cell"):
        calibrate(graph, CROPS[:0], SPEC)


def test_a_table_is_used_again_only_for_exactly_what_it_was_made_from(graph: Path, tmp_path: Path) -> None:
    path = tmp_path / "calibration.json"
    key = key_of(graph, CROPS, SPEC, method="percentile")
    made = calibrate(graph, CROPS, SPEC, method="percentile")
    path.write_text(made.model_dump_json())
    other_graph = tmp_path / "other.onnx"
    model = onnx.load(graph)
    model.producer_name = "another"
    onnx.save(model, other_graph)
    brighter = SPEC.model_copy(update={"mean": (0.6, 0.5, 0.5)})
    stale = {
        "model": key_of(other_graph, CROPS, SPEC, method="percentile"),
        "sample": key_of(graph, CROPS[1:], SPEC, method="percentile"),
        "preprocessing": key_of(graph, CROPS, brighter, method="percentile"),
        "method, parameters": key_of(graph, CROPS, SPEC, method="mse"),
        "parameters": key_of(graph, CROPS, SPEC, method="percentile", parameters={"share": 99.0}),
        "revision": key.model_copy(update={"revision": 0}),
    }
    assert read_table(path, key) == made
    for part, wanted in stale.items():
        with pytest.raises(UsageError, match=f"another {part};"):
            read_table(path, wanted)


@pytest.mark.parametrize("written", ["", "{", '{"method": "minmax", "ranges": {}}', "[1]"])
def test_what_is_no_table_is_refused(graph: Path, tmp_path: Path, written: str) -> None:
    path = tmp_path / "calibration.json"
    key = key_of(graph, CROPS, SPEC)
    with pytest.raises(UsageError, match="can not be read"):
        read_table(path, key)
    path.write_text(written)
    with pytest.raises(UsageError, match="no calibration table"):
        read_table(path, key)
