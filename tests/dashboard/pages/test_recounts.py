"""A slide that was counted more than once has the same cells in the list, on its page and in every export."""

import csv
import io
import json
from collections.abc import Iterable
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from contract.messages import BoxReport, FrameReport, ModelInfo, Quality, SlideSummary
from dashboard.records import Counts, SlideRecord
from dashboard.reviews.events import Given
from tests.dashboard.conftest import Keep, MakeCell, MakeReport
from tests.dashboard.exports.examples import summary
from tests.dashboard.pages.conftest import Serve, sign_in
from tests.dashboard.pages.test_compare import words
from tests.dashboard.test_records import KEY, record_of

NOON = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)


class Agent:
    """What an agent publishes that starts again amid a slide: cells are named by another count after each start."""

    def __init__(self, make_report: MakeReport, make_cell: MakeCell) -> None:
        self._report, self._cell = make_report, make_cell
        self.said: list[FrameReport | SlideSummary] = []
        self.starts, self.seq, self.cells = 1, 0, 0

    def restarts(self) -> None:
        self.sums_up()
        self.starts, self.cells = self.starts + 1, 0

    def sees(self, picture: str, *chances: float, at: datetime = NOON, **changes: Any) -> FrameReport:
        """A frame with a new cell for each probability, in a place of its own."""
        self.seq += 1
        run = f"run{self.starts}"
        plain = self._report(self.seq)
        cells = []
        for place, chance in enumerate(chances):
            self.cells += 1
            box = BoxReport(x=100 * place, y=20, width=50, height=40)
            cells.append(self._cell(f"{run}-{self.seq}-{place}", f"{run}-s1-c{self.cells}", chance, box=box))
        facts = {"id": f"{run}-{self.seq:08d}", "source": picture, "captured_at": at}
        report = plain.model_copy(update={"frame": plain.frame.model_copy(update=facts), "cells": cells, **changes})
        self.said.append(report)
        return report

    def sums_up(self) -> None:
        counted = {"cells": self.cells, "normal": self.cells, "blasts": 0, "uncertain": 0, "not_judged": 0}
        self.said.append(summary(count_id=f"run{self.starts}-s1", **counted))


@pytest.fixture
def agent(make_report: MakeReport, make_cell: MakeCell) -> Agent:
    return Agent(make_report, make_cell)


def record(keep: Keep, said: Iterable[FrameReport | SlideSummary]) -> SlideRecord:
    found = record_of(keep(said))
    assert found
    return found


def camera(agent: Agent) -> None:
    """Two cells, a restart, three more; no picture of a camera comes again."""
    agent.sees("camera", 0.1, 0.9)
    agent.restarts()
    agent.sees("camera", 0.1, at=NOON + timedelta(seconds=1))
    agent.sees("camera", 0.2, 0.8, at=NOON + timedelta(seconds=2))
    agent.sums_up()


def folder(agent: Agent) -> None:
    """A folder that is begun again after a restart: the first two of three pictures are read twice."""
    agent.sees("a.png", 0.1, 0.9)
    agent.sees("b.png", 0.1)
    agent.restarts()
    agent.sees("a.png", 0.2, 0.95)
    agent.sees("b.png", 0.2)
    agent.sees("c.png", 0.7)
    agent.sums_up()


def test_counts_of_a_camera_are_one_slide_and_nothing_of_the_first_is_lost(agent: Agent, keep: Keep) -> None:
    camera(agent)
    found = record(keep, agent.said)
    assert (found.counts.cells, found.counts.blast, found.frames, found.read_again) == (5, 2, 3, 0)
    assert [one.count_id for one in found.standing] == ["run1-s1", "run2-s1"]


def test_a_folder_that_is_read_again_counts_once_as_it_was_read_last(agent: Agent, keep: Keep) -> None:
    folder(agent)
    found = record(keep, agent.said)
    assert (found.counts.cells, found.frames, found.read_again) == (4, 3, 2)
    assert {cell.object_id.partition("-")[0] for cell in found.cells} == {"run2"}
    assert [one.count_id for one in found.standing] == ["run2-s1"]
    assert found.renamed == {f"run1-s1-c{number}": f"run2-s1-c{number}" for number in (1, 2, 3)}


