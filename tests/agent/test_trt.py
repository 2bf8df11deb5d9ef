"""TensorRT's engine on a fake GPU: order, threads, refusals, and nothing left behind."""

import gc
import hashlib
import logging
import os
import sys
import threading
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from agent.engines.device import PyCudaMemory, open_device
from agent.engines.plan import Patience, build_apart, open_plan
from agent.engines.plan import open_engine as open_trt
from agent.engines.trt import TensorRtEngine, load_tensorrt
from contract.bundle import CALIBRATION, INT8, SHIPPED, Bundle, open_bundle
from contract.errors import EngineError, IntegrityError
from contract.manifest import Precision
from contract.stamp import (
    PLAN,
    STAMP,
    Board,
    Profile,
    Recipe,
    board_of,
    engine_folder,
    l4t_release,
    read_stamp,
    write_plan,
)
from contract.types import Tensor
from tests.trt_fake import DataType, FakeDriver, FakeTensorRt, Gpu

SIZE = 8
CALLS = ["set_input_shape", "execute_async_v3"]
LOADING = ["deserialize_cuda_engine", "create_execution_context", "set_tensor_address"]
ALLOCATIONS = ["stream", "device memory", "pinned memory", "runtime"]


def sums(batch: Tensor) -> Tensor:
    return np.stack([batch.sum(axis=(1, 2, 3)), batch[:, 0, 0, 0]], axis=1)


@pytest.fixture
def gpu() -> Gpu:
    return Gpu()


@pytest.fixture
def fake(gpu: Gpu) -> FakeTensorRt:
    return FakeTensorRt(gpu, sums, largest=4, size=SIZE)


def open_fake(fake: FakeTensorRt, precision: Precision = "int8") -> TensorRtEngine:
    return TensorRtEngine(b"plan", precision=precision, trt=fake, memory=PyCudaMemory(FakeDriver(fake.gpu)))


def cells(count: int) -> Tensor:
    return np.random.default_rng(0).normal(size=(count, 3, SIZE, SIZE)).astype(np.float32)


@pytest.mark.parametrize("count", [0, 1, 3, 4, 5, 8, 9, 23])
def test_a_batch_of_any_length_is_split_at_the_profiles_largest(fake: FakeTensorRt, count: int) -> None:
    engine = open_fake(fake)
    scores = engine.scores(cells(count))
    assert scores.shape == (count, 2)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, sums(cells(count)), rtol=1e-5)
    engine.close()


def test_the_name_tells_the_precision(fake: FakeTensorRt) -> None:
    engine = open_fake(fake, "fp16")
    assert (engine.name, engine.precision) == ("tensorrt-fp16", "fp16")
    engine.close()


def test_memory_is_allocated_when_it_opens_and_never_after(fake: FakeTensorRt, gpu: Gpu) -> None:
    engine = open_fake(fake)
    before = dict(gpu.live)
    for count in (1, 4, 9):
        engine.scores(cells(count))
    assert dict(gpu.live) == before
    assert before["device memory"] == before["pinned memory"] == 2
    assert before["stream"] == 1
    engine.close()


def test_everything_is_freed_in_order_before_the_last_pop(fake: FakeTensorRt, gpu: Gpu) -> None:
    engine = open_fake(fake)
    gpu.events.clear()
    engine.close()
    memory = ["free device memory", "free pinned memory"]
    owners = ["free execution context", "free plan", "free runtime"]
    assert gpu.events == ["push", *owners, *memory, *memory, "free stream", "pop"]
    engine.close()
    assert gpu.alive == {}


def test_a_hundred_starts_and_stops_leave_nothing_behind(fake: FakeTensorRt, gpu: Gpu) -> None:
    for _ in range(100):
        engine = open_fake(fake)
        engine.scores(cells(5))
        engine.close()
    assert gpu.alive == {}
    assert gpu.memory == {}
    assert gpu.depth == 0


@pytest.mark.parametrize("call", CALLS)
def test_each_refusal_at_work_is_an_error_with_tensorrts_own_words(fake: FakeTensorRt, gpu: Gpu, call: str) -> None:
    engine = open_fake(fake)
    gpu.failing.add(call)
    with pytest.raises(EngineError, match=f"{call} failed as planned"):
        engine.scores(cells(1))
    assert gpu.depth == 0
    gpu.failing.clear()
    np.testing.assert_allclose(engine.scores(cells(2)), sums(cells(2)), rtol=1e-5)
    engine.close()
    assert gpu.alive == {}


