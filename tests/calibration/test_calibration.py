"""The sample is fair, and the table says what the graph did."""

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from calibration.methods import METHODS, minmax
from calibration.ranges import Table, calibrate
from calibration.sample import fingerprint, stratified
from contract.errors import UsageError
from contract.manifest import InputSpec
from contract.pixels import to_batch

SPEC = InputSpec(um_per_pixel=1.5, size=16, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
CROPS = np.random.default_rng(0).integers(0, 256, (40, 16, 16, 3), np.uint8)

strata = st.lists(st.sampled_from("abcdef"), min_size=1, max_size=60)


@given(strata, st.integers(1, 60), st.integers(0, 9))
def test_no_stratum_comes_twice_before_all_came_once(names: list[str], count: int, seed: int) -> None:
    chosen = stratified(names, count, seed)
    assert len(chosen) == len(set(chosen.tolist())) == min(count, len(names))
    taken, whole = Counter(names[k] for k in chosen), Counter(names)
    most = max(taken.values())
    assert all(taken[name] >= min(most - 1, whole[name]) for name in whole)


@given(strata, st.integers(0, 9))
def test_the_same_seed_chooses_the_same_cells(names: list[str], seed: int) -> None:
    assert stratified(names, 5, seed).tolist() == stratified(names, 5, seed).tolist()


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


@given(st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=30), st.integers(1, 5))
def test_minmax_covers_everything_and_no_more(values: list[float], batches: int) -> None:
    parts = np.array_split(np.array(values, np.float32), batches)
    found = minmax({"x": part} for part in parts if len(part))
    assert found["x"] == pytest.approx((min(values), max(values)))


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


@pytest.mark.parametrize("method", sorted(METHODS))
def test_every_activation_gets_the_range_that_it_had(graph: Path, method: str) -> None:
    table = calibrate(graph, CROPS, SPEC, method=method)
    batch = to_batch(CROPS, SPEC)
    assert table.ranges["image"] == pytest.approx((batch.min(), batch.max()))
    assert table.ranges["doubled"] == pytest.approx((2 * batch.min(), 2 * batch.max()))
    assert table.ranges["clipped"] == pytest.approx((0, 2 * batch.max()))
    assert (table.method, table.cells, table.sample_sha256) == (method, 40, fingerprint(CROPS))


def test_the_table_can_be_written_and_read(graph: Path) -> None:
    table = calibrate(graph, CROPS, SPEC)
    assert Table.model_validate_json(table.model_dump_json()) == table


def test_an_unknown_method_and_an_empty_sample_are_refused(graph: Path) -> None:
    with pytest.raises(UsageError, match="minmax"):
        calibrate(graph, CROPS, SPEC, method="guess")
    with pytest.raises(UsageError, match="no cell"):
        calibrate(graph, CROPS[:0], SPEC)
