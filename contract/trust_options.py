"""The options of every command that opens a bundle by name: whose signature is good enough.

A command reads its options before it imports anything slow, and what knows of signatures is.
"""

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from contract.signature import Trust


def add_trust(parser: argparse._ActionsContainer) -> None:
    """Add ``--trust`` and ``--allow-unsigned``."""
    parser.add_argument(
        "--trust",
        action="append",
        default=[],
        metavar="KEY",
        help="public key that may have signed the bundle, beside the project's: 64 hexadecimal digits or a file",
    )
    parser.add_argument("--allow-unsigned", action="store_true", help="open a bundle that nobody signed")


def trust_from(given: argparse.Namespace) -> "Trust":
    """What the options ask for; UsageError if a key is none."""
    from contract.signature import SHIPPED, Trust  # noqa: PLC0415

    return Trust.of([SHIPPED, *given.trust], allow_unsigned=given.allow_unsigned)


def trusting(signed_by: str) -> list[str]:
    """The options that a bundle needs which was opened, by the id of its key; a foreign key's file one must know."""
    from contract.signature import SHIPPED, key_id, public_key_from  # noqa: PLC0415

    if not signed_by:
        return ["--allow-unsigned"]
    return [] if signed_by == key_id(public_key_from(SHIPPED)) else ["--trust", "KEY.pub"]
