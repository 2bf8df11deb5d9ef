"""A reviewer's verdicts survive the death of the process that stores them, each once."""

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from dashboard.reviews.events import Given
from dashboard.reviews.store import ReviewStore
from tests.dashboard.reviews.conftest import KEY, Desk, cell, slide_of

WRITER = """
import sys
from dashboard.reviews.events import Given
from dashboard.reviews.store import ReviewStore
from tests.dashboard.reviews.conftest import cell, slide_of

address, first, die_at = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
record = slide_of(*(cell(f"r-c{number}") for number in range(40)))
with ReviewStore(address) as store:
    for number in range(first, 40):
        given = [Given(f"r-c{number}", "correct", "blast")]
        store.give(record, "ada", "reviewer", "1", given, call_id=f"call_id-{number:04d}")
        if number == die_at:
            print("stored", flush=True)  # the commit is done, the answer is not given
            sys.stdin.read()
        print(number, flush=True)
"""
RECORD = slide_of(*(cell(f"r-c{number}") for number in range(40)))
ROOT = Path(__file__).resolve().parents[3]


def start(address: str, first: int, die_at: int) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, address, str(first), str(die_at)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip


def test_a_verdict_whose_answer_was_lost_with_the_process_is_stored_once_when_it_is_sent_again(database: str) -> None:
    """Killed between commit and answer."""
    with ReviewStore(database) as store:
        Desk(store).begin(RECORD)
    with start(database, 0, 7) as writer:
        assert writer.stdout is not None
        while writer.stdout.readline() != "stored\n":
            pass
        writer.send_signal(signal.SIGKILL)
    assert writer.returncode == -signal.SIGKILL
    with ReviewStore(database) as store:
        before = store.log(KEY).verdicts
        [again] = store.give(
            RECORD, "ada", "reviewer", "1", [Given("r-c7", "correct", "blast")], call_id="call_id-0007"
        )
        assert again == before[-1]
        assert [one.object_id for one in store.log(KEY).verdicts] == [f"r-c{number}" for number in range(8)]


@pytest.mark.parametrize("seed", [1, 2])
def test_kills_at_any_moment_lose_no_verdict_that_was_answered_and_double_none(tmp_path: Path, seed: int) -> None:
    """The browser sends again from the first call that had no answer."""
    address = f"sqlite:///{tmp_path / 'reviews.sqlite'}"
    with ReviewStore(address) as store:
        Desk(store).begin(RECORD)
    chance, answered, kills = random.Random(seed), 0, 0  # noqa: S311 - moments of kills
    while answered < len(RECORD.cells):
        upto = answered + chance.randrange(1, 16)
        with start(address, answered, -1) as writer:
            assert writer.stdout is not None
            for line in writer.stdout:
                answered = int(line) + 1
                if answered == upto:
                    writer.send_signal(signal.SIGKILL)
                    kills += 1
    assert kills > 1
    with ReviewStore(address) as store:
        assert [one.object_id for one in store.log(KEY).verdicts] == [one.object_id for one in RECORD.cells]


def test_two_processes_that_write_at_once_lose_nothing_and_double_nothing(database: str) -> None:
    with ReviewStore(database) as store:
        Desk(store).begin(RECORD)
    with start(database, 0, -1) as one, start(database, 0, -1) as two:
        assert [writer.communicate()[0].split()[-1] for writer in (one, two)] == ["39", "39"]
    with ReviewStore(database) as store:
        found = store.log(KEY).verdicts
        assert sorted(one.object_id for one in found) == sorted(one.object_id for one in RECORD.cells)
