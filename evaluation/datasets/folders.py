"""One's own cells: a folder for each class, above or below a folder for each patient.

``<patient>/normal/*.png`` or ``normal/<patient>/*.png``. Folders of classes are ``normal``; ``blast``, or
``lymphoblast`` and ``myeloblast`` where the lineage is known; ``other`` for what is no cell to judge.

Of every six patients with the same kinds of cells, the second is validation and the third is test. An image without a
patient counts as a patient of its own, so that the split is by image, which leaks.
"""

import zlib
from collections import defaultdict
from pathlib import Path

from common.errors import UsageError
from evaluation.datasets.files import images_below
from evaluation.datasets.layout import About, Layout
from evaluation.datasets.sample import Kind, Sample, Split

NAME = "folders"
UM_PER_PIXEL = 0.10
KINDS: dict[str, Kind] = {
    "normal": "normal",
    "blast": "blast",
    "lymphoblast": "blast",
    "myeloblast": "blast",
    "other": "reject",
}
TURNS: dict[int, Split] = {1: "validation", 2: "test"}


def find(root: Path) -> list[Sample]:
    """Samples of a folder; UsageError if it lacks a class, or names no patients."""
    found = [(path, *place) for path in images_below(root) if (place := _place(path.relative_to(root)))]
    if not {"normal", "blast"} <= {KINDS[label] for _, _, label, _ in found}:
        raise UsageError(f"{root} is not in layout folders: it needs images in folders named normal and blast")
    kinds: dict[str, set[str]] = defaultdict(set)
    for _, patient, label, _ in found:
        kinds[patient].add(KINDS[label])
    splits = _splits(kinds)
    return [
        Sample(
            path,
            patient,
            group=label,
            kind=KINDS[label],
            split=splits[patient],
            label=label,
            dataset=NAME,
            um_per_pixel=UM_PER_PIXEL,
            by_image=by_image,
        )
        for path, patient, label, by_image in found
    ]


def _splits(kinds: dict[str, set[str]]) -> dict[str, Split]:
    splits: dict[str, Split] = {}
    for alike in {frozenset(k) for k in kinds.values()}:
        patients = sorted((p for p in kinds if kinds[p] == alike), key=lambda p: (zlib.crc32(p.encode()), p))
        splits |= {patient: TURNS.get(k % 6, "training") for k, patient in enumerate(patients)}
    return splits


def _place(path: Path) -> tuple[str, str, bool] | None:
    """Patient and class of an image from its path below the root, and whether it has no patient; None without class.

    Folders above the class name the patient; else the first one below it does, for those below that are slides.
    """
    folders = [part.lower() for part in path.parts[:-1]]
    for label in KINDS:
        if label in folders:
            k = folders.index(label)
            patient = "/".join(path.parts[:k] or path.parts[k + 1 : -1][:1])
            return patient or path.as_posix(), label, not patient
    return None


LAYOUT = Layout(
    find,
    About(
        terms="the user's own images",
        normal="images in folders named normal",
        blast="images in folders named blast, lymphoblast or myeloblast",
        limits="- The user's own images: whatever differs from them is another domain until measured.",
    ),
)
