"""A signature names one key, fits one manifest, and is written in one way."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from common.errors import IntegrityError, UsageError
from contract.signature import LINE_BYTES, SHIPPED_KEY, Trust, key_id, public_half, public_key_from, sign

OURS, THEIRS = (Ed25519PrivateKey.from_private_bytes(bytes([k]) * 32) for k in (1, 2))
TRUST = Trust((public_half(OURS),))
MANIFEST = b'{"id": "test-1"}\n'
HERE = Path("bundle")


def test_the_signer_is_named() -> None:
    assert TRUST.verify(HERE, MANIFEST, sign(MANIFEST, OURS)) == key_id(public_half(OURS))


def test_any_trusted_key_is_good() -> None:
    both = Trust((public_half(THEIRS), public_half(OURS)))
    assert both.verify(HERE, MANIFEST, sign(MANIFEST, OURS)) == key_id(public_half(OURS))


def test_every_changed_byte_of_a_signature_is_refused() -> None:
    good = sign(MANIFEST, OURS)
    assert len(good) == LINE_BYTES
    for place in range(len(good)):
        for bit in (1, 32):  # bit 32 makes capital letters of small ones
            bad = bytearray(good)
            bad[place] ^= bit
            with pytest.raises(IntegrityError):
                TRUST.verify(HERE, MANIFEST, bytes(bad))


@pytest.mark.parametrize("more", [b" ", b"\n", b"\0", sign(MANIFEST, OURS)])
def test_nothing_may_follow_or_precede_a_signature(more: bytes) -> None:
    for bad in (sign(MANIFEST, OURS) + more, more + sign(MANIFEST, OURS), sign(MANIFEST, OURS)[:-1], b""):
        with pytest.raises(IntegrityError, match="no signature"):
            TRUST.verify(HERE, MANIFEST, bad)


def test_a_strangers_signature_is_refused_and_both_keys_are_named() -> None:
    with pytest.raises(IntegrityError, match="not trusted") as refusal:
        TRUST.verify(HERE, MANIFEST, sign(MANIFEST, THEIRS))
    for key in (OURS, THEIRS):
        assert key_id(public_half(key)) in str(refusal.value)
    assert "trust.keys" in str(refusal.value)


def test_a_stranger_can_not_borrow_a_trusted_name() -> None:
    """The key id is a hint; the signature under it must still fit."""
    borrowed = sign(MANIFEST, THEIRS).replace(key_id(public_half(THEIRS)).encode(), key_id(public_half(OURS)).encode())
    with pytest.raises(IntegrityError, match="does not fit"):
        TRUST.verify(HERE, MANIFEST, borrowed)


def test_a_signature_over_the_bare_manifest_is_no_signature_of_a_bundle() -> None:
    """What a key signs elsewhere can not be used here."""
    bare = f"ed25519 {key_id(public_half(OURS))} {OURS.sign(MANIFEST).hex()}\n".encode()
    with pytest.raises(IntegrityError, match="does not fit"):
        TRUST.verify(HERE, MANIFEST, bare)


def test_unsigned_is_allowed_by_an_express_word_only() -> None:
    with pytest.raises(IntegrityError, match="not signed"):
        TRUST.verify(HERE, MANIFEST, None)
    assert Trust((), allow_unsigned=True).verify(HERE, MANIFEST, None) == ""


def test_where_unsigned_is_allowed_a_wrong_signature_is_still_refused() -> None:
    lenient = Trust((public_half(OURS),), allow_unsigned=True)
    for bad in (sign(MANIFEST, THEIRS), sign(b"other", OURS), b"rubbish"):
        with pytest.raises(IntegrityError):
            lenient.verify(HERE, MANIFEST, bad)


def test_a_key_may_be_given_as_digits_as_a_file_of_digits_or_as_pem(tmp_path: Path) -> None:
    raw = public_half(OURS)
    (tmp_path / "key.pub").write_text(raw.hex() + "\n")
    pem = OURS.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "key.pem").write_bytes(pem)
    names = (raw.hex(), raw.hex().upper(), str(tmp_path / "key.pub"), str(tmp_path / "key.pem"))
    assert Trust.of(names).keys == (raw,) * 4
    assert public_key_from("shipped").hex() == SHIPPED_KEY


def test_what_is_no_public_key_is_refused_by_name(tmp_path: Path) -> None:
    other = generate_private_key(SECP256R1()).public_key()
    (tmp_path / "curve").write_bytes(other.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    (tmp_path / "words").write_text("no key")
    for name in ("", "nowhere", str(tmp_path), *(str(tmp_path / n) for n in ("curve", "bytes", "words"))):
        with pytest.raises(UsageError, match="no Ed25519 public key"):
            public_key_from(name)
