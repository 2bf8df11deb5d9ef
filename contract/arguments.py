"""Arguments that several commands take: their form is checked once, and what is wrong is said alike."""

import argparse
import math
from pathlib import Path

from contract.errors import UsageError

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


def made_folder(path: Path) -> Path:
    """Make a folder for results; UsageError if that is not possible."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as cause:
        raise UsageError(f"the folder {path} can not be made ({cause.strerror}); choose another --out") from cause
    return path
