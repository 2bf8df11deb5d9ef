"""`export-engine` as a user types it, without an engine; NVIDIA's compiler is asked only by tests that are about it."""

from pathlib import Path

from export.__main__ import main


def run(checkpoint: Path, cells: Path, out: Path, *more: str) -> int:
    words = [str(checkpoint), "--int8", "--no-engine", "--calibration", str(cells), "--out", str(out), *more]
    return main([*words, *([] if "--check" in more else ["--check", "none"])])
