"""Real frames made worse in the ways in which a microscope makes them worse: `python -m bench.degraded [FRAMES]`.

Severe is what changes the answer: at the least level of each kind a quarter of 75 frames of the tuning half, 25 of
each source, lose a cell, show a new one, one of half or double the area, or one of another label. Light that falls
across the frame leaves cells in its middle as they are; there severe is a worst corner with a fifth of the light,
which is underexposed as a whole frame would be. For a wrong scale areas do not count, which follow it anyhow; the
next objective (40x, 63x, 100x) is 1.5 to 1.6 times as strong, and what is nearer than that is not measured here.

The bounds of ``agent.vision.limits`` were set on one half of the sources; the other half is measured here: BCCD
numbers from 170 on, every second Barcelona tile, DeepAPL patients below 80 with an odd number. Levels and frames are
seeded.
"""

import os
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import cycle, islice
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from agent.vision.quality import assess
from agent.vision.watch import KEPT, ScaleWatch
from contract.messages import Quality, Reason
from contract.types import Image
from evaluation.datasets import LAYOUTS
from evaluation.datasets.sample import labelled

Spoil = Callable[[Image, float, float, np.random.Generator], Image]
"""A frame, its micrometres per pixel, how much, and chance."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One way to spoil a frame.

    Attributes:
        reason: what such a frame must be refused for.
        levels: how much, all of them severe.
        spoil: does it.
    """

    reason: Reason
    levels: tuple[float, ...]
    spoil: Spoil


@dataclass(frozen=True, slots=True)
class Original:
    """A frame as it was taken, and from where."""

    source: str
    path: Path
    um_per_pixel: float

    def read(self) -> Image:
        """The picture."""
        return np.asarray(cv2.imread(str(self.path)), np.uint8)


@dataclass(slots=True)
class Verdicts:
    """What became of the frames, by kind and by source; ``originals`` is a kind of its own.

    Attributes:
        seen: how many.
        refused: how many were refused.
        rightly: how many as they should: for the right reason, among others perhaps; originals not at all.
        missed: what was not, and how.
    """

    seen: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    rightly: Counter[str] = field(default_factory=Counter)
    missed: list[str] = field(default_factory=list)

    def share(self) -> float:
        """Of all degraded frames, those that were refused for the right reason."""
        return sum(self.rightly[kind] for kind in KINDS) / sum(self.seen[kind] for kind in KINDS)

    def originals(self) -> float:
        """Of all originals, those that were refused."""
        kinds = [kind for kind in self.seen if kind not in KINDS]
        return sum(self.refused[kind] for kind in kinds) / sum(self.seen[kind] for kind in kinds)

    def __str__(self) -> str:
        rows = [f"{'kind':24}{'frames':>7}{'refused':>9}{'for the reason':>16}"]
        for kind, seen in self.seen.items():
            rightly = f"{self.rightly[kind] / seen:16.1%}" if kind in KINDS else ""
            rows.append(f"{kind:24}{seen:7}{self.refused[kind] / seen:9.1%}{rightly}")
        return "\n".join([*rows, f"all degraded: {self.share():.2%}, originals: {self.originals():.2%}"])


def defocus(image: Image, um_per_pixel: float, radius_um: float, _: np.random.Generator) -> Image:
    """A point becomes a disc, as geometrical optics has it."""
    radius = radius_um / um_per_pixel
    reach = int(np.ceil(radius)) + 1
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    disc = np.clip(radius + 0.5 - np.hypot(x, y), 0, 1)
    return _filtered(image, disc)


def motion(image: Image, um_per_pixel: float, length_um: float, rng: np.random.Generator) -> Image:
    """The stage moves by a length while the shutter is open, in any direction."""
    length, angle = length_um / um_per_pixel, rng.uniform(0, np.pi)
    reach = int(np.ceil(length / 2)) + 1
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    return _filtered(image, np.clip(length / 2 + 0.5 - abs(along), 0, 1) * np.clip(1 - abs(across), 0, 1))


