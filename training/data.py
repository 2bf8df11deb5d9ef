"""Where labelled cells lie, whose they are, and which of them may be used for what.

Three layouts of folders are understood (``LAYOUTS``):

``deepapl``
    The data of Sidhom et al. 2021: ``Data/All/Patient_NN/.../Signed slides/<class>/*.jpg`` and
    ``Data/Clinical_Case/cc/Signed slides/<class>/*.jpg``.
``cnmc``
    C-NMC 2019: ``UID_<subject>_<image>_<cell>_<all|hem>.bmp`` (or .png) at any depth, official folds in folders named
    ``fold_0`` to ``fold_2``, the preliminary test in a folder with ``prelim`` in its name and a CSV with its labels.
``folders``
    One's own cells: ``normal/`` and ``blast/``, directly or below one folder per patient
    (``<patient>/normal/*.png``). Without patients, each image counts as a patient of its own.

Splits are by patient, always: cells of one patient share stain, light and focus. ``shuffled`` is there to show by how
much a split by image flatters.
"""

import csv
import re
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
from tqdm import tqdm

from contract.errors import UsageError
from contract.listing import pictures_below
from contract.manifest import InputSpec
from contract.pictures import UnfitPictureError, read_picture
from contract.pixels import cut
from contract.types import Crops, Image

Split: TypeAlias = Literal["training", "validation", "test"]
Kind: TypeAlias = Literal["normal", "blast", "rare", "reject"]
CLASSES: tuple[Kind, Kind] = ("normal", "blast")
SPLITS: tuple[Split, ...] = ("training", "validation", "test")

DEEPAPL_BLAST = "Blast, no lineage spec"
DEEPAPL_NORMAL = frozenset(
    {"Lymphocyte", "Segmented neutrophils", "Band neutrophils", "Monocyte", "Eosinophils", "Basophil"}
)
DEEPAPL_REJECT = frozenset({"Smudge cells", "Arifact", "Giant thrombocyte", "Thrombocyte aggregation"})
DEEPAPL_TEST_FROM = 80
CNMC_VALIDATION_FOLD = 2
FOLDER_TURNS: dict[int, Split] = {1: "validation", 2: "test"}
CNMC_NAME = re.compile(r"UID_(?P<subject>[Hh]?\d+)_(?P<image>\d+)_(?P<cell>\d+)_(?P<label>all|hem)", re.ASCII)
CNMC_SAME = {"H3": "H10", "H6": "H2"}
"""Subjects some of whose cells also stand under another subject's id: they must not be divided."""
CNMC_TWINS = {"H3_1_1": "H10_1_1", "H6_1_1": "H2_1_1", "H6_1_2": "H2_1_2"}
"""The cells that stand there twice."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One image of one cell.

    Attributes:
        path: the image file.
        patient: whose cell it is; patients, not images, are divided among the splits.
        group: what its own data set calls it.
        kind: ``normal`` and ``blast`` are trained and scored; ``rare`` and ``reject`` are only reported.
        split: what it may be used for.
    """

    path: Path
    patient: str
    group: str
    kind: Kind
    split: Split

    @property
    def labelled(self) -> bool:
        """Whether it is one of the two classes."""
        return self.kind in {"normal", "blast"}


@dataclass(frozen=True, slots=True)
class Layout:
    """A way in which a data set lies on disk.

    Attributes:
        find: all samples below a folder; UsageError if it is no such folder.
        um_per_pixel: scale of its images.
        terms: whose data they are, for the model card.
        storable: whether those terms allow to put an image of it into a report.
    """

    find: Callable[[Path], list[Sample]]
    um_per_pixel: float
    terms: str
    storable: bool = True


def labelled(samples: Iterable[Sample], split: Split) -> list[Sample]:
    """The normal cells and blasts of one split, in a fixed order."""
    return sorted((s for s in samples if s.split == split and s.labelled), key=lambda s: s.path)


def shuffled(samples: Sequence[Sample], seed: int) -> list[Sample]:
    """The leaky split: as many labelled images in each split as before, but dealt out without regard to patients."""
    ordered = sorted(samples, key=lambda s: s.path)
    cells = [s for s in ordered if s.labelled]
    order = np.random.default_rng(seed).permutation(len(cells))
    dealt = [replace(cell, split=cells[k].split) for cell, k in zip(cells, order, strict=True)]
    return [*dealt, *(s for s in ordered if not s.labelled)]


