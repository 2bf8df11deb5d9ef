"""The page shows the certificate that stands on disk now, and none that is unfit."""

import socket
import ssl
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from common.errors import UsageError
from dashboard import certificate
from dashboard.certificate import Certificate
from dashboard.settings import WebTls
from tests.dashboard.pages.conftest import Listen, Served
from tests.faults.test_refused import DAY, Authority
from tests.faults.test_renewed import put_in_place
from tests.waiting import until

NAMES = ["localhost", None]
"""By which a browser calls the server: a name, or an address alone, which TLS does not tell."""


@pytest.fixture
def ours(tmp_path: Path) -> Authority:
    folder = tmp_path / "authority"
    folder.mkdir()
    return Authority(folder, "ours")


class Page:
    """A page with a certificate that can be renewed."""

    def __init__(self, listen: Listen, ours: Authority, folder: Path) -> None:
        self.cert, self.key, self._ours = folder / "page.crt", folder / "page.key", ours
        self.first = ours.sign("first")
        put_in_place(self.first, self.cert, self.key)
        self._served: Served = listen("certificate", tls={"cert": str(self.cert), "key": str(self.key)})

    def context(self) -> ssl.SSLContext:
        made = ssl.create_default_context(cafile=str(self._ours.certificate))
        made.check_hostname = False
        return made

    def shown(self, name: str | None, context: ssl.SSLContext | None = None) -> int:
        """The serial number of the certificate that a new connection is shown, and that its authority has signed."""
        with (
            socket.create_connection(("127.0.0.1", self._served.port), timeout=10) as bare,
            (context or self.context()).wrap_socket(bare, server_hostname=name) as connection,
        ):
            connection.sendall(b"GET /signin HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            assert connection.recv(12) == b"HTTP/1.1 200"
            found = connection.getpeercert(binary_form=True)
        assert found is not None
        return x509.load_der_x509_certificate(found).serial_number


@pytest.fixture
def page(listen: Listen, ours: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Page:
    monkeypatch.setattr(certificate, "LOOK_EVERY_S", 0.05)
    return Page(listen, ours, tmp_path)


def serial(path: Path) -> int:
    return x509.load_pem_x509_certificate(path.read_bytes()).serial_number


@pytest.mark.parametrize("name", NAMES)
def test_a_renewed_certificate_is_shown_to_whoever_connects_next_and_open_connections_go_on(
    page: Page, ours: Authority, name: str | None
) -> None:
    assert page.shown(name) == serial(page.first[0])
    with socket.create_connection(("127.0.0.1", page._served.port), timeout=10) as bare:  # noqa: SIM117
        with page.context().wrap_socket(bare, server_hostname=name) as before:
            second = ours.sign("second")
            put_in_place(second, page.cert, page.key)
            assert until(lambda: page.shown(name) == serial(second[0]), 10)
            before.sendall(b"GET /signin HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert before.recv(12) == b"HTTP/1.1 200"


def encrypted(pair: tuple[Path, Path]) -> tuple[Path, Path]:
    key = serialization.load_pem_private_key(pair[1].read_bytes(), None)
    how = serialization.BestAvailableEncryption(b"a secret")
    pair[1].write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, how))
    return pair


def no_certificate(pair: tuple[Path, Path]) -> tuple[Path, Path]:
    pair[0].write_text("no certificate\n")
    return pair


UNFIT: dict[str, Callable[[Authority], tuple[Path, Path]]] = {
    "key values mismatch": lambda ours: (ours.sign("third")[0], ours.sign("fourth")[1]),
    "can not be used": lambda ours: no_certificate(ours.sign("third")),
    "without a passphrase": lambda ours: encrypted(ours.sign("third")),
    "and not now": lambda ours: ours.sign("third", until=-timedelta(hours=1)),
}


@pytest.mark.parametrize("why", UNFIT)
def test_while_the_new_one_is_unfit_the_old_one_is_shown_and_the_log_says_why_once(
    page: Page, ours: Authority, caplog: pytest.LogCaptureFixture, why: str
) -> None:
    put_in_place(UNFIT[why](ours), page.cert, page.key)
    assert until(lambda: "is shown on" in caplog.text, 10)
    assert why in caplog.text
    for _ in range(5):
        assert page.shown("localhost") == serial(page.first[0])
    assert [record.levelname for record in caplog.records if "is shown on" in record.message] == ["ERROR"]
    second = ours.sign("second")
    put_in_place(second, page.cert, page.key)
    assert until(lambda: page.shown("localhost") == serial(second[0]), 10)


def test_a_file_that_is_gone_is_told_and_the_old_one_shown(page: Page, caplog: pytest.LogCaptureFixture) -> None:
    page.key.unlink()
    assert until(lambda: "is shown on" in caplog.text, 10)
    assert page.shown("localhost") == serial(page.first[0])


def test_a_renewal_that_is_half_done_is_no_error(
    tmp_path: Path, ours: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    cert, key = tmp_path / "page.crt", tmp_path / "page.key"
    put_in_place(ours.sign("first"), cert, key)
    watched, second = Certificate(WebTls(cert=cert, key=key)), ours.sign("second")
    cert.write_bytes(second[0].read_bytes())
    watched.look()
    key.write_bytes(second[1].read_bytes())
    watched.look()
    watched.look()
    assert [record.levelname for record in caplog.records] in (["INFO"], [])
    assert "is shown on" not in caplog.text


def test_at_the_start_what_can_not_be_used_is_refused_and_what_has_ended_is_shown_with_a_warning(
    tmp_path: Path, ours: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    cert, key = tmp_path / "page.crt", tmp_path / "page.key"
    put_in_place((ours.sign("first")[0], ours.sign("second")[1]), cert, key)
    tls: Any = WebTls(cert=cert, key=key)
    with pytest.raises(
        UsageError, match=r"web\.tls: .*page\.crt and .*page\.key can not be used \(key values mismatch"
    ):
        Certificate(tls)
    put_in_place(ours.sign("old", until=-DAY), cert, key)
    Certificate(tls)
    assert "and not now; renew it" in caplog.text
