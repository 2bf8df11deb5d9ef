"""The pictures of cells and frames, from the collector's store."""

from collections.abc import Callable
from http import HTTPStatus
from typing import TypeAlias

import sqlalchemy as sa
from starlette.responses import Response
from starlette.routing import Route

from collector.picture_rows import StoredPicture, frame_picture, picture
from dashboard.pages.visit import Visit, page

Look: TypeAlias = Callable[[sa.Connection], StoredPicture | None]
_KEEP = {"cache-control": "private, max-age=3600, immutable"}
"""A name is given once, so its picture never changes; who signs out still leaves it in the browser for an hour."""


@page()
async def cell(visit: Visit) -> Response:
    """The picture of a cell."""
    named = visit.request.path_params
    return await _shown(visit, lambda connection: picture(connection, named["name"], device=named["device"]))


@page()
async def frame(visit: Visit) -> Response:
    """The picture of a frame."""
    named = visit.request.path_params
    return await _shown(visit, lambda connection: frame_picture(connection, named["name"], device=named["device"]))


async def _shown(visit: Visit, look: Look) -> Response:
    found = await visit.web.ask(look)
    if found is None:
        return Response(status_code=HTTPStatus.NOT_FOUND)
    return Response(found.data, media_type=found.media_type, headers=_KEEP)


ROUTES = [
    Route("/pictures/{device}/cells/{name}", cell),
    Route("/pictures/{device}/frames/{name}", frame),
]
