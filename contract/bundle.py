"""A bundle: the folder that holds a model with everything one must know to use it."""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from contract.errors import BundleMissing, IntegrityError
from contract.manifest import Manifest
from contract.pixels import to_batch
from contract.types import Crops, Tensor

MANIFEST = "manifest.json"
FP32 = "model.onnx"
INT8 = "model.int8.onnx"
INT8_CPU = "model.int8.cpu.onnx"
GOLDEN = "golden.npz"
CALIBRATION = "calibration.json"
REPORT = "report.json"
MODEL_CARD = "MODEL_CARD.md"
FILES = (FP32, INT8, INT8_CPU, GOLDEN, CALIBRATION, REPORT, MODEL_CARD)

SHIPPED = Path(__file__).resolve().parent.parent / "models" / "blast-1"
"""The bundle that comes with the project: beside the rooms, in a checkout and in an installed wheel alike."""


@dataclass(frozen=True, slots=True)
class Golden:
    """Cells with known answers, to prove that a model still says here what it said where it was made.

    Attributes:
        crops: (N, size, size, 3) uint8.
        batch: what ``to_batch`` made of them, (N, 3, size, size) float32.
        scores: by graph file name, the (N, 2) float32 scores in ONNX Runtime on CPU.
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


def sha256_of(path: Path) -> str:
    """Hex SHA-256 of a file."""
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def open_bundle(path: Path) -> Bundle:
    """Read a bundle and verify every byte of it before anything is used.

    Raises:
        BundleMissing: there is no such folder, or it holds no manifest.
        IntegrityError: the manifest, a hash or the golden batch is not what it was.
    """
    if not (path / MANIFEST).is_file():
        raise BundleMissing(f"no bundle at {path}: it has no {MANIFEST}; name a folder that export-engine wrote")
    written = (path / MANIFEST).read_bytes()
    manifest = _manifest(path, written)
    for name, expected in manifest.files.items():
        _verify(path / name, expected)
    golden = read_golden(path / GOLDEN)
    if not np.array_equal(to_batch(golden.crops, manifest.input), golden.batch):
        raise _damaged(path / GOLDEN, "the golden batch is no longer what to_batch makes of its crops")
    return Bundle(path, manifest, golden, hashlib.sha256(written).hexdigest())


def write_bundle(target: Path, manifest: Manifest, files: Mapping[str, Path]) -> Bundle:
    """Write a bundle whole or not at all: assembled beside its place, then renamed into it.

    Args:
        target: the folder to make; an older bundle there is replaced.
        manifest: its ``files`` are filled in here.
        files: where each of ``FILES`` lies now.

    Raises:
        ValueError: a file of ``FILES`` was not given.
    """
    if missing := set(FILES) - set(files):
        raise ValueError(f"a bundle needs {', '.join(sorted(missing))} too")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as workshop:
        draft = Path(workshop) / target.name
        draft.mkdir()
        for name, origin in files.items():
            shutil.copyfile(origin, draft / name)
        hashes = {name: sha256_of(draft / name) for name in files}
        (draft / MANIFEST).write_bytes(manifest.model_copy(update={"files": hashes}).sealed().to_bytes())
        open_bundle(draft)
        if target.exists():
            target.rename(Path(workshop) / "replaced")
        os.replace(draft, target)  # noqa: PTH105 - the one call that is atomic on every platform
    return open_bundle(target)


def write_golden(path: Path, golden: Golden) -> None:
    """Store a golden batch; ``read_golden`` reads it."""
    scores = {f"scores/{name}": values for name, values in golden.scores.items()}
    np.savez_compressed(path, allow_pickle=False, crops=golden.crops, batch=golden.batch, **scores)


def read_golden(path: Path) -> Golden:
    """Read a golden batch; an unreadable one is an IntegrityError."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            scores = {k.removeprefix("scores/"): stored[k] for k in stored.files if k.startswith("scores/")}
            return Golden(stored["crops"], stored["batch"], scores)
    except (OSError, ValueError, KeyError) as cause:
        raise _damaged(path, "it can not be read") from cause


def _manifest(path: Path, written: bytes) -> Manifest:
    try:
        manifest = Manifest.model_validate_json(written)
    except ValidationError as cause:
        raise _damaged(path / MANIFEST, f"it is not a manifest ({cause.errors()[0]['msg']})") from cause
    if manifest.sealed().to_bytes() != written:
        raise _damaged(path / MANIFEST, "its own digest does not fit its text")
    if missing := set(FILES) - set(manifest.files):
        raise _damaged(path / MANIFEST, f"it has no hash of {', '.join(sorted(missing))}")
    return manifest


def _verify(path: Path, expected: str) -> None:
    if path.name not in FILES:
        raise _damaged(path.parent / MANIFEST, f"it names {path.name!r}, which is no file of a bundle")
    if not path.is_file():
        raise _damaged(path, "the file is missing")
    if sha256_of(path) != expected:
        raise _damaged(path, "its SHA-256 is not the one in the manifest")


def _damaged(path: Path, what: str) -> IntegrityError:
    return IntegrityError(f"{path} was changed after it was made: {what}; copy the bundle again or export it anew")