def refusal(fake: FakeTensorRt) -> str:
    """Why it does not open; the error itself, whose traceback holds what was half built, is let go."""
    try:
        open_fake(fake).close()
    except EngineError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("call", LOADING)
def test_each_refusal_while_loading_is_an_error_and_leaves_nothing(fake: FakeTensorRt, gpu: Gpu, call: str) -> None:
    gpu.failing.add(call)
    assert f"{call} failed as planned" in refusal(fake)
    gc.collect()
    assert gpu.alive == {}
    assert gpu.depth == 0


@pytest.mark.parametrize("kind", ALLOCATIONS)
def test_memory_that_can_not_be_had_is_an_error_and_leaves_nothing(fake: FakeTensorRt, gpu: Gpu, kind: str) -> None:
    gpu.failing.add(kind)
    assert "out of memory" in refusal(fake)
    gc.collect()
    assert gpu.alive == {}
    assert gpu.depth == 0


def test_a_fault_of_the_gpu_is_an_error_that_names_it(fake: FakeTensorRt, gpu: Gpu) -> None:
    engine = open_fake(fake)
    gpu.failing.add("synchronize")
    with pytest.raises(EngineError, match=r"Fake Orin.*launch failure"):
        engine.scores(cells(1))
    assert gpu.depth == 0
    gpu.failing.clear()
    engine.close()


def test_another_thread_is_told_to_open_its_own(fake: FakeTensorRt, gpu: Gpu) -> None:
    engine = open_fake(fake)
    for call in (lambda: engine.scores(cells(1)), engine.close):
        assert "thread that opened it" in str(error_on_a_thread(call))
    engine.close()
    assert gpu.alive == {}


def error_on_a_thread(call: Callable[[], object]) -> EngineError | None:
    caught: list[EngineError] = []

    def work() -> None:
        try:
            call()
        except EngineError as error:
            caught.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    return caught[0] if caught else None


def test_a_thread_can_open_use_and_close_an_engine_of_its_own(fake: FakeTensorRt, gpu: Gpu) -> None:
    def work() -> None:
        engine = open_fake(fake)
        engine.scores(cells(9))
        engine.close()

    assert error_on_a_thread(work) is None
    assert gpu.alive == {}


def test_a_batch_of_another_size_is_refused(fake: FakeTensorRt) -> None:
    engine = open_fake(fake)
    with pytest.raises((EngineError, ValueError), match="shape"):
        engine.scores(np.zeros((1, 3, SIZE + 1, SIZE), np.float32))
    engine.close()


def test_a_plan_of_other_types_is_refused(fake: FakeTensorRt) -> None:
    fake.dtype = DataType.HALF
    with pytest.raises(EngineError, match="not images and scores"):
        open_fake(fake)


def test_tensorrts_words_go_to_our_log(fake: FakeTensorRt, gpu: Gpu, caplog: pytest.LogCaptureFixture) -> None:
    engine = open_fake(fake)
    gpu.failing.add("execute_async_v3")
    with pytest.raises(EngineError):
        engine.scores(cells(1))
    assert [r.levelno for r in caplog.records if "failed as planned" in r.message] == [logging.ERROR]
    engine.close()


def test_no_device_is_an_error_with_a_remedy(gpu: Gpu) -> None:
    gpu.failing.add("init")
    with pytest.raises(EngineError, match=r"no CUDA device.*nvidia-smi"):
        PyCudaMemory(FakeDriver(gpu))


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return open_bundle(SHIPPED)


def recipe_of(bundle: Bundle, **changes: object) -> Recipe:
    """As built for the fake; what a stamp was changed to need not be possible."""
    files = bundle.manifest.files
    profile = Profile(best=4, largest=4)
    made = Recipe(graph_sha256=files[INT8], table_sha256=files[CALIBRATION], precision="int8", profile=profile)
    return made.model_copy(update=changes)


def board_with(fake: FakeTensorRt) -> Board:
    memory = PyCudaMemory(FakeDriver(fake.gpu))
    return board_of(fake.__version__, memory.device, memory.cuda)