def labels_of(samples: Sequence[Sample]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """(N,) 1 for a blast, 0 for any other cell."""
    return np.array([s.kind == "blast" for s in samples], np.int64)


def read_crops(samples: Sequence[Sample], um_per_pixel: float, spec: InputSpec, *, quiet: bool = False) -> Crops:
    """Decode images and cut the field around the middle of each, several at a time.

    Args:
        samples: which images.
        um_per_pixel: their scale.
        spec: scale and size of the crops.
        quiet: draw no progress bar.

    Returns:
        (N, size, size, 3) uint8; row k belongs to sample k.

    Raises:
        UsageError: an image can not be read.
    """

    def one(sample: Sample) -> Image:
        image = read_image(sample.path)
        return cut(image, (image.shape[1] / 2, image.shape[0] / 2), um_per_pixel, spec)

    crops = np.empty((len(samples), spec.size, spec.size, 3), np.uint8)
    with ThreadPoolExecutor() as pool:
        rows = tqdm(pool.map(one, samples), "reading cells", len(samples), disable=quiet or None)
        for k, crop in enumerate(rows):
            crops[k] = crop
    return crops


def read_image(path: Path) -> Image:
    """Read one image, blue-green-red; UsageError if it is none.

    A JPEG that is cut short is read as far as it goes, for some of the data sets hold a few.
    """
    try:
        return read_picture(path, whole=False)
    except UnfitPictureError as cause:
        raise UsageError(f"{path} can not be read as an image: {cause}; remove it or copy it again") from cause


def find_deepapl(root: Path) -> list[Sample]:
    """Samples of DeepAPL; ``root`` holds ``Data/All``, or is ``Data`` itself."""
    base = root / "Data" if (root / "Data").is_dir() else root
    if not (base / "All").is_dir():
        raise UsageError(f"{root} is not in layout deepapl: it has no folder Data/All; name a checkout of DeepAPL")
    samples = [_deepapl_sample(p, base) for p in images_below(base) if p.parent.parent.name == "Signed slides"]
    return _not_empty(samples, root, "'Signed slides/<class>/*.jpg' below Data/All/Patient_NN")


def find_cnmc(root: Path) -> list[Sample]:
    """Samples of C-NMC 2019; fold 2 is the validation split, the preliminary part and folders named test the test."""
    named = {p: match for p in images_below(root) if (match := CNMC_NAME.fullmatch(p.stem))}
    there = {_cnmc_cell(match) for match in named.values()}
    samples = [
        _cnmc_sample(path, match, root)
        for path, match in named.items()
        if CNMC_TWINS.get(_cnmc_cell(match)) not in there
    ]
    found = [*_undivided(samples), *_cnmc_preliminary(root)]
    return _not_empty(found, root, "UID_<subject>_<image>_<cell>_<all|hem>.bmp")


def find_folders(root: Path) -> list[Sample]:
    """Samples of a folder with ``normal/`` and ``blast/``, below one folder per patient or none.

    Of every six patients with the same kinds of cells, the second is validation and the third is test.
    """
    found = [(path, *place) for path in images_below(root) if (place := _folder_place(path.relative_to(root)))]
    if {kind for _, _, kind in found} != {"normal", "blast"}:
        raise UsageError(f"{root} is not in layout folders: it needs images in folders named normal and blast")
    kinds: dict[str, set[str]] = defaultdict(set)
    for _, patient, kind in found:
        kinds[patient].add(kind)
    splits: dict[str, Split] = {}
    for group in {frozenset(k) for k in kinds.values()}:
        alike = sorted((p for p in kinds if kinds[p] == group), key=lambda p: (zlib.crc32(p.encode()), p))
        splits |= {patient: FOLDER_TURNS.get(k % 6, "training") for k, patient in enumerate(alike)}
    return [Sample(path, patient, kind, kind, splits[patient]) for path, patient, kind in found]


LAYOUTS = {
    "deepapl": Layout(
        find_deepapl,
        um_per_pixel=0.10,
        terms="DeepAPL (Sidhom et al., npj Precision Oncology 2021), copyright Johns Hopkins University, published "
        "for replication; no open licence is stated",
        storable=False,
    ),
    "cnmc": Layout(
        find_cnmc,
        um_per_pixel=0.05,
        terms="C-NMC 2019 (Gupta and Gupta, The Cancer Imaging Archive, doi 10.7937/tcia.2019.dc64i46r), CC BY 3.0",
    ),
    "folders": Layout(find_folders, um_per_pixel=0.10, terms="the user's own images"),
}


def images_below(root: Path) -> list[Path]:
    """Every image file below a folder, in a fixed order; UsageError if there is no such folder."""
    if not root.is_dir():
        raise UsageError(f"{root} is no folder; name the folder that holds the images")
    return sorted(pictures_below(root))


def _not_empty(samples: list[Sample], root: Path, form: str) -> list[Sample]:
    if not samples:
        raise UsageError(f"{root} holds no image of the form {form}; is --layout right?")
    return samples


def _deepapl_sample(path: Path, base: Path) -> Sample:
    patient = re.search(r"Patient_(\d+)", path.relative_to(base).as_posix())
    number = int(patient[1]) if patient else None
    kind: Kind = "rare"
    if path.parent.name == DEEPAPL_BLAST:
        kind = "blast"
    elif path.parent.name in DEEPAPL_NORMAL:
        kind = "normal"
    elif path.parent.name in DEEPAPL_REJECT:
        kind = "reject"
    name = "clinical case" if number is None else f"{number:03d}"
    return Sample(path, name, path.parent.name, kind, _deepapl_split(number))


def _deepapl_split(patient: int | None) -> Split:
    """The clinical case has no number and belongs to the test."""
    if patient is None or patient >= DEEPAPL_TEST_FROM:
        return "test"
    return "validation" if patient % 6 == 5 else "training"  # noqa: PLR2004 - one sixth of the patients


def _cnmc_sample(path: Path, match: re.Match[str], root: Path) -> Sample:
    patient = cnmc_patient(match["subject"])
    folders = path.parent.relative_to(root).as_posix().lower()
    fold = re.search(r"fold_(\d)", folders)
    number = int(fold[1]) if fold else zlib.crc32(patient.encode()) % 3
    split: Split = "validation" if number == CNMC_VALIDATION_FOLD else "training"
    if fold is None and "test" in folders:
        split = "test"
    return Sample(path, patient, match["label"], "blast" if match["label"] == "all" else "normal", split)


def cnmc_patient(subject: str) -> str:
    """The group of subjects that share cells with this one.

    One healthy subject, h3, is written in lower case. The letter H stays: without it, patients and healthy subjects of
    one number would become one.
    """
    name = subject.upper()
    return CNMC_SAME.get(name, name)


def _cnmc_cell(match: re.Match[str]) -> str:
    return f"{match['subject'].upper()}_{match['image']}_{match['cell']}"


def _cnmc_preliminary(root: Path) -> list[Sample]:
    """The preliminary part: its files are only numbered; subjects and labels stand in its CSV."""
    numbered = {p.name: p for p in images_below(root) if "prelim" in p.parent.relative_to(root).as_posix().lower()}
    samples = []
    for table in sorted(root.rglob("*prelim*labels*.csv")):
        with table.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                match = CNMC_NAME.match(row.get("Patient_ID", ""))
                path = numbered.get(row.get("new_names", ""))
                if match and path:
                    samples.append(replace(_cnmc_sample(path, match, root), split="test"))
    return samples


def _undivided(samples: list[Sample]) -> list[Sample]:
    """Bring all cells of a group of subjects into one split: that of its first file."""
    splits: dict[str, Split] = {}
    for sample in sorted(samples, key=lambda s: s.path.name):
        splits.setdefault(sample.patient, sample.split)
    return [replace(sample, split=splits[sample.patient]) for sample in samples]


def _folder_place(path: Path) -> tuple[str, Kind] | None:
    """Patient and kind of an image, from its path below the root."""
    folders = [part.lower() for part in path.parts[:-1]]
    for kind in CLASSES:
        if kind in folders:
            return "/".join(path.parts[: folders.index(kind)]) or path.as_posix(), kind
    return None
