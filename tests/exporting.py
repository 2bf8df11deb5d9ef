"""`export-engine` as a user types it, without an engine."""

from pathlib import Path

from export.__main__ import main


def run(checkpoint: Path, cells: Path, out: Path, *more: str) -> int:
    return main([str(checkpoint), "--int8", "--no-engine", "--calibration", str(cells), "--out", str(out), *more])
