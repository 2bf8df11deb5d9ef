"""What one agent is asked for: the pictures that its stored reports speak of and that are not here, the newest first.

Knows no network: it makes requests, takes answers, and says when the next request may be sent.
"""

import base64
import time
from collections import deque
from collections.abc import Callable, Sequence

from pydantic import ValidationError

from collector.picture_store import MOST_WANTED, Fetched, PictureTable, Wanted
from contract.requests import Answer, ErrorInfo, GetPictures, PictureInfo, PicturePiece, Pictures

EVERY_S, SLOW_S = 0.05, 0.25
"""Between two requests to one agent, which hands pictures out 20 times a second; to one that was asked too often: older
ones carry out 5 commands a second, and some are left to people."""
BUSY_S, SOON_S, AWAY_S, DEAF_S = 2.0, 1.0, 30.0, 300.0
"""Until the next request: to an agent that has too much to do; whose pictures are not ready; that does not answer; that
hands none out, be it too old, be it told not to."""
MOST_IDS, MOST_KB, LEAST_KB = 32, 1024, 16
LARGEST_PICTURE = 8 * 2**20
"""Bytes; an agent makes none that are a tenth as large, and nobody fills our memory."""
_ROWS_AT_ONCE, _LOOKS_AT_ONCE = 200, 10
"""Rows of `report` that one look at the database takes in, and looks before the network has its turn."""


class AgentPictures:
    """Asks one agent, for one thread. Whoever uses it sends ``request`` and hands on what comes to ``take``.

    Args:
        device: name of the agent.
        table: where pictures go; tells which are wanted.
        clock: seconds, monotonic.

    Attributes:
        site: the laboratory on whose topics it listens.
        complaint: why it hands out no pictures, in words; "" if it does, or was not asked.
    """

    def __init__(
        self, device: str, site: str, table: PictureTable, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.device, self.site, self.complaint = device, site, ""
        self._table, self._clock = table, clock
        self._seen_upto = 0
        self._unseen: list[tuple[int, int]] = []
        """Rows of `report` that were not looked at, first and last of each run; the newest run stands last."""
        self._todo: deque[Wanted] = deque()
        self._begun, self._piece = "", b""
        """Name of the picture of which a piece is here, and the piece."""
        self._asked: tuple[Wanted, ...] = ()
        self._again_at, self._every_s = 0.0, EVERY_S
        self._most_ids, self._max_kb = MOST_IDS, MOST_KB

    def is_due(self) -> bool:
        """Whether it may be asked now."""
        return not self._asked and self._clock() >= self._again_at

    def due_in(self) -> float:
        """Seconds until it may be asked; 0 where it may be now, infinite where it has not answered."""
        return float("inf") if self._asked else max(0.0, self._again_at - self._clock())

    def request(self, newest: int) -> GetPictures | None:
        """What to ask for next; None if nothing is known to be wanted now.

        Args:
            newest: number of the newest row of `report`.

        Raises:
            StoreError: the database can not be used.
        """
        self._look(newest)
        if not self._todo:
            return None
        if self._begun and self._todo[0].name != self._begun:
            self._begun, self._piece = "", b""
        kind = self._todo[0].kind
        same = [one for one in self._todo if one.kind == kind][: self._most_ids]
        self._asked, self._again_at = tuple(same), self._clock() + self._every_s
        names = tuple(one.name for one in same)
        return GetPictures(kind=kind, ids=names, max_kb=self._max_kb, offset=len(self._piece))

    def rest(self, seconds: float, complaint: str = "") -> None:
        """Ask again no sooner than that; what was asked for stays wanted."""
        self._asked, self._again_at = (), self._clock() + seconds
        self.complaint = complaint

    def take(self, payload: bytes) -> None:
        """Read an answer, and store what has come; what is left is asked for again.

        Raises:
            StoreError: it can not be stored, and is asked for again.
        """
        asked, self._asked = self._asked, ()
        try:
            answer = Answer[Pictures].model_validate_json(payload)
            if answer.error is not None or answer.result is None:
                self._refused(answer.error or ErrorInfo(code="failed", text="the answer is empty"))
                return
            fetched, grown = self._read(answer.result, asked)
        except ValueError as cause:  # pydantic's and base64's are such
            said = str(cause) if not isinstance(cause, ValidationError) else "it has another form"
            self.rest(DEAF_S, f"what {self.site}/{self.device} answers can not be read ({said})")
            return
        self._keep(fetched)
        self._most_ids, self._max_kb = min(MOST_IDS, 2 * self._most_ids), min(MOST_KB, 2 * self._max_kb)
        self.complaint = ""
        if not (fetched or grown):
            self.rest(SOON_S)

    def _keep(self, fetched: Sequence[Fetched]) -> None:
        if not fetched:
            return
        self._table.keep(self.device, fetched)
        done = {one.wanted.name for one in fetched}
        self._todo = deque(one for one in self._todo if one.name not in done)
        if self._begun in done:
            self._begun, self._piece = "", b""

    def _refused(self, error: ErrorInfo) -> None:
        if error.code == "busy":
            self._every_s = SLOW_S
            self.rest(BUSY_S)
        elif error.code == "too_large" and (self._max_kb > LEAST_KB or self._most_ids > 1):
            self._max_kb, self._most_ids = max(LEAST_KB, self._max_kb // 4), max(1, self._most_ids // 4)
        else:
            self.rest(DEAF_S, f"{self.site}/{self.device} hands out no pictures: {error.text}")

    def _read(self, result: Pictures, asked: Sequence[Wanted]) -> tuple[list[Fetched], bool]:
        """What is done with, and whether a piece of another picture has come; ValueError if it is no base64."""
        names = {one.name: one for one in asked}
        fetched = [Fetched(names[name]) for name in result.missing if name in names]
        grown = False
        for piece in result.pictures:
            if piece.id not in names:
                continue
            before = self._piece if piece.id == self._begun else b""
            if piece.offset != len(before):
                continue
            data = before + base64.b64decode(piece.data_base64, validate=True)
            if piece.total_bytes > LARGEST_PICTURE:
                fetched.append(Fetched(names[piece.id]))
            elif len(data) == piece.total_bytes:
                fetched.append(Fetched(names[piece.id], _info(piece), data))
            elif len(before) < len(data) < piece.total_bytes and result.left[:1] == [piece.id]:
                self._begin(names[piece.id], data)
                grown = True
        return fetched, grown

    def _begin(self, wanted: Wanted, data: bytes) -> None:
        """A piece is here: what is left of this picture is asked for before all else."""
        self._begun, self._piece = wanted.name, data
        self._todo.remove(wanted)
        self._todo.appendleft(wanted)

    def _look(self, newest: int) -> None:
        """Look for what is wanted, as long as nothing is known, from the newest row down."""
        if newest > self._seen_upto:
            self._unseen.append((self._seen_upto + 1, newest))
            self._seen_upto = newest
        for _ in range(_LOOKS_AT_ONCE):
            if self._todo or not self._unseen:
                return
            low, high = self._unseen[-1]
            begin = max(low, high - _ROWS_AT_ONCE + 1)
            found = self._table.wanted(self.device, begin, high)
            if len(found) < MOST_WANTED:  # else there is more in these rows
                self._unseen.pop()
                if begin > low:
                    self._unseen.append((low, begin - 1))
            self._todo.extend(dict.fromkeys(found))


def _info(piece: PicturePiece) -> PictureInfo:
    return PictureInfo.model_validate(piece.model_dump(include=set(PictureInfo.model_fields)))
