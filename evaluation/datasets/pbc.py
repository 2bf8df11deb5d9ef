"""PBC: single white cells of healthy donors on their own background (Acevedo et al. 2020), with an ``index.csv``.

Columns of the index: ``file``, ``class``, ``subtype``, ``part`` (``train`` or ``test``). Mature cells are normal;
immature granulocytes (``ig``: promyelocytes, myelocytes, metamyelocytes) are rare, and erythroblasts are neither class.
The donors are not known: each image counts as a patient of its own, so that these splits are by image.
"""

import zlib
from collections.abc import Mapping
from pathlib import Path

from common.errors import UsageError
from evaluation.datasets.files import INDEX, cell_of, find_index, images_below, not_empty, read_index
from evaluation.datasets.layout import About, Layout
from evaluation.datasets.sample import Kind, Sample, Split

NAME = "pbc"
UM_PER_PIXEL = 0.10
COLUMNS = ("file", "class", "subtype", "part")
MATURE = ("lymphocyte", "monocyte", "neutrophil", "eosinophil", "basophil")
KINDS: dict[str, tuple[Kind, str]] = {
    **dict.fromkeys(MATURE, ("normal", "normal")),
    "ig": ("rare", ""),
    "erythroblast": ("reject", "other"),
}
VALIDATION_SHARE = 6
"""One image of so many in ``train`` is validation."""


def find(root: Path) -> list[Sample]:
    """Samples of PBC, as its index names them."""
    found = images_below(root)
    index = find_index(root, COLUMNS)
    if index is None:
        raise UsageError(f"{root} is not in layout pbc: it needs an {INDEX} with the columns {', '.join(COLUMNS)}")
    samples = [_sample(path, row, index) for path, row in read_index(index, found).items()]
    return not_empty(samples, root, f"that {index} names")


def _sample(path: Path, row: Mapping[str, str], index: Path) -> Sample:
    group = cell_of(index, row, "class", KINDS)
    kind, label = KINDS[group]
    split: Split = "test"
    if cell_of(index, row, "part", ("train", "test")) == "train":
        split = "training" if zlib.crc32(row["file"].encode()) % VALIDATION_SHARE else "validation"
    return Sample(
        path,
        patient=row["file"],
        group=group,
        kind=kind,
        split=split,
        label=label,
        dataset=NAME,
        um_per_pixel=UM_PER_PIXEL,
        by_image=True,
    )


LAYOUT = Layout(
    find,
    About(
        terms="PBC (Acevedo et al., Data in Brief 30, 105474, 2020; Mendeley Data, doi 10.17632/snkd93bnjr.1), "
        "CC BY 4.0",
        normal="lymphocytes, monocytes, neutrophils, eosinophils, basophils of healthy donors",
        blast="",
        limits="""- Which donor a PBC cell comes from is not known: its splits are by image, and figures on it say
  nothing of new donors.""",
    ),
)
