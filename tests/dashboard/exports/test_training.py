"""From reviewed and signed slides to a classifier: what the command writes is what the training takes."""

import shlex
import subprocess
import sys
import threading
import zipfile
from collections import Counter
from collections.abc import Iterable
from contextlib import closing
from datetime import date, datetime, timezone
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import pytest
from starlette.testclient import TestClient

from agent.ops.health import Counters
from agent.pictures.cutting import pictures_of
from agent.pipeline import Examiner, numbered, run
from agent.sources.synthetic import SyntheticSource
from collector.arrivals import Arrival
from collector.picture_store import Fetched, PictureTable, Wanted
from collector.queries import reading
from collector.store import Store
from common.errors import UsageError
from contract.bundle import SHIPPED, open_bundle
from contract.messages import FrameReport
from contract.types import Frame
from dashboard.exports import training
from dashboard.exports.training import Choice, export_reviewed, read_patients
from dashboard.records import SlideKey, SlideRecord, slide_record
from dashboard.reviews.store import ReviewStore
from engines.choice import open_engine
from evaluation.datasets import folders
from tests.dashboard.pages.conftest import Serve, make_web, people, serve, sign_in
from tests.dashboard.reviews.conftest import Desk
from training.checkpoint import CLASSIFIER, read_classifier
from training.fit import main as train_classifier

__all__ = ["make_web", "people", "serve"]
SLIDES, FRAMES = 7, 10


class Lab(NamedTuple):
    """A workstation: what a microscope reported of rendered slides, their pictures, and what people said."""

    state: Path
    database: str
    records: list[SlideRecord]

    @property
    def words(self) -> list[str]:
        return ["--set", f"state_dir={self.state}", "--database", self.database]

    def reviews(self) -> ReviewStore:
        return ReviewStore(f"sqlite:///{self.state / 'reviews.sqlite'}")


class _Reports:
    epoch = "0123456789abcdef"

    def __init__(self, first: int) -> None:
        self.reports: list[FrameReport] = []
        self._first = first

    def next_seq(self) -> int:
        return self._first + len(self.reports)

    def put(self, report: FrameReport) -> None:
        self.reports.append(report)


def seen(number: int, examiner: Examiner) -> tuple[list[Frame], list[FrameReport]]:
    """A rendered slide through the agent's pipeline."""
    stop, sink = threading.Event(), _Reports(1 + number * FRAMES)
    source = SyntheticSource(frames=FRAMES, seed=number + 1, blast_share=0.5, white_cells=5)
    with source.open(stop) as opened:
        frames = list(numbered(opened, f"run{number}"))
    slides = examiner.slides(f"run{number}")
    slides.start(f"slide-{number}")
    run(frames, examiner, sink, slides=slides, counters=Counters(), stop=stop, live=False)
    return frames, sink.reports


def stored(database: str, frames: Iterable[Frame], reports: list[FrameReport], field_um: float) -> None:
    now = datetime.now(timezone.utc)
    with Store(database) as store:
        topic = "microscopy/v1/lab/scope-1/frame"
        found = store.store([Arrival(topic, one.model_dump_json().encode(), now) for one in reports])
        assert (found.quarantined, found.new) == (0, FRAMES)
    with closing(PictureTable(database, max_mb=512, days=1)) as table:
        for frame, report in zip(frames, reports, strict=True):
            pictures = pictures_of(frame, report, field_um)
            table.keep("scope-1", [Fetched(Wanted(one.kind, one.id, now), one.info, one.data) for one in pictures])


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """Seven slides, of which all but the last are read and signed."""
    state = tmp_path_factory.mktemp("lab")
    database, bundle = f"sqlite:///{state / 'collector.sqlite'}", open_bundle(SHIPPED)
    with closing(open_engine(bundle)) as engine:
        examiner = Examiner("lab", "scope-1", bundle, engine)
        for number in range(SLIDES):
            stored(database, *seen(number, examiner), bundle.manifest.input.field_um)
    made = Lab(state, database, [])
    with reading(database) as connection, made.reviews() as reviews:
        reviews.open()
        for number in range(SLIDES):
            record = slide_record(connection, SlideKey("lab", "scope-1", f"slide-{number}"))
            assert record is not None
            made.records.append(record)
            judged = [cell for cell in record.cells if cell.probability is not None]
            desk = Desk(reviews).begin(record)
            desk.call_id = lambda desk=desk: f"lab-{Desk.call_id(desk)}"  # type: ignore[method-assign,misc]
            said = {one.object_id: "blast" if (one.probability or 0) > 0.5 else "normal" for one in judged}
            desk.say(record, **{name.replace("-", "_"): label for name, label in said.items()})
            if number < SLIDES - 1:
                desk.sign(record)
    return made


