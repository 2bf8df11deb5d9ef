"""C-NMC 2019: cells of children with acute lymphoblastic leukaemia and of healthy ones, cut out on black.

Files are named ``UID_<subject>_<image>_<cell>_<all|hem>.bmp`` (or .png, .webp), at any depth. The same cells stand
under several subjects: splits are by group of subjects that are one person.

With an ``index.csv`` (``file``, ``label``, ``subject_group``, ``split``, ``fold5``) beside the images, it says who is
whose, which split a group belongs to, and its fold. Without one the groups known of the original names hold: official
fold 2 is validation, the preliminary part (a CSV names its subjects) and folders named test are the test, and no folds
are known; a group that the official parts divide goes whole to the test, or else where its first cell goes.

The images show 22.5 um: 0.05 um a pixel in the original 450 x 450, 0.10 in copies of half that size. The size of one
image of each folder and suffix tells the scale of all in it.
"""

import csv
import re
import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from common.errors import UsageError
from evaluation.datasets.files import cell_of, find_index, images_below, not_empty, read_image, read_index, undivided
from evaluation.datasets.layout import About, Layout
from evaluation.datasets.sample import Sample, Split

NAME = "cnmc"
FIELD_UM = 22.5
"""Side of every image: 450 pixels of 0.05 um in the original."""
COLUMNS = ("file", "label", "subject_group", "split", "fold5")
SPLIT_OF: dict[str, Split] = {"train": "training", "val": "validation", "test": "test"}
FOLDS = ("0", "1", "2", "3", "4")
LABELS = ("all", "hem")
VALIDATION_FOLD = 2
FILE = re.compile(r"UID_(?P<subject>[Hh]?\d+)_(?P<image>\d+)_(?P<cell>\d+)_(?P<label>all|hem)", re.ASCII)
ONE_PERSON = (
    ("51", "75", "78"),
    ("1", "15", "16", "17", "18", "20", "21"),
    ("43", "44"),
    ("H14", "H24"),
    ("H3", "H10"),
    ("H2", "H4", "H5", "H6", "H7"),
)
"""Subjects of the original names that are one person: they share cells, or photographs of the same field. An index
writes such a group likewise."""
GROUP_OF = {subject: "+".join(group) for group in ONE_PERSON for subject in group}
TWINS = {"H3_1_1": "H10_1_1", "H6_1_1": "H2_1_1", "H6_1_2": "H2_1_2"}
"""Original cells that stand there twice."""


class Scales:
    """Micrometres per pixel by the size of one image of each folder and suffix: reading every image takes long."""

    def __init__(self) -> None:
        self._known: dict[tuple[Path, str], float] = {}

    def of(self, path: Path) -> float:
        """Scale of an image."""
        key = path.parent, path.suffix.lower()
        if key not in self._known:
            height, width, _ = read_image(path).shape
            if height != width:
                raise UsageError(
                    f"{path} is {width} x {height}; images of C-NMC are square, and their side tells their scale: use "
                    "the original images or scaled copies of them"
                )
            self._known[key] = FIELD_UM / width
        return self._known[key]


def find(root: Path) -> list[Sample]:
    """Samples of C-NMC 2019, by its index or by the original names."""
    found = images_below(root)
    index = find_index(root, COLUMNS)
    samples = _indexed(index, found) if index else _by_name(found, root)
    return not_empty(samples, root, "UID_<subject>_<image>_<cell>_<all|hem>.bmp")


def patient_of(subject: str) -> str:
    """The group of subjects that are one person with this one.

    One healthy subject, h3, is written in lower case. The letter H stays: without it, patients and healthy subjects of
    one number would become one.
    """
    name = subject.upper()
    return GROUP_OF.get(name, name)


