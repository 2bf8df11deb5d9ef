"""How a data set lies on disk, and what a model card must say of it."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from contract.manifest import ClassName
from evaluation.datasets.sample import Sample


@dataclass(frozen=True, slots=True)
class About:
    """What one must say of a model that was trained on a data set.

    Attributes:
        terms: whose data they are, and under which terms.
        normal: which cells are its normal ones.
        blast: which cells are its blasts; empty if it has none.
        limits: what a model can not know from it, as Markdown items.
        weights: why they may be used for research only, beyond what every model card says.
        storable: whether its terms allow to put an image of it into a report.
        kind: what its blasts are trained under.
    """

    terms: str
    normal: str
    blast: str
    limits: str
    weights: str = ""
    storable: bool = True
    kind: ClassName = "blast"


@dataclass(frozen=True, slots=True)
class Layout:
    """A way in which labelled cells lie on disk.

    Attributes:
        find: all samples below a folder (or of a file that names folders); UsageError if it is no such folder.
        about: what its data set is; None where each sample names the data set that it comes from.
        teaches_trunk: whether its cells teach the trunk, or fit heads alone: of a few people a trunk learns the people.
    """

    find: Callable[[Path], list[Sample]]
    about: About | None
    teaches_trunk: bool = True


def join(parts: Sequence[About]) -> About:
    """What is said of several data sets together: everything that is said of one, once."""
    kinds = {part.kind for part in parts}
    return About(
        kind=kinds.pop() if len(kinds) == 1 else "blast",
        terms="; ".join(_once(p.terms for p in parts)),
        normal="; ".join(_once(p.normal for p in parts)),
        blast="; ".join(_once(p.blast for p in parts)),
        limits="\n".join(_once(p.limits for p in parts)),
        weights="\n".join(_once(p.weights for p in parts)),
        storable=all(p.storable for p in parts),
    )


def _once(texts: Iterable[str]) -> list[str]:
    return [text for text in dict.fromkeys(texts) if text]
