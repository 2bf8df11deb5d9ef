"""Every route of the page, found in the application itself: one that is added is attacked by itself."""

import re
from collections.abc import Iterator
from typing import NamedTuple
from unittest.mock import MagicMock

from starlette.routing import Route

from dashboard.app import application

VALUES = {
    "site": "lab",
    "device": "scope-1",
    "slide": "slide-7",
    "language": "en",
    "name": "f1-1",
    "name:path": "slide/stop",
}
"""What stands in the places of addresses; who uses another name there gives it one here."""
OPEN = {"/", "/favicon.ico", "/signin", "/preferences", "/report-{language}.css"}
"""What nobody needs to sign in for."""
FOR_READERS = {"/signin", "/signout", "/preferences"}
"""What a reader may send."""


def address_of(path: str, **values: str) -> str:
    """An address of a route; of places that are not named the usual one."""
    return re.sub(r"\{([^}:]+)([^}]*)\}", lambda place: values.get(place[1]) or VALUES[place[1] + place[2]], path)


class Door(NamedTuple):
    """A route with one of its methods, and an address that it answers."""

    method: str
    path: str
    address: str
    places: tuple[str, ...]


def doors() -> Iterator[Door]:
    """All of them but the files of ``static``."""
    for route in application(MagicMock()).routes:
        if isinstance(route, Route):
            places = tuple(route.param_convertors)
            address = address_of(route.path)
            for method in sorted(route.methods or ()):
                yield Door(method, route.path, address, places)


EVERY = list(doors())
GETS = [door for door in EVERY if door.method == "GET"]
POSTS = [door for door in EVERY if door.method == "POST"]