def build_fake(fake: FakeTensorRt, bundle: Bundle, state_dir: Path, **changes: str) -> Path:
    """Put a plan where one belongs, as built on a board with some facts changed."""
    folder = engine_folder(state_dir, bundle, "int8")
    write_plan(folder, b"plan", board_with(fake).model_copy(update=changes), recipe_of(bundle))
    return folder


def open_from(fake: FakeTensorRt, bundle: Bundle, state_dir: Path) -> TensorRtEngine:
    memory = PyCudaMemory(FakeDriver(fake.gpu))
    return open_plan(bundle, "int8", state_dir=state_dir, trt=fake, memory=memory)


def test_a_plan_that_fits_is_loaded(fake: FakeTensorRt, bundle: Bundle, tmp_path: Path) -> None:
    build_fake(fake, bundle, tmp_path)
    open_from(fake, bundle, tmp_path).close()
    assert fake.loaded == [b"plan"]


@pytest.mark.parametrize("fact", ["tensorrt", "gpu", "compute_capability", "cuda", "l4t"])
def test_a_plan_of_another_board_is_refused_unloaded(
    fake: FakeTensorRt, bundle: Bundle, tmp_path: Path, fact: str
) -> None:
    """The text names what differs, and the command that builds a plan here."""
    build_fake(fake, bundle, tmp_path, **{fact: "another"})
    with pytest.raises(EngineError, match=r"was another, is .*python -m export\.engine"):
        open_from(fake, bundle, tmp_path)
    assert fake.loaded == []


OTHER_RECIPES: dict[str, tuple[dict[str, object], str]] = {
    "graph": ({"graph_sha256": "0" * 64}, r"SHA-256 of model\.int8\.onnx was 0{64}, is [0-9a-f]{64}"),
    "table": ({"table_sha256": "0" * 64}, r"SHA-256 of calibration\.json was 0{64}, is [0-9a-f]{64}"),
    "precision": ({"precision": "fp32"}, "precision was fp32, is int8"),
    "flags": ({"flags": ("FP16",)}, "builder flags was FP16, is none"),
    "weak flags": ({"typing": "weak", "flags": ("INT8",)}, "builder flags was INT8, is INT8 FP16"),
}


@pytest.mark.parametrize("case", OTHER_RECIPES)
def test_a_plan_of_another_recipe_is_refused_unloaded(
    fake: FakeTensorRt, bundle: Bundle, tmp_path: Path, case: str
) -> None:
    """The text names what differs, both values, and the command that builds a plan here."""
    changes, text = OTHER_RECIPES[case]
    write_plan(engine_folder(tmp_path, bundle, "int8"), b"plan", board_with(fake), recipe_of(bundle, **changes))
    with pytest.raises(EngineError, match=rf"{text}.*python -m export\.engine"):
        open_from(fake, bundle, tmp_path)
    assert fake.loaded == []


def test_weak_typing_is_not_believed_where_tensorrt_has_none(bundle: Bundle, gpu: Gpu, tmp_path: Path) -> None:
    fake = FakeTensorRt(gpu, sums, version="11.4.1")
    recipe = recipe_of(bundle, typing="weak", flags=("INT8", "FP16"))
    write_plan(engine_folder(tmp_path, bundle, "int8"), b"plan", board_with(fake), recipe)
    with pytest.raises(EngineError, match="typing was weak, is strong"):
        open_from(fake, bundle, tmp_path)
    assert fake.loaded == []


def test_who_builds_chooses_typing_and_profile(fake: FakeTensorRt, bundle: Bundle, tmp_path: Path) -> None:
    recipe = recipe_of(bundle, typing="weak", flags=("INT8", "FP16"), profile=Profile(best=2, largest=4))
    write_plan(engine_folder(tmp_path, bundle, "int8"), b"plan", board_with(fake), recipe)
    open_from(fake, bundle, tmp_path).close()
    assert fake.loaded == [b"plan"]


def test_a_profile_that_the_plan_does_not_have_is_refused(
    fake: FakeTensorRt, gpu: Gpu, bundle: Bundle, tmp_path: Path
) -> None:
    recipe = recipe_of(bundle, profile=Profile(best=4, largest=32))
    write_plan(engine_folder(tmp_path, bundle, "int8"), b"plan", board_with(fake), recipe)
    with pytest.raises(IntegrityError, match="was 32 by its stamp, is 4"):
        open_from(fake, bundle, tmp_path)
    assert gpu.alive == {}


