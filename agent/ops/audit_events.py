"""What of an agent's life goes into the audit log. No patient's identity, and no secret: slides are pseudonyms."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager

from agent.ops.audit import AuditLog
from agent.pipeline import Examiner
from common.errors import MicroscopeError
from contract.messages import SlideSummary

Note = Callable[[str, Mapping[str, object]], None]
"""Notes an event and its facts, and holds nobody up if it can not."""


@contextmanager
def on_record(audit: AuditLog, shown: Iterable[tuple[str, str, str]], *, version: str) -> Iterator[None]:
    """Note the start, with the settings if they are others than at the last start, and how the block ended.

    Args:
        audit: the log.
        shown: the settings by name, value and origin; secrets masked.
        version: of the agent.
    """
    values = {name: value for name, value, _ in shown}
    digest = hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
    before = audit.last("start")
    audit.note("start", {"version": version, "settings": digest})
    if before is None or before.facts.get("settings") != digest:
        audit.note("settings_changed", {"settings": digest, "values": values})
    try:
        yield
    except MicroscopeError as cause:
        audit.note("stop", {"because": type(cause).__name__, "exit_code": cause.exit_code, "error": str(cause)})
        raise
    except BaseException as fault:
        audit.note("stop", {"because": type(fault).__name__})
        raise
    audit.note("stop", {"because": "done"})


def model_opened(note: Note, examiner: Examiner, *, wanted: str, newest: int) -> None:
    """Note which model judges from now on, who vouches for it, and what was put up with.

    Args:
        note: where.
        examiner: with the model.
        wanted: engine that the settings name.
        newest: the newest version of this model that ran here before.
    """
    bundle, manifest = examiner.bundle, examiner.bundle.manifest
    facts = {"id": manifest.id, "sha256": bundle.sha256}
    note(
        "model_opened",
        {**facts, "key": bundle.signed_by, "gate": manifest.gate.state, "engine": examiner.engine.name},
    )
    if wanted == "auto" and not examiner.engine.name.startswith("tensorrt"):
        note("engine_fallback", {"wanted": "tensorrt-int8", "engine": examiner.engine.name})
    if manifest.version < newest:
        note("rollback_allowed", {**facts, "newest": newest})


class SlideNotes:
    """Notes where slides begin and end, and hands every summary on."""

    def __init__(self, note: Note, publish: Callable[[SlideSummary], None]) -> None:
        self._note, self._publish, self._open = note, publish, ""

    def __call__(self, summary: SlideSummary) -> None:
        """Take a summary as ``SlideControl`` publishes it."""
        facts: dict[str, object] = {"slide_id": summary.slide_id, "count_id": summary.count_id}
        if summary.state == "closed":
            counted = summary.model_dump(include={"frames", "refused", "cells", "normal", "blasts", "uncertain"})
            self._note("slide_stopped", {**facts, **counted})
            self._open = ""
        elif summary.count_id != self._open:
            self._note("slide_started", facts)
            self._open = summary.count_id
        self._publish(summary)
