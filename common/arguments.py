"""Arguments and places that several commands share: checked once, and what is wrong is said alike."""

import argparse
import math
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, NoReturn

from pydantic import AfterValidator

from common.errors import UsageError
from common.secrets import MASK

COARSEST_UM = 10.0
"""Micrometres per pixel: more than a red cell is no microscopy of cells."""
FINEST_UM = 0.005
SETTING = re.compile(r"[A-Za-z0-9_.]+")
"""A setting's name as it may be repeated: what looks otherwise may be a secret in the wrong place."""

_ADDRESS = re.compile(r"\S*(?:://|:\S*@)\S*")


class Parser(argparse.ArgumentParser):
    """One whose complaints repeat no address, which may hold a password: those of a service stand in the journal."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong, and exit with 2."""
        super().error(_ADDRESS.sub(MASK, message))


def micrometres(text: str) -> float:
    """Micrometres per pixel from the command line."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not FINEST_UM <= value <= COARSEST_UM:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no scale: micrometres per pixel lie in {FINEST_UM} to {COARSEST_UM}"
        )
    return value


def whole(*, least: int = 1) -> Callable[[str], int]:
    """A whole number from the command line, from ``least`` up."""

    def number(text: str) -> int:
        if not text.strip().isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text!r} is no whole number from {least} up")
        return int(text)

    return number


def made_folder(path: Path) -> Path:
    """Make a folder for results; UsageError if that is not possible."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as cause:
        raise UsageError(f"the folder {path} can not be made ({cause.strerror}); choose another --out") from cause
    return path


def make_state_dir(path: Path) -> None:
    """Make a folder of the agent or the collector, for nobody else to read, as systemd does; an old one stays as it is.

    Raises:
        OSError: it can not be made.
    """
    path.mkdir(mode=0o700, parents=True, exist_ok=True)


def default_state_dir() -> Path:
    """Systemd's state folder for the service, else the user's."""
    named = os.environ.get("STATE_DIRECTORY")  # systemd's StateDirectory=
    home = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    try:
        return Path(named.split(":")[0]) if named else Path(home).expanduser() / "microscope-agent"
    except RuntimeError as cause:
        raise UsageError(
            f"there is no home folder for what must be kept ({cause}); name a place by --state-dir, --database or the "
            "setting `state_dir`, whichever there is, or set XDG_STATE_HOME"
        ) from cause


def state_dir_if_any() -> Path | None:
    """The same for what reads there and keeps nothing; None where there is no home folder."""
    try:
        return default_state_dir()
    except UsageError:
        return None


def place(text: str) -> Path:
    """A path from the command line or a setting, `~` for the home folder included."""
    try:
        return home_path(text)
    except ValueError as cause:
        raise argparse.ArgumentTypeError(str(cause)) from cause


def home_path(path: str | Path) -> Path:
    """A path with `~` and `~user` resolved; ValueError where there is no such home, or it is no path."""
    if "\0" in str(path):
        raise ValueError("a path has no NUL character in it")
    try:
        return Path(path).expanduser()
    except RuntimeError as cause:
        raise ValueError(f"{str(path)!r}: there is no such home folder; write the whole path") from cause


def named_path(path: str | Path) -> Path:
    """The same for a path that stands in no setting; UsageError where there is no such home, or it is no path."""
    try:
        return home_path(path)
    except ValueError as cause:
        raise UsageError(str(cause)) from cause


UserPath = Annotated[Path, AfterValidator(home_path)]
"""A setting that is a path."""


def overrides(words: Sequence[str]) -> dict[str, str]:
    """The settings of ``--set NAME=VALUE``, by name; UsageError where one is none, which does not repeat a secret."""
    found = {}
    for word in words:
        name, mark, value = word.partition("=")
        if not mark or not SETTING.fullmatch(name):
            shown = name if SETTING.fullmatch(name) else "..."
            raise UsageError(f"--set {shown}: write it as NAME=VALUE, for example --set mqtt.port=8883")
        found[name] = value
    return found
