"""How to reach the MQTT broker: the settings that its clients share, and TLS as they ask for it."""

import ssl
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr

from common.arguments import home_path
from common.errors import UsageError
from contract.topic_words import TopicWord


def _no_content(path: Path) -> Path:
    """Refuse what is no path before anybody prints it: it may be the key itself."""
    if any(mark in str(path) for mark in ("-----BEGIN", "\n", "\0")):
        raise ValueError("the content of a file; give the file's path")
    return path


def _host(host: str) -> str:
    """A name or an address alone; an IPv6 address may stand in brackets, as somebody writes it in a browser.

    An address such as mqtt://user:password@host would be shown wherever the broker is named.
    """
    if any(mark in host for mark in "/@?#") or not host.isprintable():
        raise ValueError("a name or an address alone; what else an mqtt:// address holds are settings of their own")
    return host[1:-1] if host.startswith("[") and host.endswith("]") else host


HostName = Annotated[str, AfterValidator(_host)]
PemFile = Annotated[Path, AfterValidator(_no_content), AfterValidator(home_path)]


class Section(BaseModel):
    """A group of settings."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class TlsSettings(Section):
    """Encryption towards the broker; give `cert` and `key` for mutual TLS."""

    ca: PemFile | None = Field(None, description="Certificate authority that signed the broker; default: the system's.")
    cert: PemFile | None = Field(None, description="Certificate of this client.")
    key: PemFile | None = Field(
        None, description="Private key of this client, without a passphrase; better as a systemd credential."
    )


class BrokerSettings(Section):
    """The broker and how to speak with it."""

    host: HostName = Field(
        "127.0.0.1", description="Name or address of the broker; an IPv6 address with brackets or without."
    )
    port: int = Field(1883, ge=1, le=65535, description="Port of the broker; 8883 is usual for TLS.")
    username: str | None = Field(None, description="Name to log in with.")
    password: SecretStr | None = Field(None, description="Password to log in with; better as a systemd credential.")
    tls: TlsSettings | None = Field(None, description="Encryption; absent: plain text.")
    prefix: TopicWord = Field("microscopy", description="First word of every topic.")
    version: Literal["5", "3.1.1"] = Field(
        "5", description="MQTT version; 3.1.1 for old brokers: no expiry, reason codes or responses."
    )
    keepalive_s: int = Field(
        10,
        ge=1,
        le=3600,
        description="Seconds of silence after which we send a ping; after as many again without an answer the "
        "connection is closed and a reconnect begins.",
    )


def tls_context(settings: TlsSettings) -> ssl.SSLContext:
    """What Python's ssl needs of the settings.

    Raises:
        UsageError: a file can not be read, or is not what it should be.
    """
    for name, path in (("ca", settings.ca), ("cert", settings.cert), ("key", settings.key)):
        if path is not None:
            _can_read(name, path)
    try:
        context = ssl.create_default_context(cafile=settings.ca)
        context.sslsocket_class = _TidySocket
        if settings.cert is not None:
            context.load_cert_chain(settings.cert, settings.key, password="")  # never ask on the terminal
    except OSError as cause:
        raise UsageError(
            f"mqtt.tls: {settings.cert or settings.ca} can not be used ({cause}); it must be PEM, readable by "
            "this user, the key without a passphrase and fitting its certificate"
        ) from cause
    return context


def has_expired(certificate: Path | None) -> bool:
    """Whether a certificate's time is over; False where there is none, or it can not be read."""
    if certificate is None:
        return False
    from cryptography.x509 import load_pem_x509_certificate  # noqa: PLC0415 - few have one, and it takes long

    try:
        pem = certificate.read_bytes()
        return load_pem_x509_certificate(pem).not_valid_after_utc < datetime.now(timezone.utc)
    except (OSError, ValueError):
        return False


class _TidySocket(ssl.SSLSocket):
    """Closes itself when the handshake fails; the client library would leave that to the garbage collector."""

    def do_handshake(self, block: bool = False) -> None:  # noqa: FBT001, FBT002 - ssl's own signature
        try:
            super().do_handshake(block)
        except OSError:
            self.close()
            raise


def _can_read(name: str, path: Path) -> None:
    try:
        path.open("rb").close()
    except OSError as cause:
        raise UsageError(f"mqtt.tls.{name}: {path} can not be read ({cause.strerror}); correct the setting") from cause
