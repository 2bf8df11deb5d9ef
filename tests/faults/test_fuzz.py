"""What strangers may write, malformed by the thousand: our own errors at most, and no memory is kept of it.

Every run makes the same mutants, from a seed. The short form makes a few thousand, the long one 100,000.
"""

import gc
import hashlib
import io
import json
import logging
import os
import random
import struct
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

import collector.settings
from agent.config import load, load_alone
from agent.settings import MqttSettings
from agent.wire.dispatcher import CommandDispatcher
from agent.wire.outbox import Outbox
from agent.wire.publisher import Publisher
from common.errors import IntegrityError, UsageError
from contract.bundle import FILES, GOLDEN, INT8_CPU, MANIFEST, SHIPPED, Golden, open_bundle, write_bundle, write_golden
from contract.manifest import InputSpec, Manifest
from contract.messages import FrameReport
from contract.pixels import to_batch
from contract.requests import COMMANDS, Answer, Restarted
from contract.signature import UNSIGNED
from contract.topics import Topics
from mqttlink.responses import Incoming, Reply
from tests.faults.mutants import changed, damaged, mutant, odd, written

log = logging.getLogger(__name__)
Try = Callable[[random.Random], str]
"""Tries one mutant; says in a word what came of it."""
TOPICS = Topics(prefix="p", site="s", device="d")
GROWTH_MIB = 48
"""Of memory, at most, between the first tenth of the mutants and the last."""
REQUESTS: dict[str, Any] = {
    **{name: {} for name in COMMANDS},
    "slide/start": {"slide_id": "B-7"},
    "snapshot": {"part": "centre", "max_side_px": 256, "max_kb": 64, "annotated": True},
}
SETTINGS = """
site = "lab"
device = "scope-1"
[source]
kind = "camera"
uri = "http://127.0.0.1:8090/"
um_per_pixel = 0.1
[mqtt]
host = "broker"
port = 8883
username = "scope"
password = "a long word"
commands = ["snapshot", "slide/start"]
[mqtt.tls]
ca = "ca.pem"
[outbox]
forget_on = "consumer"
max_mb = 64
[trust]
keys = ["shipped"]
"""
OVERRIDES = {
    "site": "lab",
    "mqtt.port": "1883",
    "mqtt.commands": '["snapshot"]',
    "source.kind": "synthetic",
    "source.fps": "10",
    "trust.keys": "shipped",
    "outbox.max_mb": "64",
    "mqtt.tls.ca": "ca.pem",
}


@pytest.fixture
def commands() -> Try:
    """A dispatcher where everything is allowed."""
    answers: list[Reply] = []
    allowed = dict.fromkeys(COMMANDS, lambda _: None)
    dispatcher = CommandDispatcher(TOPICS.root, allowed, answers.append, audit=lambda *_: None)

    def one(dice: random.Random) -> str:
        name = dice.choice(list(REQUESTS))
        topic = name if dice.random() < 0.8 else damaged(name.encode(), dice).decode(errors="replace")
        reply_to = dice.choice(["r", "", "p/v1/s/d/ack", "a/#", str(odd(dice))])
        payload = mutant(REQUESTS[name], dice)
        answer = dispatcher.carry_out(
            Incoming(f"{TOPICS.root}/command/{topic}", payload, dice.random() < 0.1, reply_to)
        )
        said = Answer[Restarted].model_validate_json(answer)
        assert said.ok is (said.error is None)
        return said.error.code if said.error else "carried out"

    return one


@pytest.fixture
def acks(tmp_path: Path, make_report: Callable[..., FrameReport]) -> Iterator[Try]:
    """A publisher whose consumer has gone mad; what it was not told to forget stays."""
    with Outbox(tmp_path / "outbox.sqlite", max_mb=8) as outbox:
        for seq in range(1, 101):
            outbox.put(make_report(seq, outbox.epoch))
        outbox.acknowledge(outbox.epoch, 10)
        publisher = Publisher(MqttSettings(), TOPICS, outbox, forget_on="consumer", version="1")
        valid = {"epoch": outbox.epoch, "upto": 10}

        def one(dice: random.Random) -> str:
            before, epoch, waiting, oldest = publisher.ignored_acks, outbox.epoch, outbox.count(), outbox.oldest()
            content = mutant(valid, dice)
            publisher.on_message(Incoming(TOPICS.ack, content))
            if outbox.epoch != epoch:  # it knows reports that were never here: this outbox is an older copy of itself
                assert outbox.count() == waiting, "what waited stays, under its old epoch"
                valid["epoch"] = outbox.epoch
                for _ in range(10):
                    outbox.put(make_report(outbox.next_seq(), outbox.epoch))
                return "begun again"
            if publisher.ignored_acks > before:
                assert outbox.count() == waiting
                return "ignored"
            told = json.loads(content)
            if told["epoch"] == epoch:
                assert outbox.oldest() == max(oldest, min(int(told["upto"]) + 1, outbox.next_seq()))
            else:
                assert outbox.oldest() == oldest, "of an epoch that was here before"
            return "taken"

        yield one
        with publisher:  # which closes what it has opened
            pass