def test_a_changed_plan_is_refused_unloaded(fake: FakeTensorRt, bundle: Bundle, tmp_path: Path) -> None:
    folder = build_fake(fake, bundle, tmp_path)
    (folder / PLAN).write_bytes(b"plan, and something else")
    with pytest.raises(IntegrityError, match="changed after it was built"):
        open_from(fake, bundle, tmp_path)
    assert fake.loaded == []


@pytest.mark.parametrize("mode", [0o020, 0o002])
@pytest.mark.parametrize("place", [PLAN, STAMP, ".", ".."])
def test_what_others_can_write_is_refused_unloaded(
    fake: FakeTensorRt, bundle: Bundle, tmp_path: Path, place: str, mode: int
) -> None:
    """Plan, stamp, their folder, and the folder of all engines; the text names it and the remedy."""
    path = (build_fake(fake, bundle, tmp_path) / place).resolve()
    path.chmod(path.stat().st_mode | mode)
    with pytest.raises(IntegrityError, match=rf"{path} can be written by others.*chmod go-w {path}"):
        open_from(fake, bundle, tmp_path)
    path.chmod(path.stat().st_mode & ~0o022)
    open_from(fake, bundle, tmp_path).close()
    assert fake.loaded == [b"plan"]


@pytest.mark.requires_root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to give a file away")
@pytest.mark.parametrize("place", [PLAN, STAMP, ".", ".."])
def test_what_belongs_to_another_user_is_refused_unloaded(
    fake: FakeTensorRt, bundle: Bundle, tmp_path: Path, place: str
) -> None:
    path = (build_fake(fake, bundle, tmp_path) / place).resolve()
    os.chown(path, 12345, -1)
    with pytest.raises(IntegrityError, match="belongs to user 12345, and this program runs as user 0"):
        open_from(fake, bundle, tmp_path)
    assert fake.loaded == []


@pytest.mark.parametrize("name", [PLAN, STAMP])
def test_a_link_is_refused_unloaded(fake: FakeTensorRt, bundle: Bundle, tmp_path: Path, name: str) -> None:
    path = build_fake(fake, bundle, tmp_path) / name
    path.rename(tmp_path / name)
    path.symlink_to(tmp_path / name)
    with pytest.raises(IntegrityError, match="is a link"):
        open_from(fake, bundle, tmp_path)
    assert fake.loaded == []


def test_the_folder_of_all_engines_may_lie_on_another_disk(fake: FakeTensorRt, bundle: Bundle, tmp_path: Path) -> None:
    """A link to a folder is judged by the folder."""
    (tmp_path / "disk").mkdir(mode=0o755)
    (tmp_path / "engines").symlink_to(tmp_path / "disk")
    build_fake(fake, bundle, tmp_path)
    open_from(fake, bundle, tmp_path).close()
    (tmp_path / "disk").chmod(0o777)
    with pytest.raises(IntegrityError, match="written by others"):
        open_from(fake, bundle, tmp_path)
    assert fake.loaded == [b"plan"]


def test_a_generous_umask_does_not_leave_the_plan_open_to_others(
    fake: FakeTensorRt, bundle: Bundle, tmp_path: Path
) -> None:
    """Ubuntu gives its users one that lets their group write."""
    before = os.umask(0o002)
    try:
        build_fake(fake, bundle, tmp_path / "state")
    finally:
        os.umask(before)
    open_from(fake, bundle, tmp_path / "state").close()
    assert fake.loaded == [b"plan"]


@pytest.mark.parametrize("text", ["", "{}", '{"schema_version": 2}'])
def test_a_stamp_that_is_none_is_refused(fake: FakeTensorRt, bundle: Bundle, tmp_path: Path, text: str) -> None:
    folder = build_fake(fake, bundle, tmp_path)
    (folder / STAMP).write_text(text)
    with pytest.raises(EngineError, match="no stamp"):
        open_from(fake, bundle, tmp_path)


