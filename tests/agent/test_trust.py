"""Which bundles the agent runs: by signature, and never an older one unawares."""

import shutil
import threading
from pathlib import Path

import numpy as np
import pytest

from agent.__main__ import main
from agent.config import load
from agent.rollback_guard import recall
from agent.service import serve
from agent.settings import Settings
from agent.tools.doctor import Warned, check_bundle, check_rights
from common.errors import BrokerError, IntegrityError, UsageError
from contract.bundle import SHIPPED
from contract.signature import SIGNATURE, key_id, public_half
from tests.lab import KEY, PUBLIC, write_version


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped model as versions 2 and 3 of `lab`, a version 4 that does not score as it says, an ungated 5."""
    root = tmp_path_factory.mktemp("bundles")
    for version in (2, 3, 4, 5):
        write_version(root / f"lab-{version}", version, truthful=version != 4, gated=version != 5)
    shutil.copytree(root / "lab-3", root / "unsigned")
    (root / "unsigned" / SIGNATURE).unlink()
    return root


@pytest.fixture
def settings_of(bundles: Path, tmp_path: Path) -> "SettingsOf":
    return SettingsOf(bundles, tmp_path / "state")


class SettingsOf:
    """Settings that end at once, for want of a broker, once the model has run."""

    def __init__(self, bundles: Path, state: Path) -> None:
        self.bundles, self.state = bundles, state

    def __call__(self, bundle: str, **trust: str) -> Settings:
        wanted = {
            "bundle": str(self.bundles / bundle), "state_dir": str(self.state), "source.kind": "synthetic",
            "source.frames": "1", "mqtt.port": "9", "mqtt.drain_s": "0", "trust.keys": PUBLIC,
            **{f"trust.{name}": value for name, value in trust.items()},
        }  # fmt: skip
        return load(None, wanted).settings


def run(settings: Settings) -> None:
    """Run the service; its report finds no broker, which is how we know that the model was accepted."""
    with pytest.raises(BrokerError, match=r"\d reports? waits?"):
        serve(settings, threading.Event())


def refused(settings: Settings, why: str) -> None:
    with pytest.raises(IntegrityError, match=why):
        serve(settings, threading.Event())


def test_a_model_signed_with_a_key_of_the_settings_runs(settings_of: SettingsOf) -> None:
    run(settings_of("lab-3"))
    assert f"signed by key {key_id(public_half(KEY))}" in check_bundle(settings_of("lab-3"))


def test_a_model_signed_with_any_other_key_does_not(settings_of: SettingsOf) -> None:
    refused(settings_of("lab-3", keys="shipped"), r"not trusted here.*trust\.keys")
    refused(settings_of("lab-3", keys=""), r"trusted: none")


def test_who_names_only_a_key_of_his_own_shuts_the_shipped_model_out(settings_of: SettingsOf) -> None:
    refused(settings_of(str(SHIPPED)), "not trusted here")
    run(settings_of(str(SHIPPED), keys=f"shipped,{PUBLIC}"))


def test_an_unsigned_model_runs_by_an_express_word_only_and_doctor_says_so(settings_of: SettingsOf) -> None:
    refused(settings_of("unsigned"), "not signed")
    allowed = settings_of("unsigned", allow_unsigned="true")
    run(allowed)
    assert "NOT SIGNED" in check_bundle(allowed)


def test_a_model_that_skipped_the_gate_is_named_so_before_it_runs(settings_of: SettingsOf) -> None:
    assert "gate SKIPPED" in check_bundle(settings_of("lab-5"))
    assert "gate" not in check_bundle(settings_of("lab-3"))


def test_a_key_that_is_none_is_a_wrong_setting(settings_of: SettingsOf) -> None:
    with pytest.raises(UsageError, match="rubbish"):
        serve(settings_of("lab-3", keys="rubbish"), threading.Event())


def test_an_older_version_is_refused_once_a_newer_one_has_run(settings_of: SettingsOf) -> None:
    run(settings_of("lab-2"))
    run(settings_of("lab-3"))
    refused(settings_of("lab-2"), "version 2 is older than version 3")
    run(settings_of("lab-2", allow_rollback="true"))
    refused(settings_of("lab-2"), "older")
    assert recall(settings_of.state).newest == {"lab": 3}


def test_doctor_says_what_run_would_refuse_and_notes_nothing(settings_of: SettingsOf) -> None:
    check_bundle(settings_of("lab-3"))
    check_bundle(settings_of("lab-2"))
    run(settings_of("lab-3"))
    with pytest.raises(IntegrityError, match="older"):
        check_bundle(settings_of("lab-2"))


def test_a_model_that_fails_its_proof_does_not_shut_the_good_one_out(settings_of: SettingsOf) -> None:
    """Version 4 does not score its golden batch as it says; version 3 must still run."""
    run(settings_of("lab-3"))
    refused(settings_of("lab-4"), "golden batch")
    run(settings_of("lab-3"))
    assert recall(settings_of.state).newest == {"lab": 3}


def test_replay_takes_another_key_on_the_command_line_and_any_version(
    bundles: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "frames").mkdir()
    np.zeros(1).tofile(tmp_path / "frames" / "none.png")
    given = ["replay", str(tmp_path / "frames"), "--um-per-pixel", "0.1", "--out", str(tmp_path / "r.jsonl")]
    assert main([*given, "--bundle", str(bundles / "lab-2")]) == 5
    assert "not trusted" in capsys.readouterr().err
    assert main([*given, "--bundle", str(bundles / "lab-2"), "--trust", PUBLIC]) == 0
    assert main([*given, "--bundle", str(bundles / "unsigned")]) == 5
    assert main([*given, "--bundle", str(bundles / "unsigned"), "--allow-unsigned"]) == 0


@pytest.mark.parametrize("loose", ["key", "bundle", "state", "graph"])
def test_the_doctor_warns_of_what_others_may_write(bundles: Path, tmp_path: Path, loose: str) -> None:
    shutil.copytree(bundles / "lab-2", tmp_path / "lab-2")
    places = {
        "key": tmp_path / "lab.pub", "bundle": tmp_path / "lab-2", "state": tmp_path / "state",
        "graph": tmp_path / "lab-2" / "model.onnx",
    }  # fmt: skip
    places["key"].write_text(PUBLIC)
    places["state"].mkdir()
    for path in [tmp_path, *tmp_path.rglob("*")]:
        path.chmod(0o755)
    given = {"bundle": str(places["bundle"]), "state_dir": str(places["state"]), "trust.keys": str(places["key"])}
    settings = load(None, given).settings
    assert not isinstance(check_rights(settings), Warned)
    places[loose].chmod(0o775)
    said = check_rights(settings)
    assert isinstance(said, Warned)
    assert f"others may write {places[loose]}: chmod go-w" in said
