"""The builder on a fake TensorRT: what it is told, what is written, what is refused and why."""

import json
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
import pytest

from common.errors import EngineError, IntegrityError, UsageError
from contract.bundle import FP32, INT8, SHIPPED, Bundle, open_bundle
from contract.manifest import Precision
from engines.build import Built, Tools, build_engine, main
from engines.device import PyCudaMemory
from engines.half import half_copy
from engines.plan import open_plan
from engines.session import open_session
from engines.stamp import LAYERS, PLAN, STAMP, Profile, Typing
from engines.trt_layers import summary
from tests.cuda_fake import FakeDriver, Gpu
from tests.trt_build_fake import FakeBuilderTrt, Flags10
from tests.trt_fake import FakeTensorRt


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return open_bundle(SHIPPED)


def build(
    bundle: Bundle,
    state_dir: Path,
    trt: FakeBuilderTrt,
    *,
    precision: Precision = "int8",
    typing: Typing | None = None,
    gpu: Gpu | None = None,
) -> Built:
    tools = Tools(trt, FakeDriver(gpu or Gpu()))
    profile = Profile(best=4, largest=8)
    return build_engine(bundle, state_dir=state_dir, precision=precision, typing=typing, profile=profile, tools=tools)


def test_a_plan_is_written_with_its_stamp_and_its_layers(bundle: Bundle, tmp_path: Path) -> None:
    trt = FakeBuilderTrt()
    built = build(bundle, tmp_path, trt)
    assert sorted(p.name for p in built.folder.iterdir()) == sorted([PLAN, STAMP, LAYERS])
    assert (built.folder / PLAN).read_bytes() == b"plan"
    assert trt.parsed == bundle.read(INT8)
    assert json.loads((built.folder / LAYERS).read_text())["int8"] == ["conv1"]
    assert str(built.layers) == "1 of 2 layers run in INT8"


def test_the_agent_takes_what_the_builder_writes(bundle: Bundle, tmp_path: Path) -> None:
    build(bundle, tmp_path, FakeBuilderTrt("10.3.0"))
    gpu = Gpu()
    size = bundle.manifest.input.size
    trt = FakeTensorRt(gpu, lambda batch: batch[:, 0, 0, :2], largest=8, size=size, version="10.3.0")
    open_plan(bundle, "int8", state_dir=tmp_path, trt=trt, memory=PyCudaMemory(FakeDriver(gpu))).close()
    assert trt.loaded == [b"plan"]


def test_strong_typing_is_the_default_and_leaves_the_types_to_the_graph(bundle: Bundle, tmp_path: Path) -> None:
    trt = FakeBuilderTrt()
    built = build(bundle, tmp_path, trt)
    assert (built.stamp.recipe.typing, trt.network_flags, trt.config.flags) == ("strong", 1 << 1, [])


def test_weak_typing_lets_tensorrt_choose_among_int8_and_fp16(bundle: Bundle, tmp_path: Path) -> None:
    trt = FakeBuilderTrt()
    built = build(bundle, tmp_path, trt, typing="weak")
    assert (trt.network_flags, trt.config.flags) == (0, [Flags10.INT8, Flags10.FP16])
    assert built.stamp.recipe.flags == ("INT8", "FP16")


@pytest.mark.parametrize("precision", ["int8", "fp16"])
def test_tensorrt_11_has_no_weak_typing_and_that_is_said(bundle: Bundle, tmp_path: Path, precision: Precision) -> None:
    with pytest.raises(UsageError, match="knows strong typing only"):
        build(bundle, tmp_path, FakeBuilderTrt("11.4.0"), precision=precision, typing="weak")
    assert list(tmp_path.iterdir()) == []


def test_fp16_is_weakly_typed_on_tensorrt_10_so_that_no_other_library_is_needed(bundle: Bundle, tmp_path: Path) -> None:
    trt = FakeBuilderTrt()
    assert build(bundle, tmp_path, trt, precision="fp16").stamp.recipe.typing == "weak"
    assert (trt.config.flags, trt.parsed) == ([Flags10.FP16], bundle.read(FP32))


@pytest.mark.parametrize(("version", "typing"), [("11.4.0", None), ("11.4.0", "strong"), ("10.3.0", "strong")])
def test_fp16_under_strong_typing_is_built_from_a_copy_in_fp16(
    bundle: Bundle, tmp_path: Path, version: str, typing: Typing | None
) -> None:
    trt = FakeBuilderTrt(version)
    recipe = build(bundle, tmp_path, trt, precision="fp16", typing=typing).stamp.recipe
    assert (recipe.precision, recipe.typing, recipe.flags, trt.config.flags) == ("fp16", "strong", (), [])
    assert recipe.graph_sha256 == bundle.manifest.files[FP32]
    assert trt.parsed == half_copy(bundle.read(FP32))


def test_without_onnx_that_copy_is_refused_with_the_remedy(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "engines.half")
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(EngineError, match=r"onnx can not be loaded.*pip install onnx, or take --typing weak"):
        build(bundle, tmp_path, FakeBuilderTrt("11.4.0"), precision="fp16")
    assert list(tmp_path.iterdir()) == []


def test_the_copy_in_fp16_scores_as_the_graph_in_fp32(bundle: Bundle) -> None:
    """Images and scores stay FP32, every weight is FP16."""
    half = half_copy(bundle.read(FP32))
    session = open_session(half, quiet=True)
    (scores,) = session.run(None, {bundle.manifest.input.name: bundle.golden.batch})
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, bundle.golden.scores[FP32], atol=0.01, rtol=2**-10)  # FP16 has 11 bits
    kinds = {t.data_type for t in onnx.load_model_from_string(half).graph.initializer}
    assert kinds == {onnx.TensorProto.FLOAT16, onnx.TensorProto.INT64}


