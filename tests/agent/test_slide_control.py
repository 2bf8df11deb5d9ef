"""Which slide lies under the objective, and what is said of it."""

import threading

from agent.slides.slide import Sighting, SlideControl
from contract.messages import SlideSummary
from contract.types import Frame
from tests.slides import DECISION, ERROR, GOOD, MODEL, cell_at, judged


def control(said: list[SlideSummary]) -> SlideControl:
    return SlideControl("r", model=MODEL, decision=DECISION, publish=said.append)


def test_a_slide_is_said_at_its_start_and_at_its_end(field: Frame) -> None:
    said: list[SlideSummary] = []
    slides = control(said)
    slides.start("a")
    slides.see(field, GOOD, judged([cell_at(200, 150)]))
    slides.start("a")
    slides.start("b")
    last = slides.stop()
    assert [(s.slide_id, s.state, s.cells) for s in said] == [
        ("a", "open", 0), ("a", "closed", 1), ("b", "open", 0), ("b", "closed", 0),
    ]  # fmt: skip
    assert last == said[-1]
    assert slides.stop() is None
    assert [s.count_id for s in said] == ["r-s1", "r-s1", "r-s2", "r-s2"]
    assert said[1].ended_at is not None


def test_the_error_that_corrects_a_share_is_that_of_the_model_in_force(field: Frame) -> None:
    slides, said = SlideControl("r", model=MODEL, decision=DECISION, error=ERROR), []
    slides.start("a")
    for error in (None, ERROR):
        slides.see(field, GOOD, judged([cell_at(200, 150)]))
        said.append(slides.summary())
        slides.judge_by(MODEL, DECISION, error)
    assert [s is not None and s.enough_cells for s in said] == ["no", None]
    slides.see(field, GOOD, judged([cell_at(200, 150)]))
    last = slides.stop()
    assert last is not None
    assert last.enough_cells == "no"


def test_the_same_slide_begun_again_is_a_new_count(field: Frame) -> None:
    slides = control([])
    names = []
    for _ in range(2):
        slides.start("a")
        names.append(slides.see(field, GOOD, judged([cell_at(200, 150)])).object_ids[0])
        slides.stop()
    assert names == ["r-s1-c1", "r-s2-c1"]


def test_between_slides_nothing_is_counted(field: Frame) -> None:
    slides = control([])
    assert slides.see(field, GOOD, judged([cell_at(200, 150)])) == Sighting()
    assert slides.summary() is None


def test_slides_may_be_started_and_stopped_while_frames_come(field: Frame) -> None:
    """What was counted is what was seen, whoever started which slide when."""
    said: list[SlideSummary] = []
    slides, done = control(said), threading.Event()

    def meddle() -> None:
        for k in range(50):
            slides.start(f"slide-{k % 3}")
            slides.summary()
        done.set()

    thread = threading.Thread(target=meddle)
    thread.start()
    seen = [slides.see(field, GOOD, []).slide_id for _ in range(40)]
    thread.join()
    assert done.is_set()
    slides.stop()
    closed = [s for s in said if s.state == "closed"]
    assert sum(s.frames for s in closed) == sum(bool(name) for name in seen)
    assert len({s.count_id for s in closed}) == len(closed)
