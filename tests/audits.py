"""An audit log, filled, for tests."""

from collections.abc import Callable
from itertools import count
from pathlib import Path

from hypothesis import strategies as st

from agent.ops.audit import FOLDER, AuditLog, files_of
from agent.ops.chain import Head

EVENTS = 6


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def fill(state: Path, events: int, **options: int) -> Head:
    ticks = count()
    with AuditLog(state, clock=lambda: f"2026-01-31T12:00:{next(ticks) % 60:02d}.000Z", **options) as audit:
        for number in range(events):
            audit("event", {"number": number, "text": "ä\u2028"})
        return audit.head


def the_file(state: Path) -> Path:
    [path] = files_of(state / FOLDER)
    return path


def edit(state: Path, change: Callable[[list[bytes]], object]) -> None:
    lines = the_file(state).read_bytes().splitlines(keepends=True)
    change(lines)
    the_file(state).write_bytes(b"".join(lines))
