"""Keys that sign bundles: the private half in one file for its owner only, the public half for everybody."""

import os
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from common.errors import UsageError
from contract.signature import key_id, public_half, public_key_from

PASSPHRASE = "EXPORT_ENGINE_PASSPHRASE"  # noqa: S105 - the variable's name
"""Environment variable; where it is set, private keys are written and read encrypted with it."""


def keygen(out: Path) -> Path:
    """Make a key pair.

    Args:
        out: file for the private key (PEM, mode 0600). An existing file is never written over.

    Returns:
        The file of the public key beside it: the same name with ``.pub``, 64 hexadecimal digits.

    Raises:
        UsageError: one of the two exists already, or can not be written.
    """
    key = Ed25519PrivateKey.generate()
    public = out.with_suffix(".pub")
    if public == out:
        raise UsageError(f"{out} is the name for the public half; choose another file for --out, for example KEY.pem")
    for path in (out, public):
        if path.exists() or path.is_symlink():
            raise UsageError(f"{path} exists, and a lost key can not be made again; choose another file for --out")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        _write_new(out, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, _encryption()), 0o600)
        _write_new(public, f"{public_half(key).hex()}\n".encode(), 0o644)
    except OSError as cause:
        raise UsageError(
            f"the key can not be written to {out} ({cause.strerror}); choose another file for --out"
        ) from cause
    return public


def instructions(out: Path) -> str:
    """What to do with the keys that ``keygen`` made, in words, the public key included."""
    public = public_key_from(str(out.with_suffix(".pub")))
    return (
        f"private key: {out} (keep it secret, keep a copy; `export-engine ... --key {out}` signs with it)\n"
        f"public key:  {public.hex()} (id {key_id(public)})\n"
        "Each agent that is to run your bundles needs it in its settings:\n"
        f'  [trust]\n  keys = ["shipped", "{public.hex()}"]'
    )


def read_private_key(path: Path) -> Ed25519PrivateKey:
    """Read a private key that ``keygen`` wrote; UsageError if the file holds none or its passphrase is another."""
    try:
        key = load_pem_private_key(path.read_bytes(), _passphrase())
    except OSError as cause:
        raise UsageError(
            f"the key {path} can not be read ({cause.strerror}); `export-engine keygen` makes one"
        ) from cause
    except TypeError as cause:
        raise UsageError(f"the key {path} and {PASSPHRASE} do not go together: {cause}") from cause
    except (ValueError, UnsupportedAlgorithm) as cause:
        raise UsageError(f"{path} is no private key, or {PASSPHRASE} is not its passphrase") from cause
    if not isinstance(key, Ed25519PrivateKey):
        raise UsageError(f"{path} is no Ed25519 key; `export-engine keygen` makes one")
    return key


def _write_new(path: Path, content: bytes, mode: int) -> None:
    """Write a file that must not exist yet; nobody else can read it at any moment if ``mode`` says so."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _passphrase() -> bytes | None:
    return os.environ.get(PASSPHRASE, "").encode() or None


def _encryption() -> KeySerializationEncryption:
    passphrase = _passphrase()
    return BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
