"""What people see of text from elsewhere."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from common.terminal import printable

SAYS = "from common.commands import process; from common.terminal import say\n"


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("Łódź 5 µm", "Łódź 5 µm"),
        ("\x1b[2J\x1b]0;x\x07", r"\x1b[2J\x1b]0;x\x07"),
        ("a\nb\r\x85\u2028c", r"a\nb\r\x85\u2028c"),
        ("\u202egpj.a", r"\u202egpj.a"),
        ("\u200b\ufeff\ud800", r"\u200b\ufeff\ud800"),
    ],
)
def test_what_a_terminal_obeys_or_hides_is_written_out(text: str, seen: str) -> None:
    assert printable(text) == seen


def command(body: str) -> list[str]:
    return [sys.executable, "-c", f"{SAYS}def main():\n    {body}\n    return 0\nraise SystemExit(process('c', main))"]


@pytest.mark.parametrize("encoding", ["", "ascii"])
def test_a_pipe_gets_utf8_in_every_locale_or_what_is_asked_for(encoding: str) -> None:
    environment = os.environ | {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    environment |= {"PYTHONIOENCODING": encoding} if encoding else {}
    done = subprocess.run(command(r"say('\u0141\xf3d\u017a')"), env=environment, capture_output=True, check=True)
    assert done.stdout == (b"??d?\n" if encoding else "Łódź\n".encode())


def test_a_closed_stream_s_number_is_given_to_no_file(tmp_path: Path) -> None:
    """Else what is printed would be written into the next file that is opened: a database, for example."""
    body = f"file = open({str(tmp_path / 'f')!r}, 'w'); say('lost'); file.write('kept')"
    subprocess.run(["sh", "-c", '"$@" <&- >&- 2>&-', "sh", *command(body)], check=True)
    assert (tmp_path / "f").read_text() == "kept"


def test_an_error_stream_that_nobody_reads_stops_no_work(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    body = f"import sys; say('x', to=sys.stderr); sys.stderr.write('y\\n' * 9999); open({str(tmp_path / 'f')!r}, 'w')"
    done = subprocess.run(command(body), stderr=writer, check=False)
    os.close(writer)
    assert done.returncode == 0
    assert (tmp_path / "f").exists()


def test_a_reader_that_has_seen_enough_ends_a_command_in_silence() -> None:
    with subprocess.Popen(
        command("[say(str(n)) for n in range(99999)]"), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == b"0\n"
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 0


def test_ctrl_c_is_a_word_and_no_traceback() -> None:
    """Also where the tests run in the background of a shell, which has what it starts there ignore Ctrl-C."""
    heeds = "import signal, time; signal.signal(signal.SIGINT, signal.default_int_handler)"
    body = f"{heeds}; say('ready'); time.sleep(60)"
    with subprocess.Popen(command(body), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == b"ready\n"
        time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        assert process.stderr.read() == b"c: interrupted\n"
        assert process.wait() == 130
