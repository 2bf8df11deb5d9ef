"""Training goes on where it stopped, and says what is wrong."""

import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from common.errors import UsageError
from evaluation.datasets import LAYOUTS
from evaluation.datasets.sample import labelled
from training.checkpoint import CLASSIFIER, LAST, load, read_classifier, save
from training.fit import main, train
from training.loop import kinds_of, pace, weigh
from training.network import Architecture, BlastNet
from training.recipe import Recipe

Touch = Callable[[Path, list[str]], None]
RECIPE = Recipe("folders", 0.2, epochs=5, size=32)
PROGRAM = f"""
import sys
from pathlib import Path
from training.fit import Recipe, train
train(Path(sys.argv[1]), Path(sys.argv[2]), {RECIPE!r}, quiet=True)
"""


def weights_in(path: Path) -> dict[str, torch.Tensor]:
    record: dict[str, torch.Tensor] = load(path)["mean"]
    return record


def test_a_killed_training_goes_on_to_the_same_weights(drawn_folder: Path, tmp_path: Path) -> None:
    torn, whole = tmp_path / "torn", tmp_path / "whole"
    process = subprocess.Popen([sys.executable, "-c", PROGRAM, str(drawn_folder), str(torn)])
    while not (torn / LAST).exists() and process.poll() is None:
        time.sleep(0.002)
    process.kill()
    process.wait()
    assert load(torn / LAST)["epoch"] < RECIPE.epochs
    for out in (torn, whole):
        train(drawn_folder, out, RECIPE, quiet=True)
    torn_weights, whole_weights = weights_in(torn / LAST), weights_in(whole / LAST)
    assert all(torch.equal(torn_weights[k], whole_weights[k]) for k in whole_weights)


