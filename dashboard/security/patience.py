"""HTTP/1.1 as uvicorn speaks it, with an end to waiting: who never ends a request, or begins none, is hung up on."""

import asyncio

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

PATIENCE_S = 20.0
"""Seconds within which a request must be here, head and body, from its first byte or the connection on."""


class Impatient(H11Protocol):
    """A connection; ``uvicorn.Config(http=...)`` takes the class. What is answered may last as long as it will."""

    _waiting: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first request."""
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        """Take more of a request."""
        if self._waiting is None and self._is_owed():
            self._wait()
        super().data_received(data)
        if not self._is_owed():
            self._wait_no_more()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing."""
        self._wait_no_more()
        super().connection_lost(exc)

    def _is_owed(self) -> bool:
        """Whether a part of a request is still to come."""
        return self.conn.their_state in {h11.IDLE, h11.SEND_BODY}

    def _wait(self) -> None:
        self._waiting = self.loop.call_later(PATIENCE_S, self.transport.abort)

    def _wait_no_more(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None
