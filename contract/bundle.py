"""A bundle: the folder that holds a model with everything one must know to use it."""

import hashlib
import io
import os
import shutil
import struct
import tempfile
import tokenize
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import ValidationError

from common.errors import BundleMissing, IntegrityError, UsageError
from common.plain import read_plain
from contract.manifest import Manifest
from contract.pixels import to_batch
from contract.signature import LINE_BYTES, SHIPPED_BUNDLE, SHIPPED_ONLY, SIGNATURE, UNSIGNED, Trust, public_half, sign
from contract.types import Crops, Tensor

MANIFEST = "manifest.json"
FP32 = "model.onnx"
INT8 = "model.int8.onnx"
INT8_CPU = "model.int8.cpu.onnx"
GOLDEN = "golden.npz"
CALIBRATION = "calibration.json"
REPORT = "report.json"
REPORT_PAGE = "report.html"
MODEL_CARD = "MODEL_CARD.md"
MANIFEST_MAX_BYTES, FILE_MAX_BYTES, GOLDEN_MAX_BYTES = 1 << 20, 1 << 27, 1 << 26
"""Most bytes of the manifest, of each other file, and of the golden batch once unpacked: more than twenty times what
the shipped bundle has, and well within the memory that the service may take."""
_UNREADABLE = (
    OSError, EOFError, ValueError, KeyError, AttributeError, SyntaxError, MemoryError, RuntimeError, struct.error,
    tokenize.TokenError, zlib.error, zipfile.BadZipFile,
)  # fmt: skip
"""What numpy and zipfile raise over the bytes of a damaged archive."""
FILES = (FP32, INT8, INT8_CPU, GOLDEN, CALIBRATION, REPORT, REPORT_PAGE, MODEL_CARD)
"""What every bundle holds beside its manifest and its signature."""

SHIPPED = SHIPPED_BUNDLE
"""The bundle that comes with the project: beside the rooms, in a checkout and in an installed wheel alike."""


@dataclass(frozen=True, slots=True)
class Golden:
    """Cells with known answers, to prove that a model still says here what it said where it was made.

    Attributes:
        crops: (N, size, size, 3) uint8.
        batch: what ``to_batch`` made of them, (N, 3, size, size) float32.
        scores: by graph file name, the (N, columns) float32 scores in ONNX Runtime on CPU.
    """

    crops: Crops = field(repr=False)
    batch: Tensor = field(repr=False)
    scores: Mapping[str, Tensor] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Bundle:
    """A verified bundle."""

    path: Path
    manifest: Manifest
    golden: Golden
    sha256: str
    """Of `manifest.json`, and so of the whole."""
    signed_by: str = ""
    """Id of the key that signed it; "" if nobody did."""

    def read(self, name: str) -> bytes:
        """The content of a file of the bundle, verified again: what is returned is what was signed.

        Raises:
            IntegrityError: the file was changed since the bundle was opened.
        """
        return _verified(self.path / name, self.manifest.files[name])


def sha256_of(path: Path) -> str:
    """Hex SHA-256 of a file."""
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def open_bundle(path: Path, trust: Trust = SHIPPED_ONLY) -> Bundle:
    """Read a bundle and verify every byte of it before anything is used; the signature comes first.

    Args:
        path: the folder.
        trust: whose signature is good enough.

    Raises:
        BundleMissing: there is no such folder, or it holds no manifest.
        IntegrityError: the signature is missing, foreign or wrong; or the manifest, a hash or the golden batch is not
            what it was.
    """
    _refuse_if_missing(path)
    written = _read(path / MANIFEST, MANIFEST_MAX_BYTES)
    signed_by = trust.verify(path, written, _signature(path))
    manifest = _manifest(path, written)
    for name, expected in manifest.files.items():  # one after the other: together they need not fit into the memory
        _verified(path / name, expected)
    golden = _golden(path / GOLDEN, _verified(path / GOLDEN, manifest.files[GOLDEN]), manifest)
    if not np.array_equal(to_batch(golden.crops, manifest.input), golden.batch):
        raise _damaged(path / GOLDEN, "the golden batch is no longer what to_batch makes of its crops")
    return Bundle(path, manifest, golden, hashlib.sha256(written).hexdigest(), signed_by)


def write_bundle(
    target: Path,
    manifest: Manifest,
    files: Mapping[str, Path],
    *,
    key: Ed25519PrivateKey | None = None,
    replace: bool = False,
) -> Bundle:
    """Write a bundle whole or not at all: assembled beside its place, then renamed into it.

    Args:
        target: the folder to make.
        manifest: its ``files`` are filled in here.
        files: where each of ``FILES`` lies now.
        key: signs the bundle; without one it stays unsigned, and opens only where that is allowed.
        replace: a bundle that is there goes; whatever else is there stays in any case.

    Raises:
        ValueError: a file of ``FILES`` was not given.
        UsageError: something is in the way.
    """
    refuse_to_replace(target, bundles=replace)
    if missing := set(FILES) - set(files):
        raise ValueError(f"a bundle needs {', '.join(sorted(missing))} too")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as workshop:
        draft = Path(workshop) / target.name
        draft.mkdir()
        for name, origin in files.items():
            shutil.copyfile(origin, draft / name)
        hashes = {name: sha256_of(draft / name) for name in files}
        written = manifest.model_copy(update={"files": hashes}).sealed().to_bytes()
        (draft / MANIFEST).write_bytes(written)
        if key:
            (draft / SIGNATURE).write_bytes(sign(written, key))
        trust = Trust((public_half(key),)) if key else UNSIGNED
        open_bundle(draft, trust)
        if replace and target.exists():
            target.rename(Path(workshop) / "replaced")
        os.replace(draft, target)  # noqa: PTH105 - the one call that is atomic on every platform
    return open_bundle(target, trust)


