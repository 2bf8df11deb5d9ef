"""A bundle is whole, or it is refused."""

import os
from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from common.errors import BundleMissing, IntegrityError, UsageError
from contract import bundle
from contract.bundle import FILES, GOLDEN, INT8_CPU, MANIFEST, Bundle, Golden, write_bundle, write_golden
from contract.manifest import Calibration, ClassSpec, Decision, Decisions, Gate, InputSpec, Manifest
from contract.pixels import to_batch
from contract.signature import SIGNATURE, UNSIGNED, Trust, key_id, public_half, sign

SPEC = InputSpec(um_per_pixel=0.25, size=16, mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2))
KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
TRUST = Trust((public_half(KEY),))
DECISION = Decision(temperature=1, threshold=0.5, uncertain_from=0.4, uncertain_to=0.6)
MANIFEST_DRAFT = Manifest(
    id="test-1",
    model="test",
    version=1,
    created_at="2026-01-31T12:00:00Z",
    task="none",
    terms="none",
    input=SPEC,
    classes=(ClassSpec(name="normal", description="-"), ClassSpec(name="blast", description="-")),
    decisions=Decisions(fp32=DECISION, int8=DECISION),
    gate=Gate(state="passed", cells=1, on="none"),
    calibration=Calibration(method="minmax", cells=1, sample_sha256="0" * 64),
    files={},
)


def open_bundle(path: Path) -> Bundle:
    return bundle.open_bundle(path, TRUST)


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    parts = tmp_path / "parts"
    parts.mkdir()
    for name in FILES:
        (parts / name).write_text(f"stands for {name}")
    crops = np.random.default_rng(1).integers(0, 255, (2, 16, 16, 3), np.uint8)
    write_golden(parts / GOLDEN, Golden(crops, to_batch(crops, SPEC), {INT8_CPU: np.zeros((2, 2), np.float32)}))
    return {name: parts / name for name in FILES}


@pytest.fixture
def whole(tmp_path: Path, files: dict[str, Path]) -> Path:
    write_bundle(tmp_path / "bundle", MANIFEST_DRAFT, files, key=KEY)
    return tmp_path / "bundle"


def test_what_was_written_can_be_read(whole: Path) -> None:
    opened = open_bundle(whole)
    assert opened.manifest.id == "test-1"
    assert set(opened.manifest.files) == set(FILES)
    assert opened.signed_by == key_id(public_half(KEY))


