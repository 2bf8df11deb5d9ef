"""`replay` called as a function, for tests."""

import json
from pathlib import Path
from typing import Any

from agent.__main__ import main

Report = dict[str, Any]


def replay(source: Path, out: Path, *more: str) -> int:
    return main(["replay", str(source), "--um-per-pixel", "0.1", "--out", str(out), *more])


def reports(out: Path) -> list[Report]:
    return [json.loads(line) for line in out.read_text().splitlines()]
