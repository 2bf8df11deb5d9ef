"""Is this computer's clock right? Nobody can know, but some signs say that it is not."""

import ctypes
import time
from contextlib import suppress
from pathlib import Path

_UNSYNCHRONISED = 5
"""TIME_ERROR of adjtimex(2)."""
_STRUCT_BYTES = 256
"""More than `struct timex` takes on any Linux; all zeros: nothing is to be changed."""
_SLACK_S = 60.0


def is_kept_right() -> bool | None:
    """Whether NTP, or the like, steers the clock, as the kernel has it; None where it does not tell."""
    with suppress(OSError, AttributeError):
        state = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(_STRUCT_BYTES))
        return None if state < 0 else bool(state != _UNSYNCHRONISED)
    return None


def behind_s(folder: Path) -> float:
    """By how many seconds, at least, the clock was set back since something was written here; 0: by none."""
    with suppress(OSError):
        newest = max((file.stat().st_mtime for file in folder.iterdir()), default=0.0)
        ahead_s = newest - time.time()
        return ahead_s if ahead_s > _SLACK_S else 0.0
    return 0.0
