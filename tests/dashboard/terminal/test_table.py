"""The table shows every agent, its slide and what is wrong."""

import io
from collections.abc import Callable
from datetime import timedelta

from rich.console import Console

from common.terminal import printable
from contract.health_messages import Health, PictureHealth, Status
from contract.messages import FrameReport, Interval, Quality
from dashboard.terminal.phrases import line_of, lines_of, slide_line
from dashboard.terminal.table import picture
from dashboard.terminal.tally import Tally
from tests.tallying import NOW, slide_of, take

Make = Callable[..., FrameReport]


def test_no_name_reaches_the_terminal_as_it_came(make_report: Make) -> None:
    """Of files, slides and people's words, that only their length bounds."""
    odd = "\x1b]0;x\x07\x1b[2J\nlab/scope-9 #1\u202e"
    tally, report = Tally(), make_report(1, slide_id=odd)
    report = report.model_copy(update={
        "frame": report.frame.model_copy(update={"source": odd}),
        "quality": Quality(accepted=False, reasons=["empty"], detail=odd), "cells": [],
    })  # fmt: skip
    take(tally, report)
    tally.take(
        "p/v1/lab/scope-1/slide", slide_of(slide_id=odd).model_dump_json().encode(), received_at=NOW, retained=True
    )
    drawn = Console(width=300, file=io.StringIO(), record=True)
    drawn.print(picture(tally))
    text = drawn.export_text() + printable(line_of(report, None)) + printable(slide_line(slide_of(slide_id=odd)))
    assert not {"\x1b", "\x07", "\u202e"} & set(text)
    assert not any(line.startswith("lab/scope-9") for line in text.splitlines())


def test_names_are_text_and_no_markup(make_report: Make) -> None:
    tally = Tally()
    report = make_report(1, site="[red]x", device="[b]y")
    take(tally, report)
    drawn = Console(width=200, file=io.StringIO(), record=True)
    drawn.print(picture(tally))
    assert drawn.export_text().count("[red]x/[b]y") == 2


def test_the_table_says_in_full_what_is_wrong_with_an_agents_last_frame_until_one_is_judged(make_report: Make) -> None:
    tally, why = Tally(), "the sharpness is 0.51 per um, and 1.35 is the least: focus again, and clean the objective"
    blurred = Quality(accepted=False, reasons=["out_of_focus"], detail=why)
    for report, said in ((make_report(1, quality=blurred, cells=[]), True), (make_report(2), False)):
        take(tally, report)
        drawn = Console(width=80, file=io.StringIO(), record=True)
        drawn.print(picture(tally))
        assert (why in " ".join(drawn.export_text().split())) == said


def test_the_slide_is_shown_with_its_interval() -> None:
    tally, topic = Tally(), "p/v1/lab/scope-1/slide"
    body = slide_of().model_dump_json().encode()
    assert tally.take(topic, body, received_at=NOW, retained=True) == "slide"
    assert tally.take(topic, b"{}", received_at=NOW, retained=True) == "malformed"
    console = Console(file=io.StringIO(), width=80)
    console.print(picture(tally))
    assert isinstance(console.file, io.StringIO)
    shown = console.file.getvalue()
    assert "19% (10 to 32%)" in shown
    assert [line.split() for line in shown.splitlines() if "uncertain" in line] == [
        ["agent", "slide", "frames", "normal", "blast", "uncertain", "judged", "blasts", "(95", "%)"]
    ], "one table, with one count"
    assert "40     39     9         0      2" in shown
    assert "\u2026" not in shown, "80 characters show every heading in full"
    assert "9 blast, 0 uncertain, 2 not judged; blasts 18.8 % (10.2 % to 31.9 %)" in slide_line(slide_of())
    assert slide_line(slide_of(blast_interval=None)).endswith("blasts -")
    told = lines_of(tally.summary(), tally.slides())
    assert "cells      slide s7 (open): 40 frames; 50 cells, each counted once: 39 normal" in told
    assert "in every frame" not in told


