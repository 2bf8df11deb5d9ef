"""`~` stands for the home folder wherever a person writes a path."""

import argparse
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import agent.config
import agent.options
import collector.options
import collector.settings
import dashboard.terminal.options
import dashboard.terminal.settings
from agent.sources.opencv import CameraSource, VideoSource
from agent.sources.place import source_at
from collector.store import Store
from common.errors import UsageError
from common.settings import Form, layer_of, paths_of, settled
from contract.signature import SHIPPED_KEY, public_key_from
from evaluation.datasets import LAYOUTS
from export.options import parser as export_parser
from tests.drawn import write_cells
from training.options import evaluate_parser, train_parser

FORMS: dict[str, Form[Any]] = {
    "agent": agent.config.FORM,
    "collector": collector.settings.FORM,
    "dashboard": dashboard.terminal.settings.FORM,
}
PATHS = [(program, name) for program, form in FORMS.items() for name in sorted(paths_of(form.model))]
SOURCES = [("directory", "source.uri"), ("video", "source.uri")]
NOBODY = "~nobody-of-that-name/x"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def value_of(form: Form[Any], given: dict[str, str], name: str) -> object:
    """A setting's value, where these are given."""
    value: object = settled(form, [layer_of(given, "command line")])
    for part in name.split("."):
        value = getattr(value, part)
    return value


def test_settings_that_are_paths_are_found() -> None:
    """Else the next test would hold of nothing."""
    tls = {"mqtt.tls.ca", "mqtt.tls.cert", "mqtt.tls.key"}
    assert {name for program, name in PATHS if program == "agent"} == {"bundle", "site_file", "state_dir"} | tls
    assert {name for program, name in PATHS if program != "agent"} == tls


@pytest.mark.parametrize(("program", "name"), PATHS)
def test_every_setting_that_is_a_path_knows_the_home_folder(home: Path, program: str, name: str) -> None:
    assert value_of(FORMS[program], {name: "~/a/b"}, name) == home / "a/b"
    with pytest.raises(UsageError, match=rf"the setting {name} .*no such home folder"):
        value_of(FORMS[program], {name: NOBODY}, name)


@pytest.mark.parametrize(("kind", "name"), SOURCES)
def test_so_does_the_place_of_recordings(home: Path, kind: str, name: str) -> None:
    given = {"source.kind": kind, "source.um_per_pixel": "0.1", name: "~/a"}
    assert value_of(FORMS["agent"], given, name) == home / "a"


def test_so_does_a_camera_s_device(home: Path) -> None:
    writer = cv2.VideoWriter(str(home / "device.avi"), cv2.VideoWriter.fourcc(*"FFV1"), 10, (64, 48))
    writer.write(np.full((48, 64, 3), 90, np.uint8))
    writer.release()
    with CameraSource(uri="~/device.avi", um_per_pixel=0.1).open(threading.Event()) as frames:
        assert next(frames).image.shape == (48, 64, 3)


def test_so_does_a_trusted_key_s_file(home: Path) -> None:
    (home / "key.pub").write_text(SHIPPED_KEY)
    assert public_key_from("~/key.pub").hex() == SHIPPED_KEY


def test_so_does_the_file_of_the_collector_s_database(home: Path) -> None:
    with Store("sqlite:///~/c.sqlite") as store:
        store.open()
    assert (home / "c.sqlite").exists()


def test_so_does_a_site_file_that_tells_the_scale(home: Path) -> None:
    (home / "site.json").write_text('{"schema_version": 1, "um_per_pixel": {"value": 0.1, "low": 0.09, "high": 0.11}}')
    given = {"site_file": "~/site.json", "source.kind": "directory", "source.uri": "~/a"}
    assert agent.config.load_alone(given).source.um_per_pixel == 0.1
    with pytest.raises(UsageError, match="no such home folder"):
        agent.config.load_alone({**given, "site_file": NOBODY})


def test_so_does_a_part_of_a_mixture(home: Path) -> None:
    write_cells(home / "own", patients=6, each=1)
    (home / "mix.toml").write_text('[[part]]\nlayout = "folders"\nfolder = "~/own"\n')
    assert len(LAYOUTS["mixture"].find(home / "mix.toml")) == 12
    (home / "mix.toml").write_text(f'[[part]]\nlayout = "folders"\nfolder = "{NOBODY}"\n')
    with pytest.raises(UsageError, match=r"part 1 .*no such home folder"):
        LAYOUTS["mixture"].find(home / "mix.toml")


def test_so_does_a_source_that_is_named_on_the_command_line(home: Path) -> None:
    (home / "run.mkv").mkdir()
    assert source_at("~/frames", 0.1).uri == home / "frames"
    assert isinstance(source_at("~/a.mkv", 0.1), VideoSource)
    assert source_at("~/run.mkv", 0.1).kind == "directory"
    with pytest.raises(UsageError, match="no such home folder"):
        source_at(NOBODY, 0.1)


def actions_of(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for below in action.choices.values():
                yield from actions_of(below)
        yield action


PARSERS = [agent.options.parser, collector.options.parser, dashboard.terminal.options.parser]


@pytest.mark.parametrize("make", [*PARSERS, export_parser, train_parser, evaluate_parser])
def test_every_option_that_is_a_path_knows_the_home_folder(home: Path, make: object) -> None:
    assert callable(make)
    found = [action for action in actions_of(make()) if action.metavar and "FILE" in action.metavar]
    found += [action for action in actions_of(make()) if action.dest in {"data", "out", "folder", "bundle"}]
    assert found
    for action in found:
        assert callable(action.type), action.option_strings
        assert action.type("~/x") == home / "x", action.option_strings