@pytest.fixture(scope="module")
def trained(drawn_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("trained")
    train(drawn_folder, out, Recipe("folders", 0.2, epochs=2, size=32), quiet=True)
    return out


def test_a_classifier_comes_with_all_that_a_bundle_needs(trained: Path) -> None:
    found = read_classifier(trained / CLASSIFIER)
    assert found.input.size == 32
    assert found.input.field_um == pytest.approx(18)
    assert found.input.cell is not None
    assert found.input.cell.surroundings is not None
    assert set(found.colours) == {"folders"}
    assert found.columns.names == ("normal", "blast")
    assert 0.3 < found.input.mean[0] < 0.95
    assert found.recipe["layout"] == "folders"
    assert found.epoch == 2
    assert not found.network.training


def test_another_recipe_is_not_continued(trained: Path, drawn_folder: Path) -> None:
    with pytest.raises(UsageError, match="seed 0 there, 1 now"):
        train(drawn_folder, trained, Recipe("folders", 0.2, epochs=2, size=32, seed=1), quiet=True)


def test_a_finished_training_is_left_as_it_is(trained: Path, drawn_folder: Path) -> None:
    before = (trained / LAST).read_bytes()
    train(drawn_folder, trained, Recipe("folders", 0.2, epochs=2, size=32), quiet=True)
    assert (trained / LAST).read_bytes() == before


def test_training_first_says_the_cells_of_each_split_and_the_scale(
    drawn_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--data", str(drawn_folder), "--layout", "folders", "--um-per-pixel", "0.2", "--epochs", "0"]
    main([*words, "--out", str(tmp_path / "run")])
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(":")[0] for line in lines[:4]] == ["training", "validation", "test", "scale"]
    assert "cells (" in lines[0]
    assert "of 4 patients; groups: " in lines[0]
    assert lines[3] == "scale: 0.2 um per pixel, as told for all images"


def test_a_wrong_folder_is_one_line_and_exit_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--data", str(tmp_path), "--layout", "deepapl", "--out", str(tmp_path / "out")]) == 2
    text = capsys.readouterr().err
    assert text.startswith("train-classifier: ")
    assert text.count("\n") == 1


def test_too_few_patients_are_refused(tmp_path: Path) -> None:
    for kind in ("normal", "blast"):
        (tmp_path / "one" / kind).mkdir(parents=True)
        (tmp_path / "one" / kind / "1.png").write_bytes(b"never read")
    with pytest.raises(UsageError, match="more patients"):
        train(tmp_path, tmp_path / "out", Recipe("folders", 0.2), quiet=True)


@pytest.mark.parametrize("content", [b"", b"no checkpoint", b"PK\x03\x04 torn"])
def test_what_is_no_checkpoint_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.pt"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"x\.pt"):
        read_classifier(path)


def test_a_checkpoint_can_not_run_code(tmp_path: Path) -> None:
    """A pickle that would call a function is refused, not executed."""

    class Payload:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.touch, (Path(tmp_path / "executed"),)  # type: ignore[return-value]

    torch.save({"format": Payload()}, tmp_path / "x.pt")
    with pytest.raises(UsageError):
        read_classifier(tmp_path / "x.pt")
    assert not (tmp_path / "executed").exists()


def test_other_records_are_no_classifiers(tmp_path: Path) -> None:
    save(tmp_path / "x.pt", {"format": "something else"})
    with pytest.raises(UsageError, match="train-classifier"):
        read_classifier(tmp_path / "x.pt")


def test_weights_temper_kinds_and_patients(drawn_folder: Path) -> None:
    """A patient with nine times the cells is drawn three times as often; kinds count by the root of their cells."""
    samples = labelled(LAYOUTS["folders"].find(drawn_folder), "training")
    blasts = [s for s in samples if s.kind == "blast"]
    one, other = sorted({s.patient for s in samples})[:2]
    many = [s for s in blasts if s.patient == one] * 3 + [s for s in blasts if s.patient == other][:1]
    cells = [*many, *(s for s in samples if s.kind == "normal")]
    weights = weigh(cells)
    assert weights.sum() == pytest.approx(1)
    kinds = np.sqrt([len(many), len(cells) - len(many)])
    assert weights[: len(many)].sum() == pytest.approx(kinds[0] / kinds.sum())
    assert weights[:9].sum() == pytest.approx(3 * weights[9])


def test_the_trunk_learns_kinds_of_a_data_set_among_each_other(drawn_folder: Path) -> None:
    """One with a single kind teaches nothing, and a kind of a handful of cells neither."""
    samples = labelled(LAYOUTS["folders"].find(drawn_folder), "training")
    single = [replace(s, dataset="single", group="one") for s in samples]
    rare = [replace(s, dataset="two", group="many") for s in samples * 4] + [replace(samples[0], dataset="two")]
    kinds = kinds_of([*samples, *single, *rare])
    assert {k.dataset for k in kinds} == {"folders"}
    assert sorted(k.truth for k in kinds) == [0, 1]


def test_heads_alone_are_fitted_on_the_trunk_of_a_checkpoint(trained: Path, drawn_folder: Path, tmp_path: Path) -> None:
    start = str(trained / CLASSIFIER)
    out = train(drawn_folder, tmp_path, Recipe("folders", 0.2, epochs=0, size=32, start=start), quiet=True)
    before, after = read_classifier(trained / CLASSIFIER).network, read_classifier(out).network
    for name, value in before.state_dict().items():
        assert torch.equal(value, after.state_dict()[name]) or name.startswith("head"), name
    with pytest.raises(UsageError, match="--start MODEL"):
        train(drawn_folder, tmp_path, Recipe("folders", 0.2, epochs=0, size=32), quiet=True)
    with pytest.raises(UsageError, match="can not be read"):
        train(drawn_folder, tmp_path, Recipe("folders", 0.2, epochs=0, size=32, start="absent.pt"), quiet=True)


def test_a_trunk_is_trained_further(trained: Path, drawn_folder: Path, tmp_path: Path) -> None:
    """What it knows of its activations stays; its kernels move."""
    start = str(trained / CLASSIFIER)
    out = train(drawn_folder, tmp_path, Recipe("folders", 0.2, epochs=1, size=32, start=start), quiet=True)
    before, after = (read_classifier(p).network.state_dict() for p in (trained / CLASSIFIER, out))
    assert torch.equal(before["stem.0.1.running_mean"], after["stem.0.1.running_mean"])
    assert not torch.equal(before["stem.0.0.weight"], after["stem.0.0.weight"])


def test_people_too_few_to_teach_a_trunk_fit_heads_alone(tmp_path: Path, touch_images: Touch) -> None:
    names = [
        f"{part}/UID_{k}_1_1_{label}.png" for part in ("fold_0", "fold_2") for k, label in ((1, "all"), (9, "hem"))
    ]
    touch_images(
        tmp_path / "d",
        [
            n.replace("UID_1_", f"UID_{2 if 'fold_2' in n else 3}_").replace(
                "UID_9_", f"UID_H{'2' if 'fold_2' in n else '8'}_"
            )
            for n in names
        ],
    )
    with pytest.raises(UsageError, match="too few people"):
        train(tmp_path / "d", tmp_path / "out", Recipe("cnmc"), quiet=True)


def test_the_learning_rate_rises_and_falls() -> None:
    paces = [pace(share) for share in np.linspace(0, 1, 101)]
    assert max(paces) == pytest.approx(1)
    assert paces[0] < 0.02
    assert paces[-1] == pytest.approx(0)
    assert paces[5:] == sorted(paces[5:], reverse=True)


def test_the_network_is_small_and_takes_any_batch() -> None:
    network = BlastNet(Architecture()).eval()
    assert sum(p.numel() for p in network.parameters()) < 1_500_000
    assert all(c % 32 == 0 for c in (network.shape.stem, *network.shape.stages))
    with torch.inference_mode():
        assert network(torch.zeros(3, 3, 112, 112)).shape == (3, 2)
        assert network(torch.zeros(0, 3, 112, 112)).shape == (0, 2)
