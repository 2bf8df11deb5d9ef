"""Entry points of the subscribers: signals are heeded before anything that is slow is loaded."""

from common.commands import process
from common.signals import heed
from common.terminal import open_streams


def watch() -> int:
    """`microscope-watch`."""
    open_streams()
    heed()
    return process("microscope-watch", _watch)


def page() -> int:
    """`microscope-dashboard`."""
    open_streams()
    heed()
    return process("microscope-dashboard", _page)


def _watch() -> int:
    from dashboard.terminal.__main__ import main  # noqa: PLC0415 - signals are heeded before it is loaded

    return main()


def _page() -> int:
    from dashboard.options import parser  # noqa: PLC0415 - as below

    parser().parse_args()  # help and wrong usage need no library of an extra
    from dashboard.__main__ import main  # noqa: PLC0415 - signals are heeded before it is loaded

    return main()
