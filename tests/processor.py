"""What this processor does to sums of INT8 products."""

import platform
from pathlib import Path


def saturates() -> bool:
    """Whether it is x86 without VNNI: kernels there add two products in 16 bits, and cut off what has no room."""
    if platform.machine() not in {"x86_64", "AMD64"}:
        return False
    about = Path("/proc/cpuinfo")
    return not (about.exists() and "vnni" in about.read_text())