@pytest.fixture
def settings(tmp_path: Path) -> Try:
    """A settings file, and settings from the command line."""
    path = tmp_path / "agent.toml"

    def one(dice: random.Random) -> str:
        try:
            if dice.random() < 0.5:
                path.write_bytes(damaged(SETTINGS.encode(), dice))
                load(path)
            else:
                load_alone({str(key): str(value) for key, value in changed(OVERRIDES, dice).items()})
        except UsageError:
            return "refused"
        return "taken"

    return one


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A small bundle that nobody signed."""
    shipped = open_bundle(SHIPPED).manifest
    small = shipped.model_copy(update={"input": shipped.input.model_copy(update={"size": 16})})
    files = {name: tmp_path / name for name in FILES}
    for path in files.values():
        path.write_text("stands for a file")
    crops = np.random.default_rng(1).integers(0, 255, (2, 16, 16, 3), np.uint8)
    scores = np.zeros((2, small.columns.width), np.float32)
    write_golden(files[GOLDEN], Golden(crops, to_batch(crops, small.input), {INT8_CPU: scores}))
    return write_bundle(tmp_path / "bundle", small, files).path


def forge_golden(bundle: Path, content: bytes) -> bytes:
    """Put another golden batch into a bundle; a manifest with its hash, and the right digest."""
    (bundle / GOLDEN).write_bytes(content)
    record = json.loads((bundle / MANIFEST).read_bytes())
    record["files"][GOLDEN] = hashlib.sha256(content).hexdigest()
    return Manifest.model_validate(record).sealed().to_bytes()


@pytest.fixture
def manifests(bundle: Path) -> Try:
    """A bundle that nobody signed, where that is allowed; half of the forgers know how to compute hashes."""
    manifest, golden = (bundle / MANIFEST).read_bytes(), (bundle / GOLDEN).read_bytes()

    def one(dice: random.Random) -> str:
        record = json.loads(manifest)
        if dice.random() < 0.3:
            (bundle / MANIFEST).write_bytes(manifest)
            content = forge_golden(bundle, damaged(golden, dice) if dice.random() < 0.5 else other_golden(dice))
        else:
            (bundle / GOLDEN).write_bytes(golden)
            content = mutant(record, dice) if dice.random() < 0.5 else resealed(changed(record, dice), dice)
        (bundle / MANIFEST).write_bytes(content)
        try:
            open_bundle(bundle, UNSIGNED)
        except IntegrityError:
            return "refused"
        return "opened"

    return one


def other_golden(dice: random.Random) -> bytes:
    """An archive that is whole, of arrays that nobody expects."""
    names = ["crops", "batch", f"scores/{INT8_CPU}", "scores/x", "../x"]
    shapes: list[tuple[int, ...]] = [
        (),
        (0,),
        (2,),
        (2, 2),
        (2, 5),
        (2, 16, 16, 3),
        (2, 3, 16, 16),
        (0, 16, 16, 3),
        (1, 0),
    ]
    arrays = {name: np.zeros(dice.choice(shapes), dice.choice(["u1", "f4", "f8", "U3", "c8"])) for name in names}
    content = io.BytesIO()
    np.savez_compressed(content, allow_pickle=False, **{name: arrays[name] for name in dice.sample(names, 4)})
    return content.getvalue()


def resealed(record: Any, dice: random.Random) -> bytes:
    """With the right digest, if the form allows one."""
    try:
        return Manifest.model_validate(record).sealed().to_bytes()
    except ValueError:
        return written(record, dice)


def resident_mib() -> float:
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def fuzz(one: Try, count: int, *, name: str) -> Counter[str]:
    """Try so many mutants; memory may grow over the first tenth, while caches fill, and then no more."""
    dice, outcomes, before = random.Random(f"{name} 1"), Counter[str](), 0.0  # noqa: S311 - a test
    for number in range(count):
        if number == count // 10:
            before = resident_mib()
        state = dice.getstate()
        try:
            outcomes[one(dice)] += 1
        except Exception as cause:
            dice.setstate(state)
            raise AssertionError(f"mutant {number} of {name}: {type(cause).__name__}: {cause}") from cause
    growth = resident_mib() - before
    log.info("%d malformed %s: %s; memory grew by %.1f MiB", count, name, dict(outcomes), growth)
    assert growth < GROWTH_MIB
    return outcomes


def test_a_golden_batch_whose_hash_is_right_and_whose_bytes_are_not_is_refused(bundle: Path) -> None:
    whole = (bundle / GOLDEN).read_bytes()
    for at in range(0, len(whole), max(1, len(whole) // 150)):
        damage = whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :]
        (bundle / MANIFEST).write_bytes(forge_golden(bundle, damage))
        with suppress(IntegrityError):  # a few bytes of an archive say nothing
            open_bundle(bundle, UNSIGNED)


@pytest.mark.parametrize("header", ["{'shape': (2,", "{'shape': ¨", "if 1:\n  2\n 3", "\0", "[" * 9999])
def test_arrays_whose_header_is_no_python_are_refused(header: str, bundle: Path) -> None:
    """NumPy hands a header that it can not read to Python's own tokenizer, which has errors of its own."""
    line = header.encode("latin-1").ljust(118) + b"\n"
    array = np.lib.format.magic(1, 0) + struct.pack("<H", len(line)) + line
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("crops.npy", array)
    (bundle / MANIFEST).write_bytes(forge_golden(bundle, buffer.getvalue()))
    with pytest.raises(IntegrityError, match="can not be read"):
        open_bundle(bundle, UNSIGNED)


