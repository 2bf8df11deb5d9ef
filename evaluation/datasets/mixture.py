"""Several data sets as one: a TOML file that names them.

    [[part]]
    layout = "cnmc"
    folder = "cnmc2019"

    [[part]]
    layout = "folders"
    folder = "../our cells"
    um_per_pixel = 0.08

Folders are relative to the file. Each part keeps its splits, folds, labels and scales; a patient is named with the data
set. Parts of layout ``folders`` have patients of their own; parts of another layout share theirs.
"""

import os
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from common.arguments import COARSEST_UM, FINEST_UM, named_path
from common.errors import UsageError
from evaluation.datasets import folders
from evaluation.datasets.files import undivided
from evaluation.datasets.layout import Layout
from evaluation.datasets.sample import Sample

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


class Part(BaseModel):
    """One data set of a mixture."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    layout: str
    folder: str = Field(min_length=1)
    um_per_pixel: float | None = Field(default=None, ge=FINEST_UM, le=COARSEST_UM)


class Mixture(BaseModel):
    """The file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    part: tuple[Part, ...] = Field(min_length=1)


def find(file: Path, layouts: Mapping[str, Layout]) -> list[Sample]:
    """Samples of every part.

    Args:
        file: the TOML file.
        layouts: what a part may be, by name.

    Raises:
        UsageError: it is no such file, a part is not what it says, or two parts contradict each other.
    """
    samples: list[Sample] = []
    owners: dict[Path, str] = {}
    for number, part in enumerate(_read(file).part, 1):
        name = f"part {number} of {file} (layout {part.layout}, folder {part.folder})"
        found = _samples(part, name, file, layouts, number=number)
        for sample in found:
            image = Path(os.path.realpath(sample.path))
            if image in owners:
                raise UsageError(f"{name} holds {sample.path}, which {owners[image]} holds too; name each image once")
            owners[image] = name
        samples += found
    undivided(samples, file)
    return samples


def _read(file: Path) -> Mixture:
    try:
        return Mixture.model_validate(tomllib.loads(file.read_text(encoding="utf-8")))
    except OSError as cause:
        raise UsageError(f"{file} can not be read ({cause.strerror}); layout mixture takes a TOML file") from cause
    except ValidationError as cause:
        faults = "; ".join(f"{_where(e['loc'])}: {e['msg']}" for e in cause.errors())
        raise UsageError(f"{file} is no mixture: {faults}; it needs a [[part]] with layout and folder each") from cause
    except (ValueError, RecursionError) as cause:
        raise UsageError(f"{file} is no TOML file ({cause}); layout mixture takes one") from cause


def _where(place: tuple[int | str, ...]) -> str:
    """Where a fault is: parts are counted from one."""
    return " ".join(str(step + 1) if isinstance(step, int) else step for step in place)


def _samples(part: Part, name: str, file: Path, layouts: Mapping[str, Layout], *, number: int) -> list[Sample]:
    if part.layout not in layouts:
        raise UsageError(f"{name}: there is no such layout; use one of {', '.join(sorted(layouts))}")
    try:
        found = layouts[part.layout].find(file.parent / named_path(part.folder))
    except UsageError as cause:
        raise UsageError(f"{name}: {cause}") from cause
    own = f" {number}" if part.layout == folders.NAME else ""
    named = [replace(s, patient=f"{s.dataset}{own} {s.patient}") for s in found]
    if part.um_per_pixel is None:
        return named
    return [replace(s, um_per_pixel=part.um_per_pixel) for s in named]
