"""Arguments and places that several commands share: checked once, and what is wrong is said alike."""

import argparse
import math
import os
from collections.abc import Callable
from pathlib import Path

from contract.errors import UsageError

SHIPPED_BUNDLE = Path(__file__).resolve().parent.parent / "models" / "blast-1"
COARSEST_UM = 10.0
"""Micrometres per pixel: more than a red cell is no microscopy of cells."""
FINEST_UM = 0.005


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
        raise UsageError(f"there is no folder for what the agent must keep ({cause}); set `state_dir`") from cause
