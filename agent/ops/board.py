"""What the board tells of its own heat and power, read from the kernel's /sys; most workstations tell little.

Sources: Documentation/driver-api/thermal/sysfs-api.rst and Documentation/hwmon/{sysfs-interface,ina3221}.rst of Linux.
"""

import re
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path

SYS = Path("/sys")
MOST = 32
"""Of each kind; a machine with more has its first ones told."""
_SENSIBLE_C = -50.0, 200.0
"""Zones that are switched off answer with values far outside."""


def temperatures_c(sys: Path = SYS) -> dict[str, float]:
    """Degrees Celsius by the name of each thermal zone; zones that do not answer are left out."""
    return _named(_temperatures(sys))


def power_w(sys: Path = SYS) -> dict[str, float]:
    """Watts by the name of each rail: what a meter says, or, of an INA3221 as on Jetsons, voltage times current."""
    return _named(_powers(sys))


def _temperatures(sys: Path) -> Iterator[tuple[str, float]]:
    for zone in _in_order(sys / "class" / "thermal", "thermal_zone*"):
        celsius = _number(zone / "temp", 1e-3)
        if celsius is not None and _SENSIBLE_C[0] <= celsius <= _SENSIBLE_C[1]:
            yield _text(zone / "type") or zone.name, round(celsius, 1)


def _powers(sys: Path) -> Iterator[tuple[str, float]]:
    for chip in _in_order(sys / "class" / "hwmon", "hwmon*"):
        name = _text(chip / "name") or chip.name
        for meter in _in_order(chip, "power*_input"):
            watts = _number(meter, 1e-6)
            if watts is not None:
                yield _text(meter.with_name(meter.name.replace("_input", "_label"))) or name, round(watts, 3)
        if name == "ina3221":
            yield from _rails(chip)


def _rails(chip: Path) -> Iterator[tuple[str, float]]:
    for current in _in_order(chip, "curr[1-3]_input"):
        channel = current.name[len("curr")]
        amperes, volts = _number(current, 1e-3), _number(chip / f"in{channel}_input", 1e-3)
        if amperes is not None and volts is not None:
            yield _text(chip / f"in{channel}_label") or f"ina3221-{channel}", round(amperes * volts, 3)


def _named(found: Iterator[tuple[str, float]]) -> dict[str, float]:
    """Two of one name are distinguished by a number."""
    values: dict[str, float] = {}
    for name, value in islice(found, MOST):
        free = next(n for n in (name, *(f"{name}-{k}" for k in range(2, MOST + 2))) if n not in values)
        values[free] = value
    return values


def _in_order(folder: Path, pattern: str) -> list[Path]:
    return sorted(folder.glob(pattern), key=lambda path: [int(n) for n in re.findall(r"\d+", path.name)])


def _number(path: Path, unit: float) -> float | None:
    text = _text(path)
    return int(text) * unit if re.fullmatch(r"-?\d{1,12}", text) else None


def _text(path: Path) -> str:
    """The first words of a file, such as a topic or a label can hold; "" if it does not answer."""
    with suppress(OSError), path.open("rb") as file:
        return re.sub(r"[^A-Za-z0-9_.:+-]", "_", file.read(64).decode("ascii", "replace").strip())
    return ""
