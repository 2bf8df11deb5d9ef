"""What is said of cells before they are used: how many, whose, at which scale, and what so few can not show."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from common.errors import UsageError
from common.words import counted
from evaluation.datasets.sample import SPLITS, Sample, scales_of

NO_PATIENTS = "none"
"""What `--patients` says of images of which nobody knows whose they are."""
BY_PATIENT, BY_IMAGE = "by patient", "by image, leaky"
FEW_PATIENTS, FEW_CELLS = 5, 100
"""On fewer, a figure is that of these cells and says next to nothing of others."""
_GROUPS_SHOWN = 12


def overview(samples: Sequence[Sample], *, um_per_pixel: float | None) -> Iterator[str]:
    """A line for each split, with cells, patients and groups, and one for the scale.

    Args:
        samples: of all splits.
        um_per_pixel: scale that was told for all images; None: each has its own.
    """
    for split in SPLITS:
        cells = [s for s in samples if s.split == split]
        if not cells:
            yield f"{split}: no cells"
            continue
        kinds = Counter(s.kind for s in cells)
        said = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
        yield f"{split}: {counted(len(cells), 'cell')} ({said}) of {_owners(cells)}; groups: {_groups(cells)}"
    if (rule := split_rule(samples)) != BY_PATIENT:
        yield f"the split is {rule}: cells of one person may stand on both sides, which flatters every figure"
    if um_per_pixel is not None:
        yield f"scale: {um_per_pixel:g} um per pixel, as told for all images"
    else:
        scales = ", ".join(f"{scale:g}" for scale in scales_of(samples))
        yield f"scale: {scales} um per pixel, as each data set has it"


def split_rule(samples: Sequence[Sample]) -> str:
    """By what the splits divide the cells, in words; in a mixture, which of its data sets are divided by image."""
    by_image, others = ({s.dataset for s in samples if s.by_image == asked} for asked in (True, False))
    if not by_image or not others:
        return BY_IMAGE if by_image else BY_PATIENT
    return f"{BY_PATIENT}; {', '.join(sorted(by_image))} {BY_IMAGE}"


def patients_in_words(count: int) -> str:
    """How many patients, or that nobody knows."""
    return counted(count, "patient") if count else "unknown patients"


def few_words(cells: Sequence[Sample]) -> str:
    """Why figures on these cells show little; "" if there are enough."""
    if len(cells) >= FEW_CELLS and len({s.patient for s in cells}) >= FEW_PATIENTS:
        return ""
    some = f"{counted(len(cells), 'cell')} of {_owners(cells)}"
    enough = f"{FEW_CELLS} cells of {FEW_PATIENTS} patients"
    return f"{some} are too few to speak of others; no figure has an interval before {enough}"


def refuse_nobodys(samples: Sequence[Sample], root: Path, *, patients: str | None) -> None:
    """Refuse images of which nobody knows whose they are, unless that is meant.

    Raises:
        UsageError: there are such, and ``patients`` is not ``NO_PATIENTS``.
    """
    nobodys = [s for s in samples if s.by_image]
    if nobodys and patients != NO_PATIENTS:
        raise UsageError(
            f"{len(nobodys)} of {len(samples)} images below {root} lie in no folder of a patient, for example "
            f"{nobodys[0].path}; put each patient's images into a folder of its own, as in normal/<patient>/, or give "
            f"--patients {NO_PATIENTS}, and every figure is called that of a split {BY_IMAGE}"
        )


def _owners(cells: Sequence[Sample]) -> str:
    known, nobodys = len({s.patient for s in cells if not s.by_image}), sum(s.by_image for s in cells)
    return patients_in_words(known) + (f" and {nobodys} of unknown ones" if known and nobodys else "")


def _groups(cells: Sequence[Sample]) -> str:
    found = Counter(s.group for s in cells).most_common()
    said = ", ".join(f"{group or 'unnamed'} {count}" for group, count in found[:_GROUPS_SHOWN])
    left = len(found) - _GROUPS_SHOWN
    return f"{said} and {left} more" if left > 0 else said
