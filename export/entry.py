"""Entry points of `export-engine` and `compare-engines`: of a library that is missing, its extra is named."""

from common.commands import process


def export_engine() -> int:
    """`export-engine`."""
    return process("export-engine", _export)


def compare_engines() -> int:
    """`compare-engines`."""
    return process("compare-engines", _compare)


def _export() -> int:
    from export.__main__ import main  # noqa: PLC0415 - see above

    return main()


def _compare() -> int:
    from export.compare import main  # noqa: PLC0415 - see above

    return main()