def command(lab: Lab, out: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "dashboard", "training", str(out), *lab.words, *words],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip


def test_signed_slides_are_written_by_the_command_and_trained_by_the_line_that_it_says(
    lab: Lab, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """While somebody else works with the reviews, as the page does."""
    out, run_folder = tmp_path / "cells", tmp_path / "run"
    patients = tmp_path / "patients.csv"
    patients.write_text("slide,patient\nslide-0,p-1\nslide-6,p-7\nslide-unknown,p-1\n", encoding="utf-8-sig")
    with lab.reviews() as others:
        Desk(others, "bob").begin(lab.records[0])
        done = command(lab, out, "--patients", str(patients))
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    lines = done.stdout.splitlines()
    samples = folders.find(out)
    found = Counter(sample.label for sample in samples)
    assert found == Counter(
        "blast" if (cell.probability or 0) > 0.5 else "normal"
        for record in lab.records[:-1]
        for cell in record.cells
        if cell.probability is not None
    )
    assert lines[0].startswith(f"{len(samples)} cells of 7 slides and 6 patients in {out}: {found['blast']} blast, ")
    assert any(" not reviewed" in line for line in lines), "cells that the frame cuts"
    assert any(line.startswith("left out: ") and "not signed (--unsigned takes them)" in line for line in lines)
    assert "of the slides in --patients 1 are not among those exported" in lines
    assert {sample.patient for sample in samples} == {"patient-p-1", *(f"patient-slide-{n}" for n in range(1, 6))}
    program, *words = shlex.split(lines[[line.startswith("next: ") for line in lines].index(True)][len("next: ") :])
    assert program == "train-classifier"
    words[words.index("--out") + 1] = str(run_folder)
    assert train_classifier([*words, "--epochs", "1"]) == 0
    told = capsys.readouterr().err
    scale = float(words[words.index("--um-per-pixel") + 1])
    assert 0.1 <= scale < 0.11, "cells are kept with 256 pixels, so a little coarser than their frames"
    assert f"scale: {scale:g} um per pixel, as told for all images" in told
    assert read_classifier(run_folder / CLASSIFIER)


def test_unsigned_readings_and_one_slide_are_taken_where_that_is_asked_for(lab: Lab, tmp_path: Path) -> None:
    done = command(lab, tmp_path / "none", "--slide", "slide-6")
    assert done.returncode == 2
    assert "no reviewed cell with a picture is left to export" in done.stderr
    assert not (tmp_path / "none").exists()
    done = command(lab, tmp_path / "one", "--slide", "slide-6", "--unsigned")
    assert done.returncode == 0, done.stderr
    assert {sample.patient for sample in folders.find(tmp_path / "one")} == {"patient-slide-6"}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--slide", "slide-9"], "nobody has reviewed slide-9; the page's list of slides has their names"),
        (["--slide", "slide-1", "--site", "elsewhere"], "nobody has reviewed slide-1 there"),
        (["--other", "smuge"], "--other smuge: the setting `classes` has no such class; it has smudge, artefact"),
        (["--since", "31.1.2026"], "is no day; write it as 2026-01-31"),
        (["--patients", "absent.csv"], "absent.csv can not be read (No such file or directory)"),
        (["--set", "reviews=sqlite:////nowhere/r.sqlite"], "there are no reviews at sqlite:////nowhere/r.sqlite"),
    ],
)
def test_what_can_not_be_done_is_said_with_exit_code_2(lab: Lab, tmp_path: Path, words: list[str], told: str) -> None:
    done = command(lab, tmp_path / "out", *words)
    assert (done.returncode, told in done.stderr, "Traceback" in done.stderr) == (2, True, False), done.stderr
    assert not (tmp_path / "out").exists()


