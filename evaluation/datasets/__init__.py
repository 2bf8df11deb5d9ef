"""Where labelled cells lie, whose they are, and which of them may be used for what.

Each module is one layout and says in its docstring how it lies; ``LAYOUTS`` is the table of them. A new layout is one
module and one line.

Splits are by patient, always: cells of one patient share stain, light and focus. ``sample.shuffled`` is there to show
by how much a split by image flatters.
"""

from collections.abc import Iterable
from functools import partial

from contract.manifest import OTHER, ClassName
from evaluation.datasets import cnmc, deepapl, folders, mixture, pbc
from evaluation.datasets.layout import About, Layout, join

DATA_SETS = {
    deepapl.NAME: deepapl.LAYOUT,
    cnmc.NAME: cnmc.LAYOUT,
    pbc.NAME: pbc.LAYOUT,
    folders.NAME: folders.LAYOUT,
}
LAYOUTS = {**DATA_SETS, "mixture": Layout(partial(mixture.find, layouts=DATA_SETS), about=None)}


OTHERS = "smudge cells, artefacts, platelets, clumps of platelets, nucleated red cells: no cell to be judged"


def described(names: Iterable[str], column: ClassName) -> str:
    """What was trained under a column of the scores, from some data sets together."""
    about = about_of(names)
    if column in {"normal", "blast"}:
        return about.normal if column == "normal" else about.blast
    if column == OTHER:
        return OTHERS
    return "; ".join(found.blast for name in sorted(set(names)) if (found := about_of([name])).kind == column)


def about_of(names: Iterable[str]) -> About:
    """What a model card says of some data sets together."""
    return join([about for name in sorted(set(names)) if (about := LAYOUTS[name].about)])
