"""A private key is its owner's alone, and is never lost to a second one."""

import stat
from pathlib import Path

import pytest

from common.errors import UsageError
from contract.signature import Trust, key_id, public_half, public_key_from, sign
from export.keygen import PASSPHRASE, instructions, keygen, read_private_key


@pytest.fixture(autouse=True)
def _no_passphrase(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(PASSPHRASE, raising=False)


def test_a_new_key_signs_what_its_public_half_verifies(tmp_path: Path) -> None:
    public = keygen(tmp_path / "deep" / "lab.pem")
    assert public == tmp_path / "deep" / "lab.pub"
    key = read_private_key(tmp_path / "deep" / "lab.pem")
    trust = Trust.of([str(public)])
    assert trust.verify(tmp_path, b"manifest", sign(b"manifest", key)) == key_id(public_half(key))


def test_only_its_owner_can_read_the_private_key(tmp_path: Path) -> None:
    keygen(tmp_path / "lab.pem")
    assert stat.S_IMODE((tmp_path / "lab.pem").stat().st_mode) == 0o600


@pytest.mark.parametrize("taken", ["lab.pem", "lab.pub"])
def test_nothing_is_written_over(tmp_path: Path, taken: str) -> None:
    (tmp_path / taken).write_text("precious")
    with pytest.raises(UsageError, match="exists"):
        keygen(tmp_path / "lab.pem")
    assert [p.read_text() for p in tmp_path.iterdir()] == ["precious"]


def test_a_name_for_the_public_half_is_no_name_for_the_private_one(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="public half"):
        keygen(tmp_path / "lab.pub")
    assert list(tmp_path.iterdir()) == []


def test_the_instructions_hold_the_public_key_and_not_the_private_one(tmp_path: Path) -> None:
    public = keygen(tmp_path / "lab.pem")
    text = instructions(tmp_path / "lab.pem")
    assert public_key_from(str(public)).hex() in text
    private = (tmp_path / "lab.pem").read_text().splitlines()[1]
    assert private not in text


def test_a_passphrase_is_needed_again_to_read_the_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PASSPHRASE, "open sesame")
    keygen(tmp_path / "lab.pem")
    assert read_private_key(tmp_path / "lab.pem")
    for other in ("", "close sesame"):
        monkeypatch.setenv(PASSPHRASE, other)
        with pytest.raises(UsageError, match=PASSPHRASE):
            read_private_key(tmp_path / "lab.pem")


def test_what_is_no_private_key_is_refused_by_name(tmp_path: Path) -> None:
    public = keygen(tmp_path / "lab.pem")
    for path in (public, tmp_path / "nowhere", tmp_path):
        with pytest.raises(UsageError, match=path.name):
            read_private_key(path)
