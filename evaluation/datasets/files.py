"""Image files below a folder, and the index that may lie beside them."""

import csv
import logging
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from common.errors import UsageError
from contract.listing import pictures_below
from contract.pictures import UnfitPictureError, read_picture
from contract.types import Image
from evaluation.datasets.sample import Sample

log = logging.getLogger(__name__)
INDEX = "index.csv"
HIGHEST = 4
"""An index is looked for in the folder that is named and in so many folders above it."""


def images_below(root: Path) -> list[Path]:
    """Every image file below a folder, in a fixed order; UsageError if there is no such folder, or not all can be read.

    What is left out for its kind is told in the log.
    """
    if not root.is_dir():
        raise UsageError(f"{root} is no folder; name the folder that holds the images")
    listing = pictures_below(root)
    for below, why in listing.unread:
        raise UsageError(f"{root}: the folder {below} can not be read ({why}); get the right to, or take it out")
    if listing.words:
        log.warning("%s", listing.words)
    return sorted(listing)


def short_name(path: Path, root: Path) -> str:
    """An image's path as seen from what the user named: a folder, or a file that names folders."""
    return Path(os.path.relpath(path, root if root.is_dir() else root.parent)).as_posix()


def find_index(root: Path, columns: Iterable[str]) -> Path | None:
    """The ``index.csv`` with these columns that names images in a folder: in it, above it or below it."""
    wanted = set(columns)
    above = [folder / INDEX for folder in (root, *root.absolute().parents[:HIGHEST])]
    found = (p for p in (*above, *sorted(root.rglob(INDEX))) if p.is_file() and wanted <= _columns(p))
    return next((index for index in found if _reaches(index, root)), None)


def read_index(index: Path, found: Iterable[Path]) -> dict[Path, Mapping[str, str]]:
    """Rows of an index by the image that each names in its column ``file``; rows of other images are left out.

    Args:
        index: the file.
        found: the images below the folder that the user named.

    Raises:
        UsageError: the index is no table, names an image twice, or does not name one that lies beside it.
    """
    base = f"{index.parent.absolute()}/"
    rows: dict[str, Mapping[str, str]] = {}
    for number, row in enumerate(_rows(index), 2):
        image = str(index.parent.absolute() / row["file"])
        if image in rows:
            raise UsageError(f"{index} names {row['file']} again in line {number}; keep one of its rows")
        rows[image] = row
    there = {str(path.absolute()): path for path in found}
    missing = [path for image, path in there.items() if image.startswith(base) and image not in rows]
    if missing:
        raise UsageError(
            f"{index} does not name {len(missing)} of the images beside it, for example {missing[0]}; add their rows "
            "or move them out"
        )
    return {there[image]: row for image, row in rows.items() if image in there}


def cell_of(index: Path, row: Mapping[str, str], column: str, allowed: Iterable[str]) -> str:
    """One cell of a row, which must be one of some words; UsageError names the index, the image and the words."""
    words = tuple(allowed)
    value = row[column] or ""
    if value not in words:
        raise UsageError(f"{index}: {column} of {row['file']} is {value!r}; it must be one of {', '.join(words)}")
    return value


def not_empty(samples: list[Sample], root: Path, form: str) -> list[Sample]:
    """The samples; UsageError if there are none."""
    if not samples:
        raise UsageError(f"{root} holds no image of the form {form}; is --layout right?")
    return samples


def undivided(samples: Iterable[Sample], where: Path) -> None:
    """Refuse a patient whose cells stand in two splits or two folds."""
    places: dict[str, tuple[str, int | None]] = {}
    for sample in samples:
        place = sample.split, sample.fold
        if places.setdefault(sample.patient, place) != place:
            raise UsageError(
                f"{where} divides {sample.patient} between {_place(places[sample.patient])} and {_place(place)}; all "
                "cells of one person belong in one split and one fold"
            )


def _place(place: tuple[str, int | None]) -> str:
    split, fold = place
    return split if fold is None else f"{split} (fold {fold})"


def _reaches(index: Path, root: Path) -> bool:
    """Whether an index speaks of a folder: lies in or below it, or names images that would lie in it."""
    base, top = index.parent.absolute(), root.absolute()
    if base.is_relative_to(top):
        return True
    start = f"{top.relative_to(base).as_posix()}/"
    return any(row["file"].startswith(start) for row in _rows(index))


def _columns(index: Path) -> set[str]:
    try:
        with index.open(newline="", encoding="utf-8-sig") as file:
            return set(csv.DictReader(file).fieldnames or ())
    except (OSError, ValueError, csv.Error):
        return set()


def _rows(index: Path) -> list[dict[str, str]]:
    try:
        with index.open(newline="", encoding="utf-8-sig") as file:
            return [{k: v or "" for k, v in row.items() if k is not None} for row in csv.DictReader(file)]
    except (OSError, ValueError, csv.Error) as cause:
        raise UsageError(f"{index} can not be read as a table ({cause}); copy it again") from cause


def read_image(path: Path) -> Image:
    """Read one image, blue-green-red; UsageError if it is none.

    A JPEG that is cut short is read as far as it goes, for some of the data sets hold a few.
    """
    try:
        return read_picture(path, whole=False)
    except UnfitPictureError as cause:
        raise UsageError(f"{path} can not be read as an image: {cause}; remove it or copy it again") from cause