@pytest.mark.parametrize("std", [0.0, -1.0, 1e-300])
def test_what_can_not_be_divided_by_is_no_manifest(std: float) -> None:
    with pytest.raises(ValidationError, match="std"):
        InputSpec(um_per_pixel=0.2, size=16, mean=(0, 0, 0), std=(1, std, 1))


DEEP = "[" * 100_000


@pytest.mark.parametrize("text", [f"site = {DEEP}", f"site = {DEEP}{']' * 100_000}", "a = " + "{ a = " * 10_000])
def test_settings_files_of_endless_brackets_are_wrong_usage(text: str, tmp_path: Path) -> None:
    path = tmp_path / "settings.toml"
    path.write_text(text)
    for read in (load, collector.settings.load):
        with pytest.raises(UsageError, match="not TOML"):
            read(path)


@pytest.mark.parametrize("name", ["mqtt.commands", "trust.keys"])
def test_values_of_endless_brackets_are_wrong_usage(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="nests too deep"):
        load_alone({name: DEEP})
    for prefix, read in (("MICROSCOPE_", load), ("MICROSCOPE_COLLECT_", collector.settings.load)):
        monkeypatch.setenv(f"{prefix}MQTT", '{"a":' * 100_000)
        with pytest.raises(UsageError, match="the environment"):
            read()
        monkeypatch.delenv(f"{prefix}MQTT")


KINDS = ["commands", "acks", "settings", "manifests"]


@pytest.mark.parametrize("kind", KINDS)
def test_whatever_comes_only_our_own_errors_come_of_it(kind: str, request: pytest.FixtureRequest) -> None:
    logging.disable(logging.CRITICAL)
    try:
        outcomes = fuzz(request.getfixturevalue(kind), 600, name=kind)
    finally:
        logging.disable(logging.NOTSET)
    assert len(outcomes) > 1


@pytest.mark.soak
@pytest.mark.parametrize("kind", KINDS)
def test_of_a_hundred_thousand_each_only_our_own_errors_come(kind: str, request: pytest.FixtureRequest) -> None:
    logging.getLogger("agent").setLevel(logging.CRITICAL)
    try:
        fuzz(request.getfixturevalue(kind), 100_000, name=kind)
    finally:
        logging.getLogger("agent").setLevel(logging.NOTSET)