def test_one_changed_byte_anywhere_is_refused(whole: Path) -> None:
    """Every file, manifest and signature included, at its first, middle and last byte."""
    for path in sorted(whole.iterdir()):
        good = path.read_bytes()
        for place in (0, len(good) // 2, len(good) - 1):
            bad = bytearray(good)
            bad[place] ^= 1
            path.write_bytes(bad)
            with pytest.raises(IntegrityError, match=path.name):
                open_bundle(whole)
        path.write_bytes(good)
    open_bundle(whole)


def test_a_threshold_that_was_edited_by_hand_is_refused(whole: Path) -> None:
    text = (whole / MANIFEST).read_text()
    (whole / MANIFEST).write_text(text.replace('"threshold": 0.5', '"threshold": 0.9'))
    with pytest.raises(IntegrityError):
        open_bundle(whole)


def test_a_missing_file_is_refused(whole: Path) -> None:
    (whole / INT8_CPU).unlink()
    with pytest.raises(IntegrityError, match="missing"):
        open_bundle(whole)


@pytest.mark.parametrize("name", [MANIFEST, SIGNATURE, GOLDEN, INT8_CPU])
def test_a_file_of_any_length_is_refused_before_it_is_read(whole: Path, name: str) -> None:
    """One of 16 GiB that is all hole would not fit into the memory."""
    os.truncate(whole / name, 1 << 34)
    with pytest.raises(IntegrityError, match=f"{name} was changed.* is longer than"):
        open_bundle(whole)


def test_a_missing_bundle_is_something_else_than_a_damaged_one(tmp_path: Path) -> None:
    with pytest.raises(BundleMissing, match="no bundle at"):
        open_bundle(tmp_path / "nowhere")


def test_a_manifest_can_not_name_a_file_outside_the_bundle(whole: Path) -> None:
    manifest = open_bundle(whole).manifest
    outside = manifest.model_copy(update={"files": {**manifest.files, "../../etc/passwd": "0" * 64}})
    written = outside.sealed().to_bytes()
    (whole / MANIFEST).write_bytes(written)
    (whole / SIGNATURE).write_bytes(sign(written, KEY))
    with pytest.raises(IntegrityError, match="no file of a bundle"):
        open_bundle(whole)


def test_a_golden_batch_that_to_batch_no_longer_makes_is_refused(tmp_path: Path, files: dict[str, Path]) -> None:
    crops = np.zeros((1, 16, 16, 3), np.uint8)
    write_golden(files[GOLDEN], Golden(crops, to_batch(crops, SPEC) + 1e-3, {INT8_CPU: np.zeros((1, 2), np.float32)}))
    with pytest.raises(IntegrityError, match="golden"):
        write_bundle(tmp_path / "bundle", MANIFEST_DRAFT, files)
    assert not (tmp_path / "bundle").exists()


def test_a_bundle_is_not_replaced_by_chance(whole: Path, files: dict[str, Path]) -> None:
    files[INT8_CPU].write_text("another model")
    with pytest.raises(UsageError, match=r"is a bundle already.* name the next version"):
        write_bundle(whole, MANIFEST_DRAFT, files, key=KEY)
    assert (whole / INT8_CPU).read_text() != "another model"


def test_a_bundle_that_may_go_is_replaced_whole(whole: Path, files: dict[str, Path]) -> None:
    files[INT8_CPU].write_text("a better model")
    write_bundle(whole, MANIFEST_DRAFT, files, key=KEY, replace=True)
    assert (whole / INT8_CPU).read_text() == "a better model"
    assert [p.name for p in whole.parent.iterdir() if p.name.startswith(".")] == []


def test_a_bundle_without_a_key_is_unsigned_and_opens_only_where_that_is_allowed(
    tmp_path: Path, files: dict[str, Path]
) -> None:
    made = write_bundle(tmp_path / "bundle", MANIFEST_DRAFT, files)
    assert not (made.path / SIGNATURE).exists()
    assert bundle.open_bundle(made.path, UNSIGNED).signed_by == ""
    with pytest.raises(IntegrityError, match="not signed"):
        open_bundle(made.path)


def test_nothing_of_an_unsigned_manifest_is_parsed(whole: Path) -> None:
    """The refusal speaks of the signature, though the manifest is rubbish as well."""
    (whole / MANIFEST).write_bytes(b"rubbish")
    with pytest.raises(IntegrityError, match=SIGNATURE):
        open_bundle(whole)


def test_a_file_that_is_read_later_is_verified_again(whole: Path) -> None:
    opened = open_bundle(whole)
    assert opened.read(INT8_CPU) == (whole / INT8_CPU).read_bytes()
    (whole / INT8_CPU).write_text("put there after the check")
    with pytest.raises(IntegrityError, match="SHA-256"):
        opened.read(INT8_CPU)


def test_a_folder_that_is_no_bundle_is_never_replaced(tmp_path: Path, files: dict[str, Path]) -> None:
    """A slip of --out must not cost anybody their images."""
    cells = tmp_path / "cells"
    (cells / "sub").mkdir(parents=True)
    (cells / "keep.txt").write_text("precious")
    link = tmp_path / "link"
    link.symlink_to(cells)
    for place in (cells, cells / "keep.txt", link):
        with pytest.raises(UsageError, match="not a bundle"):
            write_bundle(place, MANIFEST_DRAFT, files, replace=True)
    assert (cells / "keep.txt").read_text() == "precious"


def test_a_bundle_with_a_foreign_file_in_it_is_never_replaced(whole: Path, files: dict[str, Path]) -> None:
    (whole / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="not a bundle"):
        write_bundle(whole, MANIFEST_DRAFT, files, replace=True)
    assert (whole / "notes.txt").read_text() == "mine"
