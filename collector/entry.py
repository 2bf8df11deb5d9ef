"""Entry point of `microscope-collect`: signals are heeded before anything that is slow is loaded."""

from common.commands import process
from common.signals import heed
from common.terminal import open_streams


def main() -> int:
    """`microscope-collect`."""
    open_streams()
    heed()
    return process("microscope-collect", _run)


def _run() -> int:
    from collector.options import parser  # noqa: PLC0415 - as below

    parser().parse_args()  # help and wrong usage need no database
    from collector.__main__ import main as run  # noqa: PLC0415 - signals are heeded before it is loaded

    return run()
