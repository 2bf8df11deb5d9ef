"""A thousand bundles that somebody changed, and not one of them opens.

Each mutant is made from a whole bundle with a seed of its own, so that every run makes the same thousand.
"""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from common.errors import BundleMissing, IntegrityError
from contract.bundle import FILES, GOLDEN, INT8_CPU, MANIFEST, SHIPPED, Golden, open_bundle, write_bundle, write_golden
from contract.manifest import Manifest
from contract.pixels import to_batch
from contract.signature import SIGNATURE, UNSIGNED, Trust, public_half, sign

MUTANTS = 1000
OF_THE_SHIPPED = 100
OURS, THEIRS = (Ed25519PrivateKey.from_private_bytes(bytes([k]) * 32) for k in (3, 4))
TRUST = Trust((public_half(OURS),))
Dice = np.random.Generator
ALL = (*FILES, MANIFEST, SIGNATURE)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small bundle, signed; its manifest is the shipped one's but for the size of a crop."""
    folder = tmp_path_factory.mktemp("whole")
    shipped = open_bundle(SHIPPED).manifest
    small = shipped.model_copy(update={"input": shipped.input.model_copy(update={"size": 16})})
    files = {name: folder / name for name in FILES}
    for name, path in files.items():
        path.write_text(f"stands for {name}")
    crops = np.random.default_rng(1).integers(0, 255, (2, 16, 16, 3), np.uint8)
    golden = Golden(crops, to_batch(crops, small.input), {INT8_CPU: np.zeros((2, small.columns.width), np.float32)})
    write_golden(files[GOLDEN], golden)
    return write_bundle(folder / "bundle", small, files, key=OURS).path


def some(dice: Dice, names: tuple[str, ...] = ALL) -> str:
    return names[int(dice.integers(len(names)))]


def flip_a_bit(bundle: Path, dice: Dice) -> None:
    path = bundle / some(dice)
    content = bytearray(path.read_bytes())
    content[int(dice.integers(len(content)))] ^= 1 << int(dice.integers(8))
    path.write_bytes(content)


def cut_short(bundle: Path, dice: Dice) -> None:
    path = bundle / some(dice)
    content = path.read_bytes()
    path.write_bytes(content[: int(dice.integers(len(content)))])


def write_on(bundle: Path, dice: Dice) -> None:
    with (bundle / some(dice)).open("ab") as file:
        file.write(dice.bytes(int(dice.integers(1, 40))))


def swap_two(bundle: Path, dice: Dice) -> None:
    first, second = (bundle / ALL[int(k)] for k in dice.choice(len(ALL), 2, replace=False))
    first.rename(bundle / "aside")
    second.rename(first)
    (bundle / "aside").rename(second)


def take_away(bundle: Path, dice: Dice) -> None:
    (bundle / some(dice)).unlink()


def make_a_link(bundle: Path, dice: Dice) -> None:
    """The content is right; but what a link points to can be changed without touching the bundle."""
    path = bundle / some(dice)
    target = path.rename(bundle.parent / f"{bundle.name}-{path.name}")
    path.symlink_to(target)


def make_something_else_of_a_file(bundle: Path, dice: Dice) -> None:
    path = bundle / some(dice)
    path.unlink()
    path.mkdir() if dice.integers(2) else os.mkfifo(path)


def strip_the_signature(bundle: Path, dice: Dice) -> None:
    (bundle / SIGNATURE).unlink()
    if dice.integers(2):
        change_a_field(bundle, dice)


def sign_as_a_stranger(bundle: Path, dice: Dice) -> None:
    if dice.integers(2):
        change_a_field(bundle, dice)
    (bundle / SIGNATURE).write_bytes(sign((bundle / MANIFEST).read_bytes(), THEIRS))


def pose_as_us(bundle: Path, _: Dice) -> None:
    """A stranger's signature under our key's id."""
    name = (bundle / SIGNATURE).read_bytes().split()[1]
    forged = sign((bundle / MANIFEST).read_bytes(), THEIRS).split()
    (bundle / SIGNATURE).write_bytes(b" ".join([forged[0], name, forged[2]]) + b"\n")