def test_of_a_folder_that_is_being_read_again_the_rest_still_counts(agent: Agent, keep: Keep) -> None:
    folder(agent)
    found = record(keep, agent.said[:4])
    assert {cell.object_id for cell in found.cells} == {"run2-s1-c1", "run2-s1-c2", "run1-s1-c3"}
    assert len(found.standing) == 1, "no summary of the second count has come"


def test_a_cell_that_is_not_found_again_in_its_picture_is_gone(agent: Agent, keep: Keep) -> None:
    agent.sees("a.png", 0.1, 0.9)
    agent.restarts()
    agent.sees("a.png", 0.2)
    found = record(keep, agent.said)
    assert found.renamed == {"run1-s1-c1": "run2-s1-c1", "run1-s1-c2": None}


def test_a_picture_that_is_refused_the_second_time_keeps_the_cells_of_the_first(agent: Agent, keep: Keep) -> None:
    agent.sees("a.png", 0.1, 0.9)
    agent.restarts()
    agent.sees("a.png", quality=Quality(accepted=False, reasons=["unreadable"]))
    found = record(keep, agent.said)
    assert (found.counts.cells, found.frames, found.refused, found.read_again) == (2, 1, (), 1)


def test_a_report_that_was_rescued_and_comes_late_is_still_the_earlier_one(agent: Agent, keep: Keep) -> None:
    first = agent.sees("a.png", 0.1)
    agent.restarts()
    later = agent.sees("a.png", 0.9)
    assert record(keep, [later, first]).counts == Counts(blast=1)


def test_within_a_count_every_frame_stands_as_in_the_agent_s_summary(agent: Agent, keep: Keep) -> None:
    """A source that gives every picture one name and one time loses nothing."""
    agent.sees("latest.png", 0.1)
    agent.sees("latest.png")
    agent.sees("latest.png", 0.9, 0.1)
    found = record(keep, agent.said)
    assert (found.counts.cells, found.frames, found.read_again) == (3, 3, 0)


def test_another_model_in_the_same_run_is_another_count(agent: Agent, keep: Keep) -> None:
    """After `model/reload` and `source/restart`; a picture without cells belongs to the count before it."""
    agent.sees("a.png")
    agent.sees("b.png", 0.1)
    again = agent.sees("b.png", 0.9)
    [seen] = again.cells
    other = again.model_copy(update={"cells": [seen.model_copy(update={"object_id": "run1-s2-c1"})]})
    found = record(keep, [*agent.said[:-1], other])
    assert ([cell.object_id for cell in found.cells], found.frames, found.read_again) == (["run1-s2-c1"], 2, 1)


def test_pictures_of_one_name_taken_at_two_times_are_two(agent: Agent, keep: Keep) -> None:
    agent.sees("latest.png", 0.1)
    agent.sees("latest.png", 0.9, at=NOON + timedelta(milliseconds=1))
    found = record(keep, agent.said)
    assert (found.counts.cells, found.read_again) == (2, 0)


def test_a_model_whose_readings_no_longer_count_is_told_apart(agent: Agent, keep: Keep) -> None:
    agent.sees("a.png", 0.1)
    agent.restarts()
    agent.sees("a.png", 0.1, model=ModelInfo(id="blast-2", sha256="1" * 64, engine="onnxruntime-fp32"))
    found = record(keep, agent.said)
    assert (found.models, found.engines, found.ever_judged) == (
        ("blast-2",),
        ("onnxruntime-fp32",),
        ("blast-1", "blast-2"),
    )


def cells_of(answer: str, decimal: str = ",") -> int:
    return len(list(csv.DictReader(io.StringIO(answer.removeprefix("\ufeff")), delimiter=decimal)))


