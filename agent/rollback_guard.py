"""The newest version of each model that ran on this machine: an older one, though signed, may have been withdrawn."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from common.arguments import make_state_dir
from common.durable import PRIVATE, write_whole
from common.errors import IntegrityError, UsageError
from common.plain import read_plain

FILE = "models.json"


class Memory(BaseModel):
    """What `models.json` in the state folder holds."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    schema_version: Literal[1] = 1
    newest: dict[str, int] = Field(default_factory=dict)


def recall(state_dir: Path) -> Memory:
    """Read the memory; an empty one where nothing ran yet.

    Raises:
        IntegrityError: the file can not be read, so nobody knows what ran.
    """
    try:
        return Memory.model_validate_json(read_plain(state_dir / FILE))
    except FileNotFoundError:
        return Memory()
    except (OSError, ValidationError) as cause:
        raise IntegrityError(
            f"{state_dir / FILE}, which says what versions have run here, can not be read; restore it, or delete it if "
            "you know that the bundle is not older than the last one"
        ) from cause


def refuse_rollback(model: str, version: int, state_dir: Path, *, allow: bool) -> None:
    """Refuse a version older than the newest that ran here.

    Args:
        model: name of the model, without its version.
        version: of the bundle.
        state_dir: where the memory lies.
        allow: an older version is wanted.

    Raises:
        IntegrityError: it is older.
    """
    newest = recall(state_dir).newest.get(model, version)
    if version < newest and not allow:
        raise IntegrityError(
            f"{model} version {version} is older than version {newest}, which has run here; install a newer bundle, or "
            "set `trust.allow_rollback` for as long as you want the old one"
        )


def remember(model: str, version: int, state_dir: Path) -> None:
    """Note that a version ran; a power cut leaves the older note, never a torn one.

    Raises:
        IntegrityError: the older note can not be read.
        UsageError: the note can not be written.
    """
    known = recall(state_dir).newest
    if known.get(model, 0) >= version:
        return
    try:
        make_state_dir(state_dir)
        write_whole(
            state_dir / FILE, Memory(newest={**known, model: version}).model_dump_json(indent=1).encode(), mode=PRIVATE
        )
    except OSError as cause:
        raise UsageError(
            f"{state_dir / FILE} can not be written ({cause.strerror}); free some room, or set `state_dir`"
        ) from cause