def test_a_graph_with_an_unknown_operator_has_no_copy_in_fp16(bundle: Bundle) -> None:
    with pytest.raises(EngineError, match=r"DequantizeLinear.*engines/half\.py has no rule"):
        half_copy(bundle.read(INT8))


def test_a_weight_beyond_fp16_has_no_copy_in_fp16(bundle: Bundle) -> None:
    model = onnx.load_model_from_string(bundle.read(FP32))
    huge = onnx.numpy_helper.from_array(np.full(1, 7e4, np.float32), "huge")
    model.graph.initializer.append(huge)
    with pytest.raises(EngineError, match=r"huge go beyond what FP16 holds.*--precision fp32"):
        half_copy(model.SerializeToString())


def test_the_profile_reaches_from_one_cell_to_the_largest_batch(bundle: Bundle, tmp_path: Path) -> None:
    trt = FakeBuilderTrt()
    build(bundle, tmp_path, trt)
    assert trt.shapes == ("image", (1, 3, 80, 80), (4, 3, 80, 80), (8, 3, 80, 80))


def test_the_workspace_is_bounded_by_the_free_memory(bundle: Bundle, tmp_path: Path) -> None:
    trt, gpu = FakeBuilderTrt(), Gpu()
    build(bundle, tmp_path, trt, gpu=gpu)
    assert trt.config.workspace == (3 << 30) // 2
    assert gpu.events == ["push", "pop"]


def test_the_timing_cache_is_kept_and_a_foreign_one_left_aside(bundle: Bundle, tmp_path: Path) -> None:
    trt = FakeBuilderTrt()
    build(bundle, tmp_path, trt)
    build(bundle, tmp_path, trt)
    (tmp_path / "engines" / "timing.cache").write_bytes(b"of another board")
    build(bundle, tmp_path, trt)
    assert trt.caches == [b"", b"kernels", b"of another board", b""]


def test_a_timing_cache_that_others_can_write_is_left_aside(bundle: Bundle, tmp_path: Path) -> None:
    trt = FakeBuilderTrt()
    build(bundle, tmp_path, trt)
    (tmp_path / "engines" / "timing.cache").chmod(0o666)
    build(bundle, tmp_path, trt)
    assert trt.caches == [b"", b""]


def test_nothing_is_built_into_a_folder_that_others_can_write(bundle: Bundle, tmp_path: Path) -> None:
    """It would be refused when it is opened; the user learns it before the minutes are spent."""
    build(bundle, tmp_path, FakeBuilderTrt())
    (tmp_path / "engines").chmod(0o777)
    trt = FakeBuilderTrt()
    with pytest.raises(IntegrityError, match="chmod go-w"):
        build(bundle, tmp_path, trt)
    assert trt.parsed == b""


def test_every_error_of_the_parser_is_shown(bundle: Bundle, tmp_path: Path) -> None:
    trt = FakeBuilderTrt()
    trt.failing.add("parse")
    with pytest.raises(EngineError, match=r"QuantizeLinear node0: zero point.*QuantizeLinear node1: zero point"):
        build(bundle, tmp_path, trt)


@pytest.mark.parametrize(
    ("step", "text"),
    [
        ("build", r"memory is short: 3072 MiB were free.*Could not find any implementation for node conv1"),
        ("profile", "refused the optimisation profile"),
        ("load", "can not load the plan"),
    ],
)
def test_a_failed_build_says_why_and_keeps_the_old_plan(bundle: Bundle, tmp_path: Path, step: str, text: str) -> None:
    trt = FakeBuilderTrt()
    before = build(bundle, tmp_path, trt)
    trt.failing.add(step)
    with pytest.raises(EngineError, match=text):
        build(bundle, tmp_path, trt)
    assert (before.folder / PLAN).read_bytes() == b"plan"
    assert (before.folder / STAMP).is_file()


def test_an_old_tensorrt_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"TensorRT 8\.6\.1 is too old: 10\.0 or newer"):
        build(bundle, tmp_path, FakeBuilderTrt("8.6.1"))


def test_no_device_is_an_error_with_a_remedy(bundle: Bundle, tmp_path: Path) -> None:
    gpu = Gpu()
    gpu.failing.add("init")
    with pytest.raises(EngineError, match="no CUDA device"):
        build(bundle, tmp_path, FakeBuilderTrt(), gpu=gpu)


@pytest.mark.parametrize("key", ["Bindings", "I/O Tensors"])
def test_inputs_and_outputs_are_read_under_either_name(key: str) -> None:
    assert summary(json.dumps({"Layers": ["only a name"], key: ["image"]})).tensors == ("image",)


@pytest.mark.skipif(find_spec("tensorrt") is not None, reason="TensorRT is installed here")
def test_the_command_without_tensorrt_ends_with_4_and_names_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(SHIPPED), "--state-dir", str(tmp_path), "--verified", open_bundle(SHIPPED).sha256]) == 4
    assert "tensorrt" in capsys.readouterr().err


def test_the_command_builds_no_other_bundle_than_the_one_that_was_verified(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(SHIPPED), "--state-dir", str(tmp_path), "--verified", "0" * 64]) == 5
    assert "not the bundle" in capsys.readouterr().err
