"""Power cuts, simulated: what was said to be safe is there afterwards, and the database is whole.

The ledger is what another process has read of the numbers that were said to be safe.
"""

import random
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from agent.wire.outbox import Outbox
from contract.messages import FrameReport

Make = Callable[..., FrameReport]
CUTS = 20

PUT = """
import random, sys
from pathlib import Path
from agent.wire.outbox import Outbox
from contract.messages import FrameReport

folder, pattern, seed = sys.argv[1:]
report, chance = FrameReport.model_validate_json(pattern), random.Random(seed)
with Outbox(Path(folder) / "outbox.sqlite", max_mb=64) as outbox:
    while True:
        seq = outbox.next_seq()
        quality = report.quality.model_copy(update={"detail": "s" * chance.randrange(4000)})
        outbox.put(report.model_copy(update={"epoch": outbox.epoch, "seq": seq, "quality": quality}))
        print("put", seq, flush=True)
        if chance.random() < 0.1:
            upto = chance.randrange(seq + 1)
            print("forget", upto, flush=True)
            outbox.acknowledge(outbox.epoch, upto)
"""

COLLECT = """
import random, sys
from datetime import datetime, timezone
from pathlib import Path
from collector.store import Arrival, Store
from contract.messages import FrameReport

folder, pattern, seed = sys.argv[1:]
report, chance = FrameReport.model_validate_json(pattern), random.Random(seed)
now = datetime.now(timezone.utc)
with Store(f"sqlite:///{Path(folder) / 'collected.sqlite'}") as store:
    store.open()
    seq = max((stream.numbers.upto for stream in store.streams.values()), default=0)
    while True:
        numbers = range(seq + 1, seq + 1 + chance.randrange(1, 20))
        batch = [report.model_copy(update={"seq": number}).model_dump_json().encode() for number in numbers]
        outcome = store.store([Arrival("p/v1/lab/scope-1/frame", body, now) for body in batch])
        seq = outcome.replies[0].ack.upto
        print("put", seq, flush=True)
"""


def started(*words: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


@contextmanager
def disk_with_power(
    mount: Path, image: Path, seed: int, *, start: Callable[..., "subprocess.Popen[str]"] = started
) -> Iterator["subprocess.Popen[str]"]:
    program = Path(__file__).with_name("powerfs.py")
    with start(sys.executable, str(program), str(mount), str(image), str(seed)) as disk:
        assert disk.stdin is not None
        assert disk.stdout is not None
        if disk.stdout.readline() != "mounted\n":
            pytest.skip("no FUSE file system can be mounted here")
        try:
            yield disk
        finally:
            with suppress(OSError):
                print(file=disk.stdin, flush=True)
                print(file=disk.stdin, flush=True)
            disk.wait(20)
            subprocess.run(["umount", "-l", mount], capture_output=True, check=False)


def work_until_the_power_goes(
    program: str, mount: Path, image: Path, *, pattern: str, seed: int, lines: int
) -> list[tuple[str, int]]:
    """What the program said it had done, up to a power cut after about so many words."""
    said: list[tuple[str, int]] = []
    with disk_with_power(mount, image, seed) as disk:
        assert disk.stdin is not None
        assert disk.stdout is not None
        command = [sys.executable, "-c", program, str(mount), pattern, str(seed)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as worker:
            assert worker.stdout is not None
            for line in worker.stdout:
                word, number = line.split()
                said.append((word, int(number)))
                if len(said) == lines:
                    print(file=disk.stdin, flush=True)
                    # what the worker says from here on it said before the cut, for afterwards every sync fails
            worker.wait(20)
        disk.stdout.readline()
    return said


@pytest.mark.requires_root
@pytest.mark.usefixtures("may_mount")
def test_no_report_that_was_put_is_lost_by_twenty_power_cuts(tmp_path: Path, make_report: Make) -> None:
    """One outbox goes through them all; every time it opens without a rescue."""
    mount, image = tmp_path / "mount", tmp_path / "image"
    mount.mkdir()
    image.mkdir()
    chance, put, forgotten, epochs = random.Random(1), 0, 0, set[str]()  # noqa: S311 - a test
    for cut in range(CUTS):
        said = work_until_the_power_goes(
            PUT, mount, image, pattern=make_report().model_dump_json(), seed=cut, lines=chance.randrange(1, 120)
        )
        put = max([put, *[number for word, number in said if word == "put"]])
        forgotten = max([forgotten, *[number for word, number in said if word == "forget"]])
        with Outbox(image / "outbox.sqlite", max_mb=64) as outbox:
            held = [FrameReport.model_validate_json(body).seq for _, body in outbox.pending(0, 100_000)]
            epochs.add(outbox.epoch)
            assert outbox.alarms() == [], f"cut {cut}"
            assert outbox.next_seq() in (put + 1, put + 2), f"cut {cut}"
        assert set(range(forgotten + 1, put + 1)) <= set(held), f"cut {cut}"
        assert held == sorted(set(held))
    assert len(epochs) == 1
    assert put > CUTS


@pytest.mark.requires_root
@pytest.mark.usefixtures("may_mount")
def test_nothing_that_a_collector_acknowledged_is_lost_by_power_cuts(tmp_path: Path, make_report: Make) -> None:
    mount, image = tmp_path / "mount", tmp_path / "image"
    mount.mkdir()
    image.mkdir()
    chance, acknowledged = random.Random(2), 0  # noqa: S311 - a test
    for cut in range(5):
        said = work_until_the_power_goes(
            COLLECT, mount, image, pattern=make_report().model_dump_json(), seed=cut, lines=chance.randrange(1, 40)
        )
        acknowledged = max([acknowledged, *[number for _, number in said]])
        database = sqlite3.connect(image / "collected.sqlite")
        assert database.execute("pragma integrity_check").fetchone() == ("ok",)
        found = {seq for (seq,) in database.execute("select seq from report")}
        database.close()
        assert set(range(1, acknowledged + 1)) <= found, f"cut {cut}"
    assert acknowledged > 0


@pytest.mark.requires_root
@pytest.mark.usefixtures("may_mount")
def test_the_simulated_disk_does_lose_what_was_not_synced(tmp_path: Path) -> None:
    """Or the other tests here would show nothing: without syncs, rows are lost or the database is damaged."""
    mount, image = tmp_path / "mount", tmp_path / "image"
    mount.mkdir()
    image.mkdir()
    careless = (
        "import sqlite3, sys; d = sqlite3.connect(sys.argv[1] + '/x', isolation_level=None)\n"
        "d.execute('pragma journal_mode=wal'); d.execute('pragma synchronous=off'); d.execute('create table t (n)')\n"
        "for n in range(1, 10**6): d.execute('insert into t values (?)', (n,)); print('put', n, flush=True)"
    )
    said = work_until_the_power_goes(careless, mount, image, pattern="", seed=3, lines=50)
    try:
        database = sqlite3.connect(image / "x")
        count = database.execute("select count(*) from t").fetchone()[0]
    except sqlite3.Error:
        count = 0
    finally:
        database.close()
    assert count < len(said)
