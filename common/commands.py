"""What holds for all commands; the entry points of each stand in `entry.py` of its room. Nothing here is slow to load.

Without the libraries of an extra, one line says what to install; help and wrong usage need none. A reader that is gone
(`| head`), Ctrl-C and a full disk end a command in words, never in a traceback.
"""

import signal
import sys
from collections.abc import Callable

from common.errors import MicroscopeError
from common.terminal import discard_output, open_streams, output_failed, reader_is_gone, say

EXTRAS = {
    "fhir": "fhir",
    "onnx": "export,training",
    "onnxscript": "export,training",
    "psycopg": "postgresql",
    "rich": "dashboard",
    "starlette": "dashboard",
    "uvicorn": "dashboard",
    "argon2": "dashboard",
    "sqlalchemy": "collector",
    "torch": "export,training",
    "weasyprint": "pdf",
}
"""Which extra brings a library that may be missing."""
INTERRUPTED = 128 + signal.SIGINT
"""Exit code after Ctrl-C, as shells have it."""


def how_to_install(extra: str) -> str:
    """What a user types for the libraries of an extra; no index of packages has this project."""
    return f"pip install -c constraints.txt '.[{extra}]' in a clone of this project"


def process(program: str, main: Callable[[], int]) -> int:
    """Run the command that this process is for; returns its exit code.

    Args:
        program: its name.
        main: loads what it needs, and does the work.
    """
    open_streams()
    try:
        return _flushed(program, main)
    except BrokenPipeError:  # who reads our output, as `head` does, has seen enough
        if not reader_is_gone(sys.stdout):
            raise
        discard_output()
        return 0
    except KeyboardInterrupt:
        say(f"{program}: interrupted", to=sys.stderr)
        return INTERRUPTED
    finally:
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # a second Ctrl-C, while Python ends, has nothing to say


def outcome(program: str, work: Callable[[], int]) -> int:
    """Do the work of a command; of an expected failure say why, and return its exit code."""
    try:
        return work()
    except MicroscopeError as cause:
        say_failure(program, cause)
        return cause.exit_code


def say_failure(program: str, cause: MicroscopeError) -> None:
    """The last words of a command that fails."""
    from common import journal  # noqa: PLC0415 - logging is slow to import, and signals are heeded before it

    print(journal.complaint(f"{program}: {cause}"), file=sys.stderr)  # noqa: T201 - made printable there


def _flushed(program: str, main: Callable[[], int]) -> int:
    """Run it, and see that all that it printed has arrived."""
    try:
        code = main()
    except SystemExit as ended:  # argparse's, after help or wrong usage
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except ModuleNotFoundError as cause:
        if cause.name not in EXTRAS:
            raise
        say(f"{program}: {cause.name} is not installed; {how_to_install(EXTRAS[cause.name])}", to=sys.stderr)
        code = 4
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as cause:
        discard_output()
        say_failure(program, output_failed(cause))
        code = code or output_failed(cause).exit_code
    return code
