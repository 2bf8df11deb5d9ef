"""A checkpoint is whole, or refused in words."""

import copy
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from common.errors import UsageError
from contract.manifest import TWO, CellColours, Decision, InputSpec
from training.checkpoint import LAST, Classifier, load, read_classifier, save, write_classifier
from training.fit import _begin
from training.network import Architecture, BlastNet
from training.recipe import Recipe

RECIPE = {"layout": "folders", "um_per_pixel": 0.2, "split": "patient", "seed": 0, "jitter": {"hue": 1}}
COLOURS = CellColours(mean=(0.6, 0.4, 0.6), std=(0.1, 0.1, 0.1))


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    path = tmp_path / "classifier.pt"
    network = BlastNet(Architecture(stem=32, stages=(32,), blocks=(1,)))
    spec = InputSpec(um_per_pixel=0.2, size=48, mean=(0, 0, 0), std=(1, 1, 1))
    decision = Decision(temperature=1, threshold=0.5, uncertain_from=0.4, uncertain_to=0.6)
    judging = TWO, decision, None, {"folders": COLOURS}
    write_classifier(path, Classifier(network, spec, *judging, RECIPE, 3, {"validation_loss": 0.5}))
    return path


def test_what_was_written_is_read(whole: Path) -> None:
    read = read_classifier(whole)
    assert (read.recipe, read.epoch, read.validation) == (RECIPE, 3, {"validation_loss": 0.5})
    assert (read.columns, read.unknown, read.colours) == (TWO, None, {"folders": COLOURS})
    assert not read.network.training


@pytest.mark.parametrize(
    "change",
    [
        {"architecture": {"blocks": (1, 1)}},
        {"architecture": {"stem": "wide"}},
        {"architecture": {"classes": 1}},
        {"architecture": {"directions": 64}},
        {"architecture": {"stages": (), "blocks": ()}},
        {"architecture": {"stages": (10**9,)}},
        {"architecture": None},
        {"weights": {"stem.0.0.weight": "x"}},
        {"weights": {1: torch.zeros(1)}},
        {"recipe": {}},
        {"recipe": None},
        {"recipe": {**RECIPE, "layout": "mine"}},
        {"recipe": {**RECIPE, "datasets": ["mine"]}},
        {"architecture": {"dropout": 2.0}},
        {"recipe": {**RECIPE, "um_per_pixel": "x"}},
        {"validation": None},
        {"epoch": "last"},
        {"format": "another 1"},
        {"input": {}},
        {"decision": []},
        {"classes": ["normal", "lymphoblast", "other"]},
        {"unknown": {"other": 0.5, "distance": 3}},
        {"colours": {"folders": 3}},
    ],
    ids=str,
)
def test_a_record_that_is_not_what_it_should_be_is_refused(whole: Path, change: Mapping[str, Any]) -> None:
    record = copy.deepcopy(load(whole))
    for name, value in change.items():
        merged = name == "architecture" and isinstance(value, dict)
        record[name] = {**record[name], **value} if merged else value
    save(whole, record)
    with pytest.raises(UsageError, match="is no checkpoint of train-classifier"):
        read_classifier(whole)


def in_the_old_form(path: Path) -> bytes:
    torch.save(torch.load(path, weights_only=True), path, _use_new_zipfile_serialization=False)
    return path.read_bytes()


@pytest.mark.parametrize("form", [Path.read_bytes, in_the_old_form], ids=["zip", "pickle"])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_file_that_is_cut_or_changed_anywhere_is_read_or_refused_in_words(
    whole: Path, form: Callable[[Path], bytes]
) -> None:
    content = form(whole)
    places = [*range(0, 3000, 61), *range(3000, len(content), len(content) // 40)]
    damaged = [content[:at] for at in places]
    damaged += [content[:at] + bytes([content[at] ^ 0x55]) + content[at + 1 :] for at in places]
    refused = 0
    for some in [b"hello", b"GIF89a", *damaged]:
        whole.write_bytes(some)
        try:
            read_classifier(whole)
        except UsageError:
            refused += 1
    assert refused > len(places)


def test_a_folder_and_a_missing_file_are_refused(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "none"):
        with pytest.raises(UsageError, match="no checkpoint"):
            load(place)


@pytest.mark.parametrize("record", [{}, {"recipe": None}, {"recipe": {"layout": "folders"}}, {"recipe": 5}])
def test_a_damaged_last_checkpoint_is_refused_before_training_goes_on(tmp_path: Path, record: dict[str, Any]) -> None:
    save(tmp_path / LAST, record)
    with pytest.raises(UsageError, match=r"damaged|another training"):
        _begin(tmp_path, Recipe("folders", 0.2), [], {"layout": "cnmc"}, None)
    save(tmp_path / LAST, {"recipe": {"layout": "cnmc"}, "epoch": 1})
    with pytest.raises(UsageError, match="damaged"):
        _begin(tmp_path, Recipe("folders", 0.2), [], {"layout": "cnmc"}, None)
