"""What a cell may be called."""

from typing import Literal, TypeAlias, get_args

Label: TypeAlias = Literal["normal", "blast", "uncertain", "not_judged"]
"""`not_judged`: the frame's border cuts the cell, and nobody can say what it is."""
LABELS: tuple[Label, ...] = get_args(Label)


def spoken(label: Label) -> str:
    """A label as people read it."""
    return label.replace("_", " ")
