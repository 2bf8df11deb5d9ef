"""What every engine promises; each is one parameter, on the shipped bundle."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from agent.settings import Settings
from common.arguments import default_state_dir
from common.errors import EngineError, IntegrityError, UsageError
from contract.bundle import FP32, INT8, INT8_CPU, SHIPPED, Bundle, Golden, open_bundle
from contract.manifest import Precision
from contract.types import Tensor
from engines.choice import AUTO, ENGINES, GOLDEN_TOLERANCE, Engine, golden_difference, open_engine
from engines.device import PyCudaMemory
from engines.half import half_copy
from engines.ort import MAX_BATCH
from engines.session import open_session
from engines.trt import TensorRtEngine
from tests.cuda_fake import FakeDriver, Gpu
from tests.trt_fake import FakeTensorRt


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return open_bundle(SHIPPED)


FAKES: dict[str, Precision] = {"TensorRT on a fake GPU": "int8", "TensorRT in FP16 on a fake GPU": "fp16"}
MARKS = {name: [pytest.mark.requires_tensorrt] for name in ENGINES if name.startswith("tensorrt")}


@pytest.fixture(params=[*FAKES, *(pytest.param(name, marks=MARKS.get(name, [])) for name in ENGINES)])
def engine(request: pytest.FixtureRequest, bundle: Bundle) -> Iterator[Engine]:
    name = request.param
    opened = on_a_fake_gpu(bundle, FAKES[name]) if name in FAKES else installed(bundle, name)
    yield opened
    opened.close()


def installed(bundle: Bundle, name: str) -> Engine:
    try:
        return open_engine(bundle, name, state_dir=default_state_dir())
    except EngineError as missing:
        if name not in MARKS:
            raise
        pytest.skip(str(missing))


def on_a_fake_gpu(bundle: Bundle, precision: Precision) -> Engine:
    """TensorRT's engine around the graph that TensorRT is given, which ONNX Runtime computes as it is written."""
    graph = bundle.read(INT8) if precision == "int8" else half_copy(bundle.read(FP32))
    session = open_session(graph, as_written=True, quiet=True)  # it warns of each type that the processor lacks

    def compute(batch: Tensor) -> Tensor:
        return np.asarray(session.run(None, {bundle.manifest.input.name: batch})[0], np.float32)

    gpu = Gpu()
    trt = FakeTensorRt(
        gpu, compute, largest=MAX_BATCH, size=bundle.manifest.input.size, width=bundle.manifest.columns.width
    )
    return TensorRtEngine(b"plan", precision=precision, trt=trt, memory=PyCudaMemory(FakeDriver(gpu)))


@pytest.mark.parametrize("count", [0, 1, MAX_BATCH, MAX_BATCH + 1])
def test_any_number_of_cells_gets_as_many_rows(engine: Engine, bundle: Bundle, count: int) -> None:
    batch = np.resize(bundle.golden.batch, (count, *bundle.golden.batch.shape[1:]))
    scores = engine.scores(batch)
    assert scores.shape == (count, bundle.manifest.columns.width)
    assert scores.dtype == np.float32


def test_rows_keep_their_order(engine: Engine, bundle: Bundle) -> None:
    forth, back = engine.scores(bundle.golden.batch), engine.scores(bundle.golden.batch[::-1].copy())
    np.testing.assert_allclose(forth, back[::-1], atol=1e-4)


def test_a_cell_gets_the_same_scores_in_whatever_company(engine: Engine, bundle: Bundle) -> None:
    together = engine.scores(bundle.golden.batch)
    alone = np.concatenate([engine.scores(cell[None]) for cell in bundle.golden.batch])
    np.testing.assert_allclose(together, alone, atol=1e-4)


def test_the_golden_batch_scores_as_it_did_where_the_bundle_was_made(engine: Engine, bundle: Bundle) -> None:
    assert golden_difference(engine, bundle) <= GOLDEN_TOLERANCE


def test_closing_twice_is_fine_and_a_closed_engine_says_so(engine: Engine, bundle: Bundle) -> None:
    engine.close()
    engine.close()
    with pytest.raises(EngineError, match="closed"):
        engine.scores(bundle.golden.batch)


def test_a_machine_that_scores_otherwise_is_refused(bundle: Bundle) -> None:
    shifted = {INT8_CPU: bundle.golden.scores[INT8_CPU] + 1}
    other = Bundle(
        bundle.path, bundle.manifest, Golden(bundle.golden.crops, bundle.golden.batch, shifted), bundle.sha256
    )
    with pytest.raises(IntegrityError, match="golden"):
        open_engine(other)


def test_an_engine_says_its_runtime_and_its_precision(engine: Engine) -> None:
    assert engine.name.endswith(f"-{engine.precision}")


def test_auto_says_in_the_log_why_it_is_not_the_best(
    bundle: Bundle, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """No engine was built into an empty folder, whether TensorRT is here or not."""
    with caplog.at_level("INFO"), closing(open_engine(bundle, state_dir=tmp_path)) as opened:
        assert opened.name == "onnxruntime-int8"
    [said] = [r.message for r in caplog.records if r.name == "engines.choice"]
    assert said.startswith("engine onnxruntime instead of tensorrt: ")


def test_who_asked_for_an_engine_to_be_built_is_warned_that_another_runs(
    bundle: Bundle, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    state_dir = tmp_path / "file"
    state_dir.write_text("so that none can be built")
    with closing(open_engine(bundle, state_dir=state_dir, rebuild=True)) as opened:
        assert opened.name == "onnxruntime-int8"
    [said] = [r for r in caplog.records if r.name == "engines.choice"]
    assert said.levelname == "WARNING"
    assert said.message.startswith("engine onnxruntime instead of tensorrt: ")


@pytest.mark.parametrize("name", MARKS)
def test_tensorrt_by_name_never_becomes_another_engine(bundle: Bundle, tmp_path: Path, name: str) -> None:
    with pytest.raises(EngineError):
        open_engine(bundle, name, state_dir=tmp_path)


def test_every_engine_can_be_named_in_the_settings() -> None:
    names = get_args(Settings.model_fields["engine"].annotation)
    assert set(names) == {"auto", *ENGINES}
    assert set(AUTO) <= set(ENGINES)


def test_an_unknown_engine_is_named_with_the_known_ones(bundle: Bundle) -> None:
    with pytest.raises(UsageError, match="onnxruntime"):
        open_engine(bundle, "abacus")