def test_the_share_corrected_for_a_known_error_is_shown_with_whether_enough_was_seen() -> None:
    between = Interval(low=0.08, high=0.31, level=0.95)
    slide = slide_of(corrected_fraction=0.1774, corrected_interval=between, enough_cells="no")
    words = "corrected for the model's known error 17.7 % (95 % interval 8.0 % to 31.0 %); enough cells seen: no"
    assert slide_line(slide).endswith(f"blasts 18.8 % (10.2 % to 31.9 %), {words}")
    tally, console = Tally(), Console(file=io.StringIO(), width=160)
    tally.take("p/v1/lab/scope-1/slide", slide.model_dump_json().encode(), received_at=NOW, retained=True)
    console.print(picture(tally))
    assert isinstance(console.file, io.StringIO)
    assert f"lab/scope-1 s7: blasts {words}" in console.file.getvalue()


def test_an_alarm_is_shown_while_it_lasts_and_said_once(make_report: Make) -> None:
    tally, said = Tally(), []
    take(tally, make_report(1))
    for alarms in (["the disk is full"], ["the disk is full", "no consumer"], []):
        health = Health(at=NOW, frames=1, refused=0, cells=0, queued=3, engine="x", alarms=alarms)
        body = health.model_dump_json().encode()
        assert tally.take("p/v1/lab/scope-1/health", body, received_at=NOW, retained=False) == "health"
        said += tally.fresh_alarms("p/v1/lab/scope-1/health")
        drawn = Console(width=120, file=io.StringIO(), record=True)
        drawn.print(picture(tally))
        text = drawn.export_text()
        assert ("lab/scope-1 alarm: the disk is full" in text) == bool(alarms)
        assert "3 reports wait in its outbox" in text
    assert said == ["lab/scope-1 alarm: the disk is full", "lab/scope-1 alarm: no consumer"]


def test_the_table_says_when_each_agent_was_last_heard_and_what_its_health_is() -> None:
    tally, topic = Tally(), "p/v1/lab/scope-1/"
    health = Health(
        at=NOW, frames=9, refused=0, cells=0, queued=1, engine="x", broker="online", frame_age_s=0.4,
        dropped={"skipped": 1}, temperatures_c={"cpu": 41.2}, alarms=["\x1b[2J"],
    )  # fmt: skip
    online, body = Status(state="online").model_dump_json().encode(), health.model_dump_json().encode()
    for name, message, retained, heard in (
        ("status", online, True, "online, not heard"),
        ("health", body, False, "online, 30 s ago"),
    ):
        tally.take(topic + name, message, received_at=NOW, retained=retained)
        drawn = Console(width=80, file=io.StringIO(), record=True)
        drawn.print(picture(tally, NOW + timedelta(seconds=30)))
        text = " ".join(drawn.export_text().split())
        assert heard in text
    assert "health at 12:00:00 UTC: last frame 0 s before, 1 report waits in its outbox, broker online" in text
    assert "1 frame skipped, 41 \N{DEGREE SIGN}C" in text
    assert "\x1b[2J" not in text
    assert r"alarm: \x1b[2J" in text


def test_kept_pictures_are_told_and_lost_ones_only_where_there_are_any() -> None:
    told = []
    for pictures in (None, PictureHealth(kept=1, dropped=0, mb=0.4), PictureHealth(kept=1200, dropped=3, mb=51.7)):
        tally = Tally()
        health = Health(at=NOW, frames=9, refused=0, cells=0, queued=0, engine="x", frame_age_s=0, pictures=pictures)
        body = health.model_dump_json().encode()
        tally.take("p/v1/lab/scope-1/health", body, received_at=NOW, retained=False)
        drawn = Console(width=80, file=io.StringIO(), record=True)
        drawn.print(picture(tally, NOW))
        told.append(" ".join(drawn.export_text().split()).partition("last frame 0 s before")[2].partition(" For ")[0])
    assert told == ["", ", 1 picture kept (0 MiB)", ", 1200 pictures kept, 3 not (52 MiB)"]


def test_missing_reports_are_told(make_report: Make) -> None:
    tally = Tally()
    for seq in (1, 4):
        take(tally, make_report(seq))
    drawn = Console(width=120, file=io.StringIO(), record=True)
    drawn.print(picture(tally))
    assert "lab/scope-1 2 reports are missing between those that came" in drawn.export_text()
