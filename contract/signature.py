"""Who vouches for a bundle: Ed25519 (RFC 8032) over the bytes of its manifest.

The manifest holds the hash of every other file. `manifest.sig` is one line, ``ed25519 <key id> <signature>``, both in
lower-case hexadecimal: there is one way to write a signature, so any changed byte is refused. The key id is the
beginning of the SHA-256 of the public key; it says whose signature it is, and proves nothing.
"""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from common.arguments import home_path
from common.errors import IntegrityError, UsageError
from common.plain import read_plain

SIGNATURE = "manifest.sig"
CONTEXT = b"microscope-agent bundle manifest, signature 1\n"
"""Signed before the manifest, so that no signature made for another purpose can stand here."""
LINE = re.compile(rb"ed25519 (?P<key>[0-9a-f]{16}) (?P<signature>[0-9a-f]{128})\n")
LINE_BYTES = len(b"ed25519 ") + 16 + 1 + 128 + 1
HEX_KEY = re.compile(r"[0-9a-fA-F]{64}")
SHIPPED = "shipped"
"""In the settings, the name of the key that signs the bundles of this project."""
SHIPPED_KEY = "c4f0494ee177c59df736665e384a1d2002ec726b494eaacc821fb8b18a2d74dc"
"""That key, public half; it comes with the code, so who can replace it can replace the agent too."""
SHIPPED_BUNDLE = Path(__file__).resolve().parent.parent / "models" / "blast-8"
"""The bundle that runs where nobody names another."""


@dataclass(frozen=True, slots=True)
class Trust:
    """What a bundle must show before it is opened.

    Attributes:
        keys: public keys, 32 bytes each; a signature by any of them is good.
        allow_unsigned: open a bundle without a signature, too. One with a wrong or a foreign signature stays refused.
    """

    keys: tuple[bytes, ...]
    allow_unsigned: bool = False

    @classmethod
    def of(cls, names: Iterable[str] = (SHIPPED,), *, allow_unsigned: bool = False) -> "Trust":
        """Trust in keys by name.

        Args:
            names: each `shipped`, a public key as 64 hexadecimal digits, or a file that holds one so or as PEM.
            allow_unsigned: see above.

        Raises:
            UsageError: a name is none of these.
        """
        return cls(tuple(public_key_from(name) for name in names), allow_unsigned)

    def verify(self, path: Path, manifest: bytes, signature: bytes | None) -> str:
        """Verify the signature of a manifest.

        Args:
            path: the bundle, for the text of a refusal.
            manifest: the bytes of its manifest.
            signature: the bytes of its `manifest.sig`, or None if it has none.

        Returns:
            The id of the key that signed; "" for a bundle without a signature where that is allowed.

        Raises:
            IntegrityError: it is unsigned, signed by a stranger, or changed after it was signed.
        """
        if signature is None:
            if self.allow_unsigned:
                return ""
            raise IntegrityError(
                f"{path} is not signed: it has no {SIGNATURE}; copy it again or have it signed (export-engine --key), "
                "or allow unsigned bundles (`trust.allow_unsigned`, --allow-unsigned) if you made it yourself"
            )
        line = LINE.fullmatch(signature)
        if line is None:
            raise IntegrityError(f"{path / SIGNATURE} is no signature; copy the bundle again or export it again")
        name = line["key"].decode()
        key = next((k for k in self.keys if key_id(k) == name), None)
        if key is None:
            raise IntegrityError(
                f"{path / SIGNATURE} is by key {name}, which is not trusted here "
                f"(trusted: {', '.join(map(key_id, self.keys)) or 'none'}); "
                "if you know whose key it is, add its public half to `trust.keys` (or --trust)"
            )
        try:
            Ed25519PublicKey.from_public_bytes(key).verify(
                bytes.fromhex(line["signature"].decode()), CONTEXT + manifest
            )
        except InvalidSignature as cause:
            raise IntegrityError(
                f"{path / SIGNATURE}, by key {name}, does not fit the manifest.json beside it: one of them was changed "
                "after it was made; copy the bundle again or export it again"
            ) from cause
        return name


def sign(manifest: bytes, key: Ed25519PrivateKey) -> bytes:
    """The content of `manifest.sig` for the bytes of a manifest."""
    return f"ed25519 {key_id(public_half(key))} {key.sign(CONTEXT + manifest).hex()}\n".encode()


def public_half(key: Ed25519PrivateKey) -> bytes:
    """The public key that belongs to a private one, 32 bytes."""
    return key.public_key().public_bytes_raw()


def key_id(public_key: bytes) -> str:
    """The first 16 hexadecimal digits of the key's SHA-256."""
    return hashlib.sha256(public_key).hexdigest()[:16]


def public_key_from(name: str) -> bytes:
    """A public key, 32 bytes, from `shipped`, 64 hexadecimal digits, or a file with these or with PEM.

    Raises:
        UsageError: it is none of these.
    """
    text = SHIPPED_KEY if name == SHIPPED else name.strip()
    if not HEX_KEY.fullmatch(text):
        text = _read(name)
    if HEX_KEY.fullmatch(text):
        return bytes.fromhex(text)
    try:
        key = load_pem_public_key(text.encode())
    except (ValueError, UnsupportedAlgorithm) as cause:
        raise _no_key(name) from cause
    if not isinstance(key, Ed25519PublicKey):
        raise _no_key(name)
    return key.public_bytes_raw()


def _read(name: str) -> str:
    try:
        return read_plain(home_path(name)).decode("ascii").strip()
    except (OSError, ValueError) as cause:
        raise _no_key(name) from cause


def _no_key(name: str) -> UsageError:
    return UsageError(
        f"{name!r} is no Ed25519 public key; name {SHIPPED!r}, 64 hexadecimal digits, or the file KEY.pub that "
        "`export-engine keygen` wrote"
    )


SHIPPED_ONLY = Trust.of()
"""Trust in the bundles of this project, and in nothing else."""
UNSIGNED = Trust((), allow_unsigned=True)
"""For a bundle that one has just made oneself."""
