"""What a person may do: each role may also do what those before it may."""

from typing import Literal, get_args

Role = Literal["reader", "reviewer", "administrator"]
"""`reader` looks; `reviewer` also judges cells, signs and commands microscopes; `administrator` also sees the log."""
ROLES: tuple[Role, ...] = get_args(Role)


def may(role: Role, needed: Role) -> bool:
    """Whether a role is the needed one, or one above it."""
    return ROLES.index(role) >= ROLES.index(needed)
