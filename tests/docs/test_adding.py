"""Every recipe of docs/adding.md does what it promises, followed to the letter in a copy of the house."""

import json
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from agent.settings import Settings
from collector.tables import LAYOUT
from common.settings import kinds_of
from contract.messages import FrameReport
from devbroker.broker import Broker
from tests.docs.house import House, blocks_of, files_of
from tests.grey import write_pictures

Open = Callable[..., Any]
ARCHITECTURE = "tests/test_house.py"
"""Holds docs/architecture.md against the files; no recipe names it."""
PLAYLIST, ITS_RIG = blocks_of("A source of frames")
TICKER_S_RIG = """
@contextmanager
def a_ticker(place: Path) -> Iterator[Rig]:
    file = place / "ticker"
    file.touch()
    source = TickerSource(um_per_pixel=0.1, uri=file, max_age_ms=MAX_AGE_MS)
    yield Rig(source, unplug=file.unlink, plug=file.touch)


"""
SAID = """
import sys
from agent.config import load
from agent.tools.doctor import check_source
from common.errors import UsageError
for given in ({"source.um_per_pixel": "0.1"}, {"source.um_per_pixel": "0.1", "source.file": sys.argv[1]}):
    try:
        print(check_source(load(None, {"source.kind": "playlist", **given}).settings))
    except UsageError as refused:
        print(refused)
try:
    load(None, {"source.file": sys.argv[1]})
except UsageError as refused:
    print(refused)
"""
FIELD = """    lamp_hours: float | None = Field(
        None, description="How long the lamp has burned; null where the microscope does not tell."
    )
"""
METHOD = '''def tenth(seen: Histogram, *, share: float = 0.9) -> float:
    """All but the largest tenth of what was seen."""
    return share * seen.magnitude


'''


COLUMN = '    sa.Column("sha256", sa.String(64), nullable=True, info={{SINCE: {layout}}}),\n'
STEP = """def _to_layout_{layout}(connection: sa.Connection) -> None:
    _add_column(connection, report, "sha256", "VARCHAR(64)")


"""
QUERY = """

def models(connection: sa.Connection) -> set[str]:
    if layout_of(connection) < _R.sha256.info[tables.SINCE]:
        return set()
    return set(connection.scalars(sa.select(_R.sha256).where(_R.sha256.is_not(None))))
"""
MIGRATED = """
import sqlite3, sys
from collector.store import Store
before, file = sys.argv[1:]
with sqlite3.connect(file) as old:
    old.executescript(open(before, encoding="utf-8").read())
with Store(f"sqlite:///{file}") as store:
    store.open()
with sqlite3.connect(file) as now:
    print(*now.iterdump(), sep="\\n")
"""
STORED = """
import sqlite3, sys
from datetime import datetime, timezone
from collector.arrivals import Arrival
from collector.queries import models, reading
from collector.store import Store
before, file, report = sys.argv[1:]
with sqlite3.connect(file) as old:
    old.executescript(open(before, encoding="utf-8").read())
with reading(f"sqlite:///{file}") as connection:
    print(models(connection))
with Store(f"sqlite:///{file}") as store:
    store.store([Arrival("microscopy/v1/lab/scope-1/frame", report.encode(), datetime.now(timezone.utc))])
with reading(f"sqlite:///{file}") as connection:
    print(models(connection))
"""


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


@pytest.fixture
def playlist(tmp_path: Path) -> Path:
    write_pictures(tmp_path / "smear", 3)
    list_of_them = tmp_path / "smear" / "smear.txt"
    list_of_them.write_text("frame1.png\nframe2.png\nframe3.png\n")
    return list_of_them


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> House:
    """The house after the recipe for a source was followed twice, for a recording and for a camera."""
    house = House(tmp_path_factory.mktemp("sources"))
    settings, port = "agent/settings.py", "tests/ports/test_sources.py"
    for kind, name, source in (("playlist", "PlaylistSource", PLAYLIST), ("ticker", "TickerSource", "")):
        added = f"from agent.sources.{kind} import {name}\n"
        house.add(f"agent/sources/{kind}.py", source)
        house.put(settings, added, before="from agent.sources.synthetic import")
        house.put(settings, f" | {name}", after="CameraSource | SyntheticSource")
        house.put(port, added, before="from agent.sources.synthetic import")
        house.put(port, f'    "{kind}": a_{kind},\n', after='    "synthetic": a_rendered_smear,\n')
    house.put(port, f"{ITS_RIG}\n{TICKER_S_RIG}", before="SOURCES: dict")
    assert house.used == {file for kind in ("playlist", "ticker") for file in files_of("A source of frames", name=kind)}
    return house