def refuse_to_replace(target: Path, *, bundles: bool = False) -> None:
    """Raise UsageError if something is at ``target``; an empty folder is nothing.

    A version that was made once may run somewhere, and reports name it: so a bundle is not replaced by chance either.

    Args:
        target: where a bundle is to be.
        bundles: one that is there, and nothing but a bundle, may be replaced.
    """
    if not target.exists() and not target.is_symlink():
        return
    inside = {p.name for p in target.iterdir()} if target.is_dir() and not target.is_symlink() else {""}
    if inside - {*FILES, MANIFEST, SIGNATURE} or (inside and MANIFEST not in inside):
        raise UsageError(f"{target} is there already and is not a bundle; name another folder")
    if inside and not bundles:
        raise UsageError(
            f"{target} is a bundle already, and agents tell models by that name; name the next version, or give "
            "--replace if this one has run nowhere"
        )


def write_golden(path: Path, golden: Golden) -> None:
    """Store a golden batch as a bundle holds it."""
    scores = {f"scores/{name}": values for name, values in golden.scores.items()}
    np.savez_compressed(path, allow_pickle=False, crops=golden.crops, batch=golden.batch, **scores)


def _refuse_if_missing(path: Path) -> None:
    try:
        there = (path / MANIFEST).is_file()
    except OSError as cause:
        raise BundleMissing(f"no bundle can be seen at {path} ({cause.strerror}); name another folder") from cause
    if not there:
        raise BundleMissing(f"no bundle at {path}: it has no {MANIFEST}; name a folder that export-engine wrote")


def _golden(path: Path, content: bytes, manifest: Manifest) -> Golden:
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as stored:
            if sum(part.file_size for part in stored.zip.infolist()) > GOLDEN_MAX_BYTES:
                raise _damaged(path, f"it holds more than {GOLDEN_MAX_BYTES} bytes")
            scores = {k.removeprefix("scores/"): stored[k] for k in stored.files if k.startswith("scores/")}
            golden = Golden(stored["crops"], stored["batch"], scores)
    except _UNREADABLE as cause:
        raise _damaged(path, "it can not be read") from cause
    if not _has_form(golden, manifest.input.size, manifest.columns.width):
        raise _damaged(path, "its arrays have not the form of crops, a batch and scores")
    return golden


def _has_form(golden: Golden, size: int, width: int) -> bool:
    cells = golden.crops.shape[:1]
    return (
        golden.crops.dtype == np.uint8
        and golden.crops.shape == (*cells, size, size, 3)
        and cells > (0,)
        and all(s.dtype == np.float32 and s.shape == (*cells, width) for s in golden.scores.values())
    )


def _signature(path: Path) -> bytes | None:
    """The bytes of the signature, one more than a sound one has at most; None if there is none."""
    try:
        (path / SIGNATURE).lstat()
    except FileNotFoundError:
        return None
    return _read(path / SIGNATURE, LINE_BYTES)


def _manifest(path: Path, written: bytes) -> Manifest:
    try:
        manifest = Manifest.model_validate_json(written)
    except ValidationError as cause:
        raise _damaged(path / MANIFEST, f"it is not a manifest ({cause.errors()[0]['msg']})") from cause
    if manifest.sealed().to_bytes() != written:
        raise _damaged(path / MANIFEST, "its own digest does not fit its text")
    if missing := set(FILES) - set(manifest.files):
        raise _damaged(path / MANIFEST, f"it has no hash of {', '.join(sorted(missing))}")
    if strange := set(manifest.files) - {*FILES}:
        raise _damaged(path / MANIFEST, f"it names {min(strange)!r}, which is no file of a bundle")
    return manifest


def _verified(path: Path, expected: str) -> bytes:
    """The content of a file whose hash is as expected."""
    content = _read(path, FILE_MAX_BYTES)
    if hashlib.sha256(content).hexdigest() != expected:
        raise _damaged(path, "its SHA-256 is not the one in the manifest")
    return content


def _read(path: Path, most: int) -> bytes:
    """The content of a plain file of the bundle, no link."""
    try:
        return read_plain(path, most=most, follow=False)
    except FileNotFoundError as cause:
        raise _damaged(path, "the file is missing") from cause
    except OSError as cause:
        what = str(cause.strerror)
        raise _damaged(path, what if what.startswith("it is") else f"it can not be read ({what})") from cause


def _damaged(path: Path, what: str) -> IntegrityError:
    return IntegrityError(f"{path} was changed after it was made: {what}; copy the bundle again or export it again")