def change_a_field(bundle: Path, dice: Dice) -> None:
    """By somebody who knows how to compute every hash and the digest again."""
    record: dict[str, Any] = json.loads((bundle / MANIFEST).read_bytes())
    changes = (
        (record, "terms", "for the clinic"),
        (record, "created_at", f"2030-01-{dice.integers(1, 28):02d}T00:00:00+00:00"),
        (record, "classes", record["classes"][::-1]),
        (record["input"], "um_per_pixel", float(dice.uniform(0.05, 0.2))),
        (record["input"], "mean", [float(v) for v in dice.uniform(0.1, 0.9, 3)]),
        (record["calibration"], "cells", int(dice.integers(1, 500))),
    )
    section, field, value = changes[int(dice.integers(len(changes)))]
    section[field] = value
    (bundle / MANIFEST).write_bytes(Manifest.model_validate(record).sealed().to_bytes())


def replace_a_model(bundle: Path, dice: Dice) -> None:
    """A file of one's own, with its hash in the manifest and the digest right."""
    name = some(dice, FILES)
    (bundle / name).write_bytes(dice.bytes(64))
    record = json.loads((bundle / MANIFEST).read_bytes())
    record["files"][name] = dice.bytes(32).hex()
    (bundle / MANIFEST).write_bytes(Manifest.model_validate(record).sealed().to_bytes())


def add_to_the_manifest(bundle: Path, dice: Dice) -> None:
    record = json.loads((bundle / MANIFEST).read_bytes())
    if dice.integers(2):
        record[f"extra{dice.integers(9)}"] = True
    else:
        strange = some(dice, ("../model.onnx", "sub/model.onnx", "/etc/passwd", "model.onnx\0", "..", "", "a\\b"))
        record["files"][strange] = dice.bytes(32).hex()
    (bundle / MANIFEST).write_bytes((json.dumps(record, indent=2, sort_keys=True) + "\n").encode())


def write_it_otherwise(bundle: Path, dice: Dice) -> None:
    """The same values in other words: only bytes differ."""
    record = json.loads((bundle / MANIFEST).read_bytes())
    written = json.dumps(record, indent=int(dice.integers(3, 9)), sort_keys=bool(dice.integers(2)))
    (bundle / MANIFEST).write_text(written)


MUTATIONS = (
    flip_a_bit,
    flip_a_bit,
    flip_a_bit,
    cut_short,
    write_on,
    swap_two,
    take_away,
    make_a_link,
    make_something_else_of_a_file,
    strip_the_signature,
    sign_as_a_stranger,
    pose_as_us,
    change_a_field,
    replace_a_model,
    add_to_the_manifest,
    write_it_otherwise,
)


def opens(bundle: Path, trust: Trust) -> bool:
    try:
        open_bundle(bundle, trust)
    except (IntegrityError, BundleMissing):
        return False
    return True


def survivors(whole: Path, workshop: Path, count: int, trust: Trust) -> list[str]:
    """Make that many mutants; name those that open."""
    found = []
    for seed in range(count):
        mutate = MUTATIONS[seed % len(MUTATIONS)]
        mutant = workshop / f"mutant-{seed}"
        shutil.copytree(whole, mutant)
        mutate(mutant, np.random.default_rng(seed))
        if opens(mutant, trust):
            found.append(f"{seed}: {mutate.__name__}")
        shutil.rmtree(mutant)
    return found


def test_of_a_thousand_mutants_none_opens(whole: Path, tmp_path: Path) -> None:
    assert opens(whole, TRUST)
    assert survivors(whole, tmp_path, MUTANTS, TRUST) == []


def test_of_a_hundred_mutants_of_the_shipped_bundle_none_opens(tmp_path: Path) -> None:
    assert opens(SHIPPED, Trust.of())
    assert survivors(SHIPPED, tmp_path, OF_THE_SHIPPED, Trust.of()) == []


@pytest.mark.parametrize("name", [*FILES, MANIFEST])
def test_where_unsigned_is_allowed_a_damaged_file_is_still_refused(whole: Path, tmp_path: Path, name: str) -> None:
    """Hashes and digest find damage without any key."""
    mutant = tmp_path / "mutant"
    shutil.copytree(whole, mutant)
    (mutant / SIGNATURE).unlink()
    assert opens(mutant, UNSIGNED)
    good, dice = (mutant / name).read_bytes(), np.random.default_rng(0)
    for _ in range(20):
        bad = bytearray(good)
        bad[int(dice.integers(len(bad)))] ^= 1 << int(dice.integers(8))
        (mutant / name).write_bytes(bad)
        assert not opens(mutant, UNSIGNED)