def test_a_source_of_frames_keeps_what_every_source_keeps_and_is_documented(sources: House) -> None:
    said = sources.test(
        "tests/ports/test_sources.py", ARCHITECTURE, only="playlist or ticker or every_kind or architecture"
    )
    assert "failed" not in said
    sources.make_docs()
    page = sources.read("docs/settings.md")
    assert "| `source(playlist).file` |  | The text file. |" in page
    assert "| `source(ticker).kind` |" in page


def test_a_source_of_frames_is_known_to_the_settings_their_errors_and_the_doctor(
    sources: House, playlist: Path
) -> None:
    missing, doctor, other = sources.run("-c", SAID, str(playlist)).splitlines()
    assert missing == "the setting source.file is given nowhere and must be: The text file"
    assert doctor.startswith("playlist: frame1.png, 64x48 at 0.1 um per pixel, not fit to be judged: ")
    kinds = ", ".join([*kinds_of(Settings)["source.kind"], "ticker", "playlist"])
    assert other == f"the setting source.file (command line): for this, set source.kind too ({kinds})"


def test_the_agent_reports_the_frames_of_a_source_that_was_added(
    sources: House, playlist: Path, mosquitto: Broker, subscribe: Open, tmp_path: Path
) -> None:
    (tmp_path / "ticker").touch()
    settings = {"playlist": {"file": playlist}, "ticker": {"uri": tmp_path / "ticker"}}
    for kind, own in settings.items():
        wanted = {
            "source.kind": kind, "source.um_per_pixel": 0.1, **{f"source.{name}": said for name, said in own.items()},
            "site": "lab", "device": kind, "mqtt.port": mosquitto.port, "mqtt.prefix": tmp_path.name,
            "state_dir": tmp_path / "state" / kind,
        }  # fmt: skip
        pairs = [part for name, said in wanted.items() for part in ("--set", f"{name}={said}")]
        reports = subscribe(mosquitto, f"{tmp_path.name}/v1/lab/{kind}/frame")
        with subprocess.Popen(
            sources.command("-m", "agent", "run", *pairs), cwd=sources.root, env=sources.environment
        ) as agent:
            frames = [json.loads(message["payload"])["frame"] for message in reports.take(3, 60)]
            if kind == "ticker":  # the other ends with its last picture
                agent.send_signal(signal.SIGTERM)
            assert agent.wait(30) == 0
        assert [frame["id"].rpartition("-")[2] for frame in frames] == ["00000001", "00000002", "00000003"]
        named = [f"frame{number}.png" for number in (1, 2, 3)] if kind == "playlist" else [kind] * 3
        assert [frame["source"] for frame in frames] == named


def test_an_inference_engine_keeps_what_every_engine_keeps_and_judges_frames(house: House, tmp_path: Path) -> None:
    choice, name = "engines/choice.py", "onnxruntime"
    house.add("engines/abacus.py")
    house.put(choice, "abacus, ", after="from engines import ")
    house.put(choice, '    "abacus": abacus.open_engine,\n', after=f'    "{name}": ort.open_engine,\n')
    house.put(choice, '"abacus-fp32": FP32, ', after="REFERENCES = {")
    house.put("agent/settings.py", ', "abacus"', after=f'"tensorrt-fp32", "{name}"')
    house.test("tests/ports/test_engines.py", ARCHITECTURE, only="abacus or every_engine or architecture")
    assert house.used - {ARCHITECTURE} == files_of("An inference engine", name="abacus")
    house.make_docs()
    assert "`abacus`" in house.read("docs/settings.md")
    image, out = tmp_path / "a.png", tmp_path / "r.jsonl"
    cv2.imwrite(str(image), np.full((480, 640, 3), 200, np.uint8))
    scale = ("--um-per-pixel", "0.1")
    house.run("-m", "agent", "replay", str(image), *scale, "--out", str(out), "--engine", "abacus")
    assert json.loads(out.read_text())["model"]["engine"] == "abacus-fp32"