def test_a_plan_is_built_anew_where_that_is_allowed(fake: FakeTensorRt, bundle: Bundle, tmp_path: Path) -> None:
    build_fake(fake, bundle, tmp_path, tensorrt="10.2.0")
    memory = PyCudaMemory(FakeDriver(fake.gpu))
    orders: list[Precision] = []

    def build(of: Bundle, precision: Precision, state_dir: Path) -> None:
        orders.append(precision)
        build_fake(fake, of, state_dir)

    open_plan(bundle, "int8", state_dir=tmp_path, trt=fake, memory=memory, build=build).close()
    open_plan(bundle, "int8", state_dir=tmp_path, trt=fake, memory=memory, build=build).close()
    assert orders == ["int8"]


def builder(tmp_path: Path, text: str) -> list[str]:
    """A program that stands for the builder."""
    script = tmp_path / "builder.py"
    script.write_text(f"import os, signal, sys, time\nfrom pathlib import Path\n{text}\n")
    return [sys.executable, str(script)]


def test_the_builder_is_told_what_to_build(bundle: Bundle, tmp_path: Path) -> None:
    program = builder(tmp_path, f"Path({str(tmp_path / 'told')!r}).write_text('|'.join(sys.argv[1:]))")
    build_apart(bundle, "fp16", tmp_path, program=program)
    options = ["--precision", "fp16", "--state-dir", str(tmp_path), "--verified", bundle.sha256]
    assert (tmp_path / "told").read_text().split("|") == [str(bundle.path), *options]


def test_a_builder_that_fails_is_an_error_with_its_exit_code(bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"could not be built \(exit 4\).*python -m export\.engine"):
        build_apart(bundle, "int8", tmp_path, program=builder(tmp_path, "sys.exit(4)"))


@pytest.mark.parametrize("deaf", [False, True])
def test_a_builder_that_hangs_is_ended(bundle: Bundle, tmp_path: Path, *, deaf: bool) -> None:
    """The hard way, if it does not listen; a start of the service never waits for ever."""
    listens = "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" if deaf else ""
    note = tmp_path / "pid"
    program = builder(tmp_path, f"{listens}Path({str(note)!r}).write_text(str(os.getpid()))\ntime.sleep(60)")
    with pytest.raises(EngineError, match=r"not built within 0 min.*was ended.*python -m export\.engine"):
        build_apart(bundle, "int8", tmp_path, program=program, patience=Patience(limit_s=2, farewell_s=0.2))
    with pytest.raises(ProcessLookupError):
        os.kill(int(note.read_text()), 0)


def test_a_long_build_shows_that_it_goes_on(bundle: Bundle, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    program = builder(tmp_path, "time.sleep(0.5)")
    with caplog.at_level("INFO"):
        build_apart(bundle, "int8", tmp_path, program=program, patience=Patience(sign_of_life_s=0.1))
    assert "of at most 2700 s" in caplog.text


def test_a_stamp_survives_its_file_and_names_its_plan(fake: FakeTensorRt, bundle: Bundle, tmp_path: Path) -> None:
    folder = build_fake(fake, bundle, tmp_path)
    stamp = read_stamp(folder)
    assert stamp is not None
    assert stamp.board == board_with(fake)
    assert stamp.plan_sha256 == hashlib.sha256((folder / PLAN).read_bytes()).hexdigest()
    assert sorted(p.name for p in folder.iterdir()) == [STAMP, PLAN]


def test_the_release_of_jetson_linux_is_read_where_there_is_one(tmp_path: Path) -> None:
    text = "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64\n"
    (tmp_path / "nv_tegra_release").write_text(text)
    assert l4t_release(tmp_path / "nv_tegra_release") == "36.4.3"
    assert l4t_release(tmp_path / "none") == ""


@pytest.mark.skipif(find_spec("tensorrt") is not None, reason="TensorRT is installed here")
def test_without_tensorrt_the_text_says_what_to_install(bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"TensorRT can not be loaded.*install-tensorrt"):
        load_tensorrt()
    with pytest.raises(EngineError, match="TensorRT can not be loaded"):
        open_trt(bundle, state_dir=tmp_path)


@pytest.mark.skipif(find_spec("pycuda") is not None, reason="pycuda is installed here")
def test_without_pycuda_the_text_says_what_to_install() -> None:
    with pytest.raises(EngineError, match=r"pycuda can not be loaded.*install-tensorrt"):
        open_device()
