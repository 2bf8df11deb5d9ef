"""The model in use is exchanged for what lies in the bundle's folder now, or goes on if that can not be used."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.config import load_alone
from agent.loaded_model import LoadedModel
from agent.rollback_guard import recall
from agent.site import NO_SITE
from common.errors import IntegrityError, MicroscopeError
from contract.bundle import SHIPPED
from tests.lab import PUBLIC, write_version


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped model as versions 1, 2 and 3 of `lab`; the last does not score as it says."""
    root = tmp_path_factory.mktemp("versions")
    for version in (1, 2, 3):
        write_version(root / str(version), version, truthful=version < 3)
    return root


@pytest.fixture
def bundle(versions: Path, tmp_path: Path) -> Path:
    """The folder in use; version 1 lies there."""
    return put(versions / "1", tmp_path / "bundle")


def put(version: Path, place: Path) -> Path:
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(version, place)
    return place


@pytest.fixture
def model(bundle: Path, tmp_path: Path) -> Iterator[LoadedModel]:
    wanted = {"bundle": str(bundle), "state_dir": str(tmp_path / "state"), "engine": "onnxruntime"}
    with LoadedModel(load_alone({**wanted, "trust.keys": PUBLIC}), NO_SITE) as model:
        model.remember()
        yield model


def test_a_newer_version_takes_over_and_is_remembered(
    model: LoadedModel, versions: Path, bundle: Path, tmp_path: Path
) -> None:
    put(versions / "2", bundle)
    assert model.reload().model.id == "lab-2"
    assert model.examiner.model.id == "lab-2"
    assert recall(tmp_path / "state").newest == {"lab": 2}
    put(versions / "1", bundle)
    with pytest.raises(IntegrityError, match="older than version 2"):
        model.reload()
    assert model.examiner.model.id == "lab-2"


@pytest.mark.parametrize("spoil", ["golden", "cut", "stranger", "gone"])
def test_one_that_can_not_be_used_leaves_the_old_one_at_work(
    model: LoadedModel, versions: Path, bundle: Path, spoil: str
) -> None:
    before = model.examiner
    if spoil == "golden":
        put(versions / "3", bundle)
    elif spoil == "cut":
        graph = bundle / "model.int8.cpu.onnx"
        graph.write_bytes(graph.read_bytes()[:-1])
    elif spoil == "stranger":
        put(SHIPPED, bundle)
    else:
        shutil.rmtree(bundle)
    with pytest.raises(MicroscopeError):
        model.reload()
    assert model.examiner is before
    golden = before.bundle.golden
    assert before.engine.scores(golden.batch).shape == (len(golden.batch), before.bundle.manifest.columns.width)