def exposure(image: Image, _um: float, gain: float, _rng: np.random.Generator) -> Image:
    """More or less light at the same settings of the camera."""
    return np.asarray(np.clip(image * np.float32(gain) + np.float32(0.5), 0, 255), np.uint8)


def vignette(image: Image, _um: float, loss: float, rng: np.random.Generator) -> Image:
    """A lamp off its centre: light falls with the square of the distance, by ``loss`` from best to worst corner."""
    y, x = np.mgrid[-1 : 1 : image.shape[0] * 1j, -1 : 1 : image.shape[1] * 1j]
    at = rng.uniform(-0.3, 0.3, 2)
    square = (x - at[0]) ** 2 + (y - at[1]) ** 2
    shade = 1 - loss * (square - square.min()) / np.ptp(square)
    return np.asarray(image * shade[..., None], np.uint8)


def noise(image: Image, um_per_pixel: float, levels: float, rng: np.random.Generator) -> Image:
    """A camera at high gain: pixels of 0.2 um would be off by that many grey levels (standard deviation)."""
    sigma = levels * max(1.0, 0.2 / um_per_pixel)
    return np.asarray(np.clip(image + rng.normal(0, sigma, image.shape) + 0.5, 0, 255), np.uint8)


def rescaled(image: Image, _um: float, factor: float, _rng: np.random.Generator) -> Image:
    """Another objective than the settings say: everything is so many times as large as they make believe."""
    way = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(image, None, fx=factor, fy=factor, interpolation=way), np.uint8)


def turned_hue(image: Image, _um: float, degrees: float, _rng: np.random.Generator) -> Image:
    """Another stain: every hue goes round the circle of colours."""
    planes = cv2.cvtColor(image, cv2.COLOR_BGR2HSV_FULL)
    planes[..., 0] += np.uint8(round(degrees / 360 * 256) % 256)
    return np.asarray(cv2.cvtColor(planes, cv2.COLOR_HSV2BGR_FULL), np.uint8)


def swapped(image: Image, _um: float, _level: float, _rng: np.random.Generator) -> Image:
    """Blue taken for red, as a wrong driver does."""
    return np.ascontiguousarray(image[..., ::-1])


def grey(image: Image, _um: float, tint: float, _rng: np.random.Generator) -> Image:
    """A monochrome camera, with a tint."""
    one = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
    return np.asarray(one * np.array([1 - tint, 1 - tint / 2, 1.0]), np.uint8)


def torn(image: Image, _um: float, share: float, _rng: np.random.Generator) -> Image:
    """The lower part never came; the driver filled it with one colour."""
    worse = image.copy()
    worse[round(image.shape[0] * (1 - share)) :] = 128
    return worse


KINDS: dict[str, Kind] = {
    "defocus": Kind("out_of_focus", (2.0, 2.5, 3.0), defocus),
    "motion": Kind("motion", (6.0, 8.0, 10.0), motion),
    "too bright": Kind("overexposed", (1.5, 2.0, 3.0), exposure),
    "too dark": Kind("underexposed", (0.5, 0.4, 0.3, 0.2), exposure),
    "vignette": Kind("uneven", (0.8, 0.87, 0.95), vignette),
    "noise": Kind("noise", (15.0, 20.0, 30.0), noise),
    "too small": Kind("wrong_scale", (1 / 1.5, 1 / 1.6, 0.5, 0.4, 0.33), rescaled),
    "too large": Kind("wrong_scale", (1.5, 1.6, 2.0, 2.5, 3.0), rescaled),
    "other hue": Kind("wrong_stain", (60.0, 90.0, 120.0, 180.0, 240.0, 270.0), turned_hue),
    "swapped colours": Kind("wrong_stain", (1.0,), swapped),
    "grey": Kind("no_colour", (0.0, 0.2), grey),
    "torn": Kind("incomplete", (0.2, 0.4, 0.6), torn),
}


FIRST_BCCD_REPORT = 170
DEEPAPL_FRAMES = 250
SCALES = ("too small", "too large")


