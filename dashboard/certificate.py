"""The certificate that browsers are shown: read again when its files have changed, while the page runs.

A context that is in use is never changed: each connection is given the newest one that was found fit, by the callback
that TLS has for a server's name, which is called whether a browser names the server or not.
"""

import asyncio
import logging
import ssl
from datetime import datetime, timezone
from pathlib import Path
from typing import TypeAlias

from cryptography import x509
from starlette.concurrency import run_in_threadpool

from common.errors import UsageError
from dashboard.settings import WebTls

log = logging.getLogger(__name__)
LOOK_EVERY_S = 5.0
"""Between two looks at the files. What is found is used only when two looks in a row have found the same."""
_Stamp: TypeAlias = tuple[tuple[int, int, int], ...]


class Certificate:
    """A pair of certificate and key on disk; one thread at a time may look.

    Args:
        tls: names the files.

    Raises:
        UsageError: what stands there can not be used.
    """

    def __init__(self, tls: WebTls) -> None:
        self._tls = tls
        self._in_use = self._seen = _stamp(tls)
        self._context = context_of(tls)
        self._lament = ""
        try:
            _check_time(tls)
        except UsageError as cause:  # browsers say so too, and a page that can not be opened helps nobody
            log.warning("%s", cause)

    def shown_through(self, context: ssl.SSLContext) -> None:
        """Have whoever connects by a server's context be shown the newest certificate."""
        context.sni_callback = lambda connection, _name, _context: setattr(connection, "context", self._context)

    def look(self) -> None:
        """See whether the files have changed; what is unfit is told once, and what was shown before is shown on."""
        found = _stamp(self._tls)
        if found != self._seen:  # a renewal may be half done
            self._seen = found
            return
        if found == self._in_use:
            return
        try:
            fresh = context_of(self._tls)
            _check_time(self._tls)
        except UsageError as cause:
            if str(cause) != self._lament:
                log.error("%s; the certificate that was read before is shown on", cause)  # noqa: TRY400 - its words do
            self._lament = str(cause)
        else:
            self._context, self._in_use, self._lament = fresh, found, ""
            log.info("a new certificate is shown from now on: %s", self._tls.cert)

    async def watch(self) -> None:
        """Look for as long as this is not cancelled; a disk that hangs holds up no page."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            await run_in_threadpool(self.look)


def context_of(tls: WebTls) -> ssl.SSLContext:
    """A server's context with a certificate and its key; UsageError if they can not be used."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(tls.cert, tls.key, password=lambda: "")  # else OpenSSL would ask the terminal for one
    except OSError as cause:  # ssl's is one
        reason = cause.reason if isinstance(cause, ssl.SSLError) else cause.strerror
        why = (reason or str(cause)).replace("_", " ").lower()
        raise UsageError(
            f"web.tls: {tls.cert} and {tls.key} can not be used ({why}); put a certificate there and its own private "
            "key without a passphrase, both PEM"
        ) from cause
    return context


def _check_time(tls: WebTls) -> None:
    """Raise UsageError where a certificate is not valid now."""
    try:
        first, *_ = x509.load_pem_x509_certificates(tls.cert.read_bytes())
    except (OSError, ValueError) as cause:
        raise UsageError(f"web.tls.cert: {tls.cert} can not be read ({cause}); put a certificate there, PEM") from cause
    begins, ends = first.not_valid_before_utc, first.not_valid_after_utc
    if not begins <= datetime.now(timezone.utc) <= ends:
        raise UsageError(
            f"web.tls.cert: {tls.cert} is valid from {begins:%Y-%m-%d %H:%M} to {ends:%Y-%m-%d %H:%M} UTC, "
            "and not now; renew it, or set this computer's clock"
        )


def _stamp(tls: WebTls) -> _Stamp:
    """What changes when a file is written or replaced; links are followed."""
    return tuple(_of_file(path) for path in (tls.cert, tls.key))


def _of_file(path: Path) -> tuple[int, int, int]:
    try:
        found = path.stat()
    except OSError:
        return 0, 0, 0
    return found.st_ino, found.st_mtime_ns, found.st_size
