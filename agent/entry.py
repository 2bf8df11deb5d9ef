"""Entry point of `microscope-agent`: signals are heeded before anything that is slow is loaded."""

from common.commands import process
from common.signals import heed
from common.terminal import open_streams


def main() -> int:
    """`microscope-agent`."""
    open_streams()
    heed()
    return process("microscope-agent", _run)


def _run() -> int:
    from agent.__main__ import main as run  # noqa: PLC0415 - signals are heeded before it is loaded

    return run()
