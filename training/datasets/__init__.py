"""Where labelled cells lie, whose they are, and which of them may be used for what.

Each module is one layout and says in its docstring how it lies; ``LAYOUTS`` is the table of them. A new layout is one
module and one line.

Splits are by patient, always: cells of one patient share stain, light and focus. ``sample.shuffled`` is there to show
by how much a split by image flatters.
"""

from collections.abc import Iterable
from functools import partial

from training.datasets import cnmc, deepapl, folders, mixture, pbc
from training.datasets.layout import About, Layout, join

DATA_SETS = {
    deepapl.NAME: deepapl.LAYOUT,
    cnmc.NAME: cnmc.LAYOUT,
    pbc.NAME: pbc.LAYOUT,
    folders.NAME: folders.LAYOUT,
}
LAYOUTS = {**DATA_SETS, "mixture": Layout(partial(mixture.find, layouts=DATA_SETS), about=None)}


def about_of(names: Iterable[str]) -> About:
    """What a model card says of some data sets together."""
    return join([about for name in sorted(set(names)) if (about := LAYOUTS[name].about)])