def originals(half: Literal["tuning", "report"] = "report") -> dict[str, list[Original]]:
    """The frames of each source that is there: ``MICROSCOPE_DATA``, ``MICROSCOPE_DEEPAPL``."""
    report, data = half == "report", Path(os.environ["MICROSCOPE_DATA"])
    found: dict[str, list[Original]] = defaultdict(list)
    for path in sorted((data / "bccd" / "JPEGImages").glob("*.jpg")):
        if (int(path.stem[-5:]) >= FIRST_BCCD_REPORT) == report:
            found["BCCD"].append(Original("BCCD", path, 0.075))
    for path in sorted((data / "txl-pbc-tiles" / "images").rglob("*.jpg"))[report::2]:
        found["Barcelona"].append(Original("Barcelona", path, 0.1))
    if deepapl := os.environ.get("MICROSCOPE_DEEPAPL"):
        samples = labelled(LAYOUTS["deepapl"].find(Path(deepapl)), "training")
        mine = [s for s in samples if int("".join(filter(str.isdigit, s.patient)) or 0) % 2 == report]
        some = np.random.default_rng(0).choice(len(mine), DEEPAPL_FRAMES, replace=False)
        found["DeepAPL"] += [Original("DeepAPL", mine[k].path, 0.1) for k in sorted(some)]
    return dict(found)


def measure(frames: int = 1000, *, seed: int = 0) -> Verdicts:
    """Degrade so many frames of the report half, as many of each kind, and ask for their quality; then the originals.

    A scale is judged over many frames: of a run at one wrong scale those count that come after as many as the watch
    keeps (``agent.vision.watch.KEPT``). Those before are judged; the first refusal takes back what they counted.
    """
    verdicts, sources = Verdicts(), originals()
    rng = np.random.default_rng(seed)
    each = -(-frames // len(KINDS))
    shuffled = {name: [some[k] for k in rng.permutation(len(some))] for name, some in sources.items()}
    mixed = cycle([some[k % len(some)] for k in range(each) for some in shuffled.values()])
    for name, kind in KINDS.items():
        if name in SCALES:
            _measure_scale(verdicts, name, shuffled, each, rng)
            continue
        for original in islice(mixed, each):
            level = float(rng.choice(kind.levels))
            worse = kind.spoil(original.read(), original.um_per_pixel, level, rng)
            _note(verdicts, name, original, assess(worse, original.um_per_pixel))
    for name, some in shuffled.items():
        watch = ScaleWatch()
        for original in some[: max(frames // 4, each)]:
            quality = assess(original.read(), original.um_per_pixel, watch=watch)
            _note(verdicts, f"original, {name}", original, quality)
    return verdicts


def _measure_scale(
    verdicts: Verdicts, name: str, sources: dict[str, list[Original]], each: int, rng: np.random.Generator
) -> None:
    kind, left = KINDS[name], each
    runs = [(some, level) for level in kind.levels for some in sources.values()]
    for number, (some, level) in enumerate(runs):
        watch, counted = ScaleWatch(every=1), -(-left // (len(runs) - number))
        left -= counted
        if not counted:
            continue
        start = int(rng.integers(len(some)))
        for k, original in enumerate(islice(cycle(some), start, start + KEPT + counted)):
            worse = kind.spoil(original.read(), original.um_per_pixel, level, rng)
            if k < KEPT:
                watch.see(worse, original.um_per_pixel)
            else:
                _note(verdicts, name, original, assess(worse, original.um_per_pixel, watch=watch))


def _note(verdicts: Verdicts, name: str, original: Original, quality: Quality) -> None:
    verdicts.seen[name] += 1
    verdicts.refused[name] += not quality.accepted
    right = KINDS[name].reason in quality.reasons if name in KINDS else quality.accepted
    verdicts.rightly[name] += right
    if not right:
        verdicts.missed.append(f"{name}: {original.source} {original.path.name} {quality.reasons}")


def _filtered(image: Image, kernel: NDArray[np.float64]) -> Image:
    return np.asarray(cv2.filter2D(image, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REFLECT), np.uint8)


def main(arguments: Sequence[str]) -> int:
    """Print the table and what was missed."""
    verdicts = measure(int(arguments[0]) if arguments else 1000)
    print(verdicts)
    print("\n".join(verdicts.missed))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
