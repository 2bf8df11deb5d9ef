"""Malformed input by the thousand, from a seed: valid documents changed in structure or in bytes, and noise."""

import copy
import json
import random
from collections.abc import Callable, Iterator
from typing import Any

LARGEST = 4096
"""Bytes of noise at most."""
ODD: tuple[Callable[[random.Random], Any], ...] = (
    lambda _: None,
    lambda dice: dice.choice([True, False]),
    lambda dice: dice.choice([0, -1, 1, 2**31, 2**63 - 1, 2**63, -(2**63) - 1, 10**40]),
    lambda dice: dice.choice([0.0, -0.0, 1e-320, 1e308, float("inf"), float("-inf"), float("nan"), 0.1]),
    lambda dice: dice.choice(["", "a", "\0", "\ud800", "\u202e", "💥", "../..", "/dev/zero", "a/b", "+", "#", "$x"]),
    lambda dice: dice.choice("ax\n\0é") * dice.randrange(1, 3000),
    lambda dice: str(dice.getrandbits(200)),
    lambda dice: [odd(dice) for _ in range(dice.randrange(4))],
    lambda dice: {str(odd(dice))[:20]: odd(dice) for _ in range(dice.randrange(3))},
    lambda dice: _nested(dice.randrange(1, 300)),
)


def odd(dice: random.Random) -> Any:
    """A value that nobody expects."""
    return dice.choice(ODD)(dice)


def changed(document: Any, dice: random.Random) -> Any:
    """A copy of a JSON document with one to three changes of its structure."""
    changing = copy.deepcopy(document)
    for _ in range(dice.randrange(1, 4)):
        places = list(_places(changing))
        if not places:
            return odd(dice)
        holder, key = dice.choice(places)
        _change(holder, key, dice)
    return changing


def damaged(content: bytes, dice: random.Random) -> bytes:
    """A copy of some bytes with one to three changes that know nothing of their meaning."""
    changing = bytearray(content)
    for _ in range(dice.randrange(1, 4)):
        at, end = sorted(dice.randrange(len(changing) + 1) for _ in range(2))
        kind = dice.randrange(6)
        if kind == 0 and changing:
            changing[dice.randrange(len(changing))] ^= 1 << dice.randrange(8)
        elif kind == 1:
            del changing[at:]
        elif kind == 2:
            del changing[at:end]
        elif kind == 3:
            changing[at:at] = dice.randbytes(dice.randrange(1, 40))
        elif kind == 4:
            changing[at:at] = changing[at:end]
        else:
            changing[at:at] = dice.choice([b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b'"', b"{", b"[" * 500, b"]", b"\\u"])
    return bytes(changing)


def mutant(document: Any, dice: random.Random) -> bytes:
    """A malformed message: changed in structure, in bytes, in both, or nothing but noise."""
    kind = dice.randrange(8)
    if kind == 0:
        return dice.randbytes(dice.randrange(LARGEST))
    if kind == 1:
        return written(odd(dice), dice)
    content = written(changed(document, dice) if kind < 6 else document, dice)
    return damaged(content, dice) if kind in {5, 6, 7} else content


def written(document: Any, dice: random.Random) -> bytes:
    """As JSON, in one of the ways in which it may be written."""
    return json.dumps(document, ensure_ascii=dice.random() < 0.5).encode("utf-8", "surrogatepass")


def _nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


def _places(document: Any) -> Iterator[tuple[Any, Any]]:
    """Every part of a document, as who holds it and by which key."""
    keys = document if isinstance(document, dict) else range(len(document)) if isinstance(document, list) else ()
    for key in keys:
        yield document, key
        yield from _places(document[key])


def _change(holder: Any, key: Any, dice: random.Random) -> None:
    kind = dice.randrange(4)
    if kind == 0:
        del holder[key]
    elif kind == 1 and isinstance(holder, dict):
        holder[str(odd(dice))[:40]] = holder.pop(key)
    elif kind == 2 and isinstance(holder, list):
        holder.extend([holder[key]] * dice.randrange(1, 50))
    else:
        holder[key] = odd(dice)
