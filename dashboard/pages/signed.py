"""Who has signed which slides of a list: told by what was signed, so that no verdict has to be read for it."""

import json
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import sqlalchemy as sa
from starlette.concurrency import run_in_threadpool

from dashboard.pages.visit import Visit
from dashboard.records import SlideKey, version_of
from dashboard.reviews.events import Act, Reading, SlideLog
from dashboard.reviews.readings import Readings, visible
from dashboard.reviews.rows import ReviewedSlide
from dashboard.security.roles import may


class Signed(NamedTuple):
    """A signature of a slide in a list.

    Attributes:
        name: of who signed.
        reading: which.
        reviewed: how many cells have a verdict of what was signed; None where that is not to be seen yet.
        cells: how many the slide had then; None as above.
        outdated: cells came after it, or are called something else since.
    """

    name: str
    reading: Reading
    reviewed: int | None = None
    cells: int | None = None
    outdated: bool = False


class Read(NamedTuple):
    """How far people are with a slide: who has signed, and who has begun and not signed."""

    signed: tuple[Signed, ...]
    begun: tuple[str, ...]


async def read_slides(visit: Visit, keys: Iterable[SlideKey]) -> Mapping[SlideKey, Read]:
    """Of these slides those that somebody reads or has read, as far as who looks may see it."""
    found = {slide.key: slide for slide in await run_in_threadpool(visit.web.reviews.reviewed_slides)}
    wanted = [found[key] for key in keys if key in found]
    if not wanted:
        return {}
    return await visit.web.ask(lambda connection: {one.key: _read(visit, connection, one) for one in wanted})


def _read(visit: Visit, connection: sa.Connection, slide: ReviewedSlide) -> Read:
    log = visible(
        SlideLog(slide.key, slide.version, (), slide.acts), visit.name, may_review=may(visit.role, "reviewer")
    )
    readings = Readings.of(log.acts)
    begun = (person for reading, person in readings.holders.items() if not readings.signed(reading))
    signed = (_signed(visit, connection, slide.key, act) for act in readings.signatures)
    return Read(tuple(signed), tuple(dict.fromkeys(begun)))


def _signed(visit: Visit, connection: sa.Connection, key: SlideKey, act: Act) -> Signed:
    if not act.statement:
        return Signed(act.person, act.reading)
    stated = json.loads(act.statement)
    outdated = False
    if version_of(connection, key).upto != act.upto:  # frames came, which may have had no cell
        tally = visit.web.tally(connection, key)
        outdated = tally is None or tally.sha256 != stated["cells_sha256"]
    return Signed(act.person, act.reading, stated["reviewed"], stated["cells"], outdated)