def test_days_choose_by_the_first_frame_of_a_slide(lab: Lab, tmp_path: Path) -> None:
    began = lab.records[0].first_at
    assert began is not None
    today, other = began.date(), date(2020, 1, 1)
    with lab.reviews() as reviews:
        assert export_reviewed(lab.database, reviews, Choice(since=today, until=today), tmp_path / "today")
        for choice in (Choice(until=other), Choice(since=today.replace(year=today.year + 1))):
            with pytest.raises(UsageError, match="no slide is given"):
                export_reviewed(lab.database, reviews, choice, tmp_path / "none")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("slide;patient\ns-1;p-1\ns-2;p-1\n", None),
        ("patient,note,slide\np-1,x,s-1\np-1,,s-2\n", None),
        ("s-1,p-1\n", "names no columns slide and patient"),
        ("slide,patient\ns-1,p-1\ns-1,p-2\n", "line 3: s-1 has two patients"),
        ("slide,patient\ns-1\n", "line 2: slide or patient is empty"),
        ("", "names no columns"),
        ("slide,patient\n\xff", "it is no UTF-8"),
    ],
)
def test_the_file_of_patients_is_read_or_refused_with_the_line(tmp_path: Path, text: str, told: str | None) -> None:
    path = tmp_path / "patients.csv"
    path.write_bytes(text.encode("latin-1"))
    if told is None:
        assert read_patients(path) == {"s-1": "p-1", "s-2": "p-1"}
        return
    with pytest.raises(UsageError, match=told):
        read_patients(path)


@pytest.fixture
def client(serve: Serve, lab: Lab) -> TestClient:
    return serve("training", database=lab.database)


def reviewed_in(client: TestClient, lab: Lab) -> None:
    """Ada has signed the first slide in the reviews of this server."""
    record = lab.records[0]
    reviews = client.app.state.web.reviews  # type: ignore[attr-defined]
    reviews.open()
    desk = Desk(reviews).begin(record)
    judged = [cell for cell in record.cells if cell.probability is not None]
    desk.say(record, **{one.object_id.replace("-", "_"): "blast" for one in judged})
    desk.sign(record)


def test_the_page_gives_a_reviewer_the_signed_cells_of_a_slide_as_a_zip(
    client: TestClient, lab: Lab, tmp_path: Path
) -> None:
    reviewed_in(client, lab)
    sign_in(client, "ada")
    link = "/slides/lab/scope-1/slide-0/training.zip"
    assert f'href="{link}"' in client.get("/slides/lab/scope-1/slide-0").text
    answer = client.get(link)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/zip")
    assert answer.headers["content-disposition"] == 'attachment; filename="slide-0-training.zip"'
    with zipfile.ZipFile(BytesIO(answer.content)) as packed:
        names = packed.namelist()
        packed.extractall(tmp_path / "cells")
    judged = [cell for cell in lab.records[0].cells if cell.probability is not None]
    assert sorted(Path(name).parent.as_posix() for name in names) == [".", *["patient-slide-0/blast"] * len(judged)]
    state = client.app.state.web.settings.state_dir  # type: ignore[attr-defined]
    assert not list(state.glob(".training-*")), "what was made on the way is gone"


def test_who_may_not_see_a_reading_gets_no_cells_and_no_link(client: TestClient, lab: Lab) -> None:
    """A reader has no right to it; to another reviewer the first reading is hidden until both are signed."""
    reviewed_in(client, lab)
    link = "/slides/lab/scope-1/slide-0/training.zip"
    assert client.get(link).status_code == 303
    sign_in(client, "rita")
    assert client.get(link).status_code == 403
    assert link not in client.get("/slides/lab/scope-1/slide-0").text
    client.cookies.clear()
    sign_in(client, "adam")
    answer = client.get(link)
    assert (answer.status_code, "signed verdict that you may see" in answer.text) == (409, True)
    assert link not in client.get("/slides/lab/scope-1/slide-0").text
    assert client.get("/slides/lab/scope-1/none/training.zip").status_code == 404


def test_a_slide_that_is_too_large_for_a_browser_to_wait_is_left_to_the_command(
    client: TestClient, lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    reviewed_in(client, lab)
    monkeypatch.setattr("dashboard.pages.downloads.MOST_ZIPPED", 3)
    sign_in(client, "ada")
    answer = client.get("/slides/lab/scope-1/slide-0/training.zip")
    assert (answer.status_code, "microscope-dashboard training" in answer.text) == (409, True)


def test_every_reason_for_a_cell_to_be_left_out_has_words() -> None:
    assert set(training.WHY) == {"not_reviewed", "not_signed", "disputed", "no_class", "no_picture"}