def _indexed(index: Path, found: Sequence[Path]) -> list[Sample]:
    rows = read_index(index, found)
    for path in found:
        if FILE.fullmatch(path.stem) and path not in rows:
            raise UsageError(f"{index} does not name {path}; name the folder of the index alone, or add a row")
    samples, scales = [], Scales()
    for path, row in rows.items():
        label = cell_of(index, row, "label", LABELS)
        split = SPLIT_OF[cell_of(index, row, "split", SPLIT_OF)]
        fold = int(cell_of(index, row, "fold5", FOLDS))
        if not row["subject_group"]:
            raise UsageError(f"{index}: {row['file']} has no subject_group; name the person whose cell it is")
        cell = _sample(path, row["subject_group"], label, split, scales=scales)
        samples.append(replace(cell, fold=fold))
    undivided(samples, index)
    return samples


def _by_name(found: Sequence[Path], root: Path) -> list[Sample]:
    """Samples by the original names; the second of duplicate cells is left out."""
    named = {p: match for p in found if (match := FILE.fullmatch(p.stem))}
    there = {_cell_name(match) for match in named.values()}
    scales = Scales()
    samples = [
        _sample(path, patient_of(match["subject"]), match["label"], _split(path, match, root), scales=scales)
        for path, match in named.items()
        if TWINS.get(_cell_name(match)) not in there
    ]
    return _whole_groups([*samples, *_preliminary(found, root)])


def _split(path: Path, match: re.Match[str], root: Path) -> Split:
    folders = path.parent.relative_to(root).as_posix().lower()
    fold = re.search(r"fold_(\d)", folders)
    if fold is None and "test" in folders:
        return "test"
    number = int(fold[1]) if fold else zlib.crc32(patient_of(match["subject"]).encode()) % 3
    return "validation" if number == VALIDATION_FOLD else "training"


def _preliminary(found: Sequence[Path], root: Path) -> list[Sample]:
    """The preliminary part: its files are only numbered; subjects and labels stand in its CSV."""
    numbered = {p.stem: p for p in found if "prelim" in p.parent.relative_to(root).as_posix().lower()}
    samples, scales = [], Scales()
    for table in sorted(root.rglob("*prelim*labels*.csv")):
        with table.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                match = FILE.match(row.get("Patient_ID") or "")
                path = numbered.get(Path(row.get("new_names") or "").stem)
                if match and path:
                    patient = patient_of(match["subject"])
                    samples.append(_sample(path, patient, match["label"], "test", scales=scales))
    return samples


def _whole_groups(samples: list[Sample]) -> list[Sample]:
    """Bring all cells of a group of subjects into one split: the test if one is in it, else that of the first file."""
    splits: dict[str, Split] = {s.patient: "test" for s in samples if s.split == "test"}
    for sample in sorted(samples, key=lambda s: s.path.name):
        splits.setdefault(sample.patient, sample.split)
    return [replace(sample, split=splits[sample.patient]) for sample in samples]


def _sample(path: Path, patient: str, label: str, split: Split, *, scales: Scales) -> Sample:
    ill = label == "all"
    return Sample(
        path,
        patient,
        group=label,
        kind="blast" if ill else "normal",
        split=split,
        label="lymphoblast" if ill else "normal",
        dataset=NAME,
        um_per_pixel=scales.of(path),
        cut_out=True,
    )


def _cell_name(match: re.Match[str]) -> str:
    return f"{match['subject'].upper()}_{match['image']}_{match['cell']}"


LAYOUT = Layout(
    find,
    About(
        terms="C-NMC 2019 (Gupta and Gupta, The Cancer Imaging Archive, doi 10.7937/tcia.2019.dc64i46r), CC BY 3.0",
        normal="normal B-lymphoid precursors",
        blast="B-lymphoblasts (acute lymphoblastic leukaemia)",
        limits="""- C-NMC's cells were cut out, laid on black and normalised in stain by its authors: cells on a smear
  are another domain until measured.
- C-NMC's leukaemia is B-lineage acute lymphoblastic leukaemia; it holds no other cell type.""",
        kind="lymphoblast",
    ),
    teaches_trunk=False,
)
