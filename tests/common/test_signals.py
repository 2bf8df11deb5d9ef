"""What signals do to a program: from its first moment on, and whatever its main thread hangs in."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.waiting import heeds, until

HANGING = """
import os, sys
from common.signals import Manner, heed

signals = heed()
signals.decide(Manner(code=int(sys.argv[2])))
signals.begin()
signals.last_words = lambda: os.write(1, b"last words")
print("hangs", flush=True)
open(sys.argv[1]).read()  # of a FIFO that nobody writes: Python goes on waiting after a signal
"""
WAITING = """
import sys
from common.signals import Manner, heed

signals = heed()
signals.decide(Manner(survives_hangup="survive" in sys.argv))
stop = signals.begin()
if "survive" in sys.argv:
    signals.on_hangup = lambda: print("read again", flush=True)
print("waits", flush=True)
stop.wait()
print("ends in order", flush=True)
"""


FIRST = """
import runpy, sys
import common.signals

class Slow:
    def find_spec(self, name, *_):
        if name in {"numpy", "paho", "pydantic", "rich", "sqlalchemy"}:
            print("heeded" if common.signals._heeded else "not heeded", flush=True)
            sys.exit(0)

sys.meta_path.insert(0, Slow())
sys.argv = sys.argv[1:]
runpy.run_module(sys.argv[0], run_name="__main__")
"""
"""Ends with the first import of something slow, and says whether signals are heeded by then."""
NO_NAMES = """
import runpy, socket, sys, threading
socket.getaddrinfo = lambda *_, **__: (print("asks", flush=True), threading.Event().wait())
sys.argv = sys.argv[1:]
runpy.run_module(sys.argv[0], run_name="__main__")
"""
"""A program whose name service never answers."""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize(("words", "code"), [(["run", "--set", "mqtt.port=9"], 0), (["doctor"], 1)])
def test_the_first_thing_that_a_command_does_is_to_heed_signals(
    tmp_path: Path, number: int, words: list[str], code: int
) -> None:
    """The service was told to end and has ended; what a person asked for is not done."""
    command = [sys.executable, "-m", "agent", *words, "--set", f"state_dir={tmp_path}"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert until(lambda: heeds(process.pid))
        assert "numpy" not in Path(f"/proc/{process.pid}/maps").read_text(), "something slow was imported before"
        process.send_signal(number)
        _, said = process.communicate(timeout=30)
    assert (process.returncode, said) == (code, "")


@pytest.mark.parametrize("module", ["agent", "collector", "dashboard", "dashboard.terminal"])
def test_signals_are_heeded_before_anything_slow_is_imported(module: str) -> None:
    done = subprocess.run([sys.executable, "-c", FIRST, module], capture_output=True, text=True, check=False)
    assert done.stdout == "heeded\n", done.stderr


@pytest.mark.parametrize("module", ["collector", "dashboard", "dashboard.terminal"])
def test_a_name_service_that_hangs_keeps_no_program_from_its_end(tmp_path: Path, module: str) -> None:
    """Of an agent, `tests/agent/test_lost_source.py` holds the same."""
    page = {"state_dir": tmp_path, "web.sign_in": "false", "web.port": 0}
    more = {
        "collector": ["--database", f"sqlite:///{tmp_path / 'c.sqlite'}"],
        "dashboard": [word for name, value in page.items() for word in ("--set", f"{name}={value}")],
        "dashboard.terminal": ["--plain"],
    }[module]
    command = [sys.executable, "-c", NO_NAMES, module, "--host", "broker.example", *more]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "asks\n"
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=30)
    assert process.returncode == 0, said
    assert "Traceback" not in said


@pytest.mark.parametrize("command", ["agent.main", "collector.main", "dashboard.page", "dashboard.watch"])
def test_the_installed_command_heeds_signals_before_it_imports_itself(command: str) -> None:
    room, function = command.split(".")
    script = f"import {room}.entry as e, sys; sys.argv[1:] = ['--help']; e.{function}()"
    check = f"import atexit\nimport common.signals as s\natexit.register(lambda: print(len(s._heeded)))\n{script}"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "1"


@pytest.mark.parametrize("code", [0, 1])
def test_a_program_that_hangs_is_ended_with_its_last_words_and_says_where_it_hung(tmp_path: Path, code: int) -> None:
    os.mkfifo(tmp_path / "fifo")
    command = [sys.executable, "-c", HANGING, str(tmp_path / "fifo"), str(code)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "hangs\n"
        process.send_signal(signal.SIGTERM)
        out, said = process.communicate(timeout=30)
    assert (process.returncode, out) == (code, "last words")
    assert "told to end, but <string>:10, <module>() has not returned" in said


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_a_command_in_order(number: int) -> None:
    """A terminal's end too: `replay` in a session that breaks writes its summary."""
    with subprocess.Popen([sys.executable, "-c", WAITING], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "waits\n"
        process.send_signal(number)
        assert (process.communicate(timeout=30)[0], process.returncode) == ("ends in order\n", 0)


def test_a_service_reads_its_secrets_again_at_a_terminals_end_and_goes_on() -> None:
    with subprocess.Popen([sys.executable, "-c", WAITING, "survive"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "waits\n"
        for _ in range(3):
            process.send_signal(signal.SIGHUP)
            assert process.stdout.readline() == "read again\n"
        process.send_signal(signal.SIGTERM)
        assert (process.communicate(timeout=30)[0], process.returncode) == ("ends in order\n", 0)


def test_a_command_under_nohup_does_not_end_with_its_terminal() -> None:
    command = ["nohup", sys.executable, "-c", WAITING]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "waits\n"
        process.send_signal(signal.SIGHUP)
        process.send_signal(signal.SIGTERM)
        assert (process.communicate(timeout=30)[0], process.returncode) == ("ends in order\n", 0)
