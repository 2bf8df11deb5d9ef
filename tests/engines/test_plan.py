"""Which TensorRT plan is loaded, and which is refused before TensorRT sees a byte of it."""

import hashlib
import os
import shlex
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from common.errors import EngineError, IntegrityError
from contract.bundle import CALIBRATION, INT8, SHIPPED, Bundle, open_bundle
from contract.manifest import Precision
from contract.signature import Trust
from engines.device import PyCudaMemory
from engines.plan import open_plan, rebuild_command
from engines.stamp import (
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
from engines.trt import TensorRtEngine
from tests.cuda_fake import FakeDriver, Gpu
from tests.lab import PUBLIC, write_version
from tests.trt_fake import FakeTensorRt, sums


@pytest.fixture
def fake() -> FakeTensorRt:
    return FakeTensorRt(Gpu(), sums, largest=4, size=8)


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
    with pytest.raises(EngineError, match=r"was another, is .*python\S* -m engines\.build"):
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
    with pytest.raises(EngineError, match=rf"{text}.*python\S* -m engines\.build"):
        open_from(fake, bundle, tmp_path)
    assert fake.loaded == []


def test_weak_typing_is_not_believed_where_tensorrt_has_none(bundle: Bundle, tmp_path: Path) -> None:
    fake = FakeTensorRt(Gpu(), sums, version="11.4.1")
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


def test_a_profile_that_the_plan_does_not_have_is_refused(fake: FakeTensorRt, bundle: Bundle, tmp_path: Path) -> None:
    recipe = recipe_of(bundle, profile=Profile(best=4, largest=32))
    write_plan(engine_folder(tmp_path, bundle, "int8"), b"plan", board_with(fake), recipe)
    with pytest.raises(IntegrityError, match="was 32 by its stamp, is 4"):
        open_from(fake, bundle, tmp_path)
    assert fake.gpu.alive == {}


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


@pytest.mark.parametrize(
    ("own", "signed", "options"),
    [(False, True, []), (True, True, ["--trust", "KEY.pub"]), (True, False, ["--allow-unsigned"])],
)
def test_the_command_that_builds_a_plan_names_all_that_the_builder_needs(
    bundle: Bundle, tmp_path: Path, *, own: bool, signed: bool, options: list[str]
) -> None:
    """With the option that a bundle of one's own needs, and whatever stands in the paths."""
    if own:
        bundle = open_bundle(write_version(tmp_path / "my model", 7), Trust.of([PUBLIC]))
    bundle = bundle if signed else replace(bundle, signed_by="")
    words = shlex.split(rebuild_command(tmp_path / "my state", bundle, "fp16"))
    assert words[:3] == [sys.executable, "-m", "engines.build"]
    assert words[3:] == [str(bundle.path), "--precision", "fp16", "--state-dir", str(tmp_path / "my state"), *options]
