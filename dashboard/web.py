"""What every page needs, in one place: settings, people, what is known, texts and templates."""

import asyncio
import secrets
from collections import OrderedDict
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import datetime, timezone
from threading import Lock
from typing import TypeVar

import sqlalchemy as sa
from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.concurrency import run_in_threadpool
from starlette.requests import HTTPConnection

from collector import queries
from dashboard.exports.review_summary import ReviewSummary
from dashboard.live.views import Views
from dashboard.live.watcher import Watcher
from dashboard.paths import path_of
from dashboard.records import SlideKey, SlideRecord, Tally, Version, slide_record, version_of
from dashboard.reviewed import summary_of
from dashboard.reviews.descriptors import Descriptors
from dashboard.reviews.readings import visible
from dashboard.reviews.signing import cells_digest
from dashboard.reviews.store import ReviewStore
from dashboard.security import deeds, sessions, users
from dashboard.security.attempts import Attempts
from dashboard.security.deeds import Deeds
from dashboard.security.sessions import Session, Sessions
from dashboard.security.users import Users
from dashboard.settings import DashboardSettings
from dashboard.texts import LANGUAGES, Texts
from mqttlink.settings import BrokerSettings

T = TypeVar("T")
_COUNTED = 2000
"""Slides of several counts whose counts are kept in memory, for lists; each takes some 200 bytes."""
_KEPT = 8
"""Slides that are kept in memory; 10,000 cells take about 10 MB."""
_TRIED_AT_ONCE = 2
"""Passwords that are tried at the same time; each takes 64 MB for a while."""
_PRINTED_AT_ONCE = 2
"""Reports that are made into PDF at the same time; each takes seconds."""


class Web:
    """The parts of the page's server.

    Args:
        settings: of this server.
        watcher: hears the agents.
        renewed: reads the broker's settings again, as before each connection.

    Attributes:
        guest: whoever reaches a page without sign-in.
        began_at: when this server was started, UTC.
        gate: is entered to try a password, so that many at once neither take all memory nor outrun ``attempts``.
        press: is entered to make a PDF, so that many at once leave threads for the pages.
        packing: is entered to pack a slide's pictures, one after the other: they take room on the disk.

    Raises:
        UsageError: the files of users, sessions or deeds can not be used.
    """

    def __init__(
        self,
        settings: DashboardSettings,
        watcher: Watcher,
        *,
        renewed: Callable[[], BrokerSettings] | None = None,
    ) -> None:
        self.settings, self.watcher, self.renewed = settings, watcher, renewed
        self.views = Views(settings.mqtt, watcher.hub, renewed=renewed)
        self.users = Users(settings.state_dir / users.FILE)
        self.sessions = Sessions(settings.state_dir / sessions.FILE, hours=settings.web.session_hours)
        self.attempts, self.gate = Attempts(), asyncio.Semaphore(_TRIED_AT_ONCE)
        self.press, self.packing = asyncio.Semaphore(_PRINTED_AT_ONCE), asyncio.Semaphore(1)
        self.deeds = Deeds(settings.state_dir / deeds.FILE)
        self.began_at = datetime.now(timezone.utc)
        self.reviews = ReviewStore(settings.reviews_url)
        self.descriptors = Descriptors()
        self.guest = Session("guest", secrets.token_urlsafe(32), datetime.now(timezone.utc))
        self.texts = {language: Texts.load(language) for language in LANGUAGES}
        self.templates = Environment(
            loader=PackageLoader("dashboard"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self.templates.globals["at"] = path_of
        self._slides = OrderedDict[SlideKey, SlideRecord]()
        self._counted = OrderedDict[SlideKey, tuple[Version, Tally]]()
        self._lock = Lock()

    def store(self) -> AbstractContextManager[sa.Connection]:
        """A connection to the collector's store, which changes nothing; raises as ``collector.queries.reading``."""
        return queries.reading(self.settings.database)

    async def ask(self, question: Callable[[sa.Connection], T]) -> T:
        """Ask the store on another thread; raises as ``store``."""

        def asked() -> T:
            with self.store() as connection:
                return question(connection)

        return await run_in_threadpool(asked)

    async def slide(self, key: SlideKey) -> SlideRecord | None:
        """A slide as it is stored now; read again only where something new was stored of it."""
        return await self.ask(lambda connection: self._slide(connection, key))

    def tally(self, connection: sa.Connection, key: SlideKey) -> Tally | None:
        """How many cells a slide has, as its page counts them, and by how many counts; None if nothing is stored of it.

        Args:
            connection: to the collector's store.
            key: which slide; one of a single count is told by its summary at less cost.
        """
        version = version_of(connection, key)
        with self._lock:
            kept, known = self._counted.get(key), self._slides.get(key)
        if kept is not None and kept[0] == version:
            return kept[1]
        record = known if known is not None and known.version == version else slide_record(connection, key)
        if record is None:
            return None
        found = Tally(record.counts, len(record.standing), cells_digest(record))
        with self._lock:
            self._counted[key] = record.version, found
            self._counted.move_to_end(key)
            while len(self._counted) > _COUNTED:
                self._counted.popitem(last=False)
        return found

    async def review(self, record: SlideRecord, person: str, *, may_review: bool) -> ReviewSummary | None:
        """What people have said of a slide, as far as this person may see it; None where nobody has said anything."""
        log = await run_in_threadpool(self.reviews.log, record.key)
        return summary_of(record, visible(log, person, may_review=may_review))

    @staticmethod
    def call_id() -> str:
        """A name for a call that a form makes, which has no script to make one."""
        return secrets.token_urlsafe(16)

    def _slide(self, connection: sa.Connection, key: SlideKey) -> SlideRecord | None:
        with self._lock:
            known = self._slides.get(key)
        if known is None or known.version != version_of(connection, key):
            known = slide_record(connection, key)
        with self._lock:
            if known is not None:
                self._slides[key] = known
                self._slides.move_to_end(key)
            while len(self._slides) > _KEPT:
                self._slides.popitem(last=False)
        return known


def web_of(connection: HTTPConnection) -> Web:
    """The parts of the server that got this request."""
    web: Web = connection.app.state.web
    return web