@pytest.mark.parametrize(
    ("read", "cells", "blasts", "said"),
    [
        (camera, 5, 2, "these are the cells of 2 counts together, and a cell that two of them have seen stands twice"),
        (folder, 4, 2, "2 pictures were read more than once; each counts once, by its latest reading"),
    ],
)
def test_list_page_comparison_and_every_export_count_the_same_and_say_why(
    serve: Serve, agent: Agent, keep: Keep, read: Any, cells: int, blasts: int, said: str
) -> None:
    read(agent)
    agent.said.append(summary(slide_id="slide-8", count_id="other-s1", cells=1, normal=1, blasts=0))
    client = serve("recounted", database=keep(agent.said))
    sign_in(client, "rita")
    base = "/slides/lab/scope-1/slide-7"
    listed = words(client.get("/slides?words=slide-7").text)
    in_list = f"{cells}, in 2 counts" if read is camera else f"{cells}"
    assert f"{in_list} {blasts} 0 {100 * blasts / cells:.1f} % blast-8" in listed
    counted = f"blast {blasts} normal {cells - blasts} uncertain 0"
    for path in (base, "/compare?slide=lab/scope-1/slide-7&slide=lab/scope-1/slide-8"):
        page = words(client.get(path).text)
        assert (counted in page, said in page) == (True, True), path
    assert said in words(client.get(f"{base}/models").text)
    report = words(client.get(f"{base}/report").text)
    assert f"All cells {cells}" in report
    assert said in report
    assert cells_of(client.get(f"{base}/cells.csv").text) == cells
    bundle = json.loads(client.get(f"{base}/fhir.json").text)
    [told] = [one["resource"] for one in bundle["entry"] if one["resource"]["resourceType"] == "DiagnosticReport"]
    assert said in told["conclusion"]
    [one] = client.get("/data/slides?words=slide-7").json()["slides"]
    whole = client.get(f"/data{base}").json()
    assert one["counts"] == whole["counts"]
    assert (whole["counts"]["cells"], one["of_counts"], whole["of_counts"]) == (
        cells,
        *[2 if read is camera else 1] * 2,
    )


def test_the_list_counts_again_when_more_comes(serve: Serve, agent: Agent, keep: Keep) -> None:
    camera(agent)
    client = serve("recounted", database=keep(agent.said))
    sign_in(client, "rita")
    assert "5, in 2 counts" in words(client.get("/slides").text)
    assert "5, in 2 counts" in words(client.get("/slides").text)
    keep([agent.sees("camera", 0.1, at=NOON + timedelta(seconds=9))])
    assert "6, in 2 counts" in words(client.get("/slides").text)


def test_what_a_reviewer_said_of_a_cell_holds_for_it_when_its_picture_is_read_again(
    serve: Serve, agent: Agent, keep: Keep
) -> None:
    folder(agent)
    first, rest = agent.said[:2], agent.said[2:]
    address = keep(first)
    client = serve("recounted", database=address)
    sign_in(client, "ada")
    reviews = client.app.state.web.reviews  # type: ignore[attr-defined]
    before = record_of(address)
    assert before
    reviews.begin(KEY, "ada", "reviewer", "call-0001")
    reviews.mark_shown(before, "ada", "reviewer", "1", ["run1-s1-c2"])
    given = [Given("run1-s1-c2", "correct", "smudge", "")]
    reviews.give(before, "ada", "reviewer", "1", given, call_id="call-0002", classes=("smudge",))
    keep(rest)
    table = csv.DictReader(io.StringIO(client.get("/slides/lab/scope-1/slide-7/cells.csv").text.removeprefix("\ufeff")))
    assert {one["object_id"]: one["label_reviewed"] for one in table if one["label_reviewed"]} == {
        "run2-s1-c2": "smudge"
    }


def test_the_scale_of_each_cell_s_frame_goes_into_every_export(serve: Serve, agent: Agent, keep: Keep) -> None:
    agent.sees("a.png", 0.1)
    client = serve("scaled", database=keep(agent.said))
    sign_in(client, "rita")
    base = "/slides/lab/scope-1/slide-7"
    [cell] = csv.DictReader(io.StringIO(client.get(f"{base}/cells.csv").text.removeprefix("\ufeff")))
    assert cell["um_per_pixel"] == "0.075"
    assert "Scale 0.0750 µm per pixel" in words(client.get(f"{base}/report").text)
    assert "0.0750 µm per pixel" in client.get(f"{base}/fhir.json").text
    assert client.get(f"/data{base}").json()["um_per_pixel"] == [0.075]