def test_a_field_of_a_message_is_documented_and_old_messages_still_parse(
    house: House, make_report: Callable[[], FrameReport], tmp_path: Path
) -> None:
    house.put("contract/messages.py", FIELD, before="    timing_ms: Timing = ")
    house.put("agent/pipeline.py", "        lamp_hours=1.5,\n", before="        quality=finding.quality,\n")
    assert house.used == files_of("A field of a message")
    house.make_docs()
    for page in ("mqtt.md", "frame-report.schema.json", "asyncapi.json"):
        assert "lamp_hours" in house.read(f"docs/{page}")
    old = make_report().model_dump_json()
    program = "import sys; from contract.messages import FrameReport as R; r = R.model_validate_json(sys.argv[1])"
    nothing, _, again = house.run("-c", f"{program}; print(r.lamp_hours, r.model_dump_json())", old).partition(" ")
    assert nothing == "None"
    assert json.loads(again) == json.loads(old) | {"lamp_hours": None}
    house.test("tests/contract/test_messages.py", "tests/agent/test_asyncapi.py", only="not mosquitto")
    image, out = tmp_path / "a.png", tmp_path / "r.jsonl"
    cv2.imwrite(str(image), np.full((480, 640, 3), 200, np.uint8))
    house.run("-m", "agent", "replay", str(image), "--um-per-pixel", "0.1", "--out", str(out))
    assert json.loads(out.read_text())["lamp_hours"] == 1.5


def test_a_column_is_stored_and_what_the_layout_before_holds_is_read(
    house: House, make_report: Callable[[int], FrameReport], tmp_path: Path
) -> None:
    tables, layouts, layout = "collector/tables.py", "collector/layouts.py", LAYOUT + 1
    before, after = (f"tests/collector/layout-{number}.sql" for number in (LAYOUT, layout))
    house.put(tables, COLUMN.format(layout=layout), before='    sa.UniqueConstraint("device", "epoch", "seq"')
    house.change(tables, f"LAYOUT = {LAYOUT}\n", f"LAYOUT = {layout}\n")
    house.put(layouts, STEP.format(layout=layout), before="STEPS = (")
    house.put(layouts, f", _to_layout_{layout}", after=f", _to_layout_{LAYOUT}")
    house.put(
        "collector/rows.py",
        '        "sha256": message.model.sha256,\n',
        before="        **amending_columns(message),\n",
    )
    house.append("collector/queries.py", QUERY)
    house.add(after, house.run("-c", MIGRATED, before, str(tmp_path / "migrated.sqlite")))
    assert house.used == files_of("A column that the collector stores", number=str(layout))
    house.make_docs()
    assert "`sha256`" in house.read("docs/collector.md")
    house.test("tests/collector/test_layouts.py", only="not postgresql")
    report = make_report(9)
    unread, read = house.run("-c", STORED, before, str(tmp_path / "stored.sqlite"), report.model_dump_json()).split(
        "\n"
    )[:2]
    assert (unread, read) == ("set()", str({report.model.sha256}))


def test_a_calibration_method_is_tested_with_the_others_and_can_be_asked_for(house: House) -> None:
    methods = "calibration/methods.py"
    house.put(methods, METHOD, before="METHODS: Mapping")
    house.put(methods, '"tenth": tenth, ', after="METHODS: Mapping[str, Method] = {")
    house.test("tests/calibration/test_methods.py", only="range")
    assert house.used == files_of("A calibration method")
    program = "from export.options import parser; print(parser().format_help())"
    assert "tenth" in house.run("-c", program)
