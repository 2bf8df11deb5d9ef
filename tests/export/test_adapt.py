"""Heads that are fitted further on a site's own cells: what it gains, and what is refused."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from contract.bundle import SHIPPED, Bundle, open_bundle
from contract.signature import UNSIGNED
from tests.drawn import write_cells
from tests.exporting import run
from training.adapt import adapt
from training.checkpoint import read_classifier
from training.fit import main


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Cells of twelve people of one laboratory, in layout ``folders``."""
    return write_cells(tmp_path_factory.mktemp("site"), patients=12, each=4)


@pytest.fixture(scope="module")
def turned_round(site: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same cells with blasts called normal and normal cells blasts: a site of which the bundle knows nothing."""
    root = tmp_path_factory.mktemp("turned")
    for patient in site.iterdir():
        shutil.copytree(patient / "normal", root / patient.name / "blast")
        shutil.copytree(patient / "blast", root / patient.name / "normal")
    return root


def words(bundle: Path, data: Path, out: Path) -> list[str]:
    given = ["--adapt", str(bundle), "--data", str(data), "--layout", "folders", "--out", str(out)]
    return [*given, "--um-per-pixel", "0.2", "--allow-unsigned"]


def test_a_site_that_the_bundle_does_not_know_gains(made: Bundle, turned_round: Path, tmp_path: Path) -> None:
    """Out of fold: the figures are those of patients whose cells were not fitted on."""
    path, gain = adapt(made.path, turned_round, "folders", tmp_path, um_per_pixel=0.2, trust=UNSIGNED, quiet=True)
    assert (gain.cells, gain.patients) == (96, 12)
    assert gain.before["auroc"] < 0.3
    assert gain.after["auroc"] > gain.before["auroc"] + 0.3
    assert read_classifier(path).validation["auroc"] == pytest.approx(gain.after["auroc"])


def test_an_adapted_classifier_is_exported_like_any(
    made: Bundle, turned_round: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words(made.path, turned_round, tmp_path / "adapted")) == 0
    told = capsys.readouterr()
    assert "training: 64 cells (32 blast, 32 normal) of 8 patients" in told.err
    assert "scale: 0.2 um per pixel, as told for all images" in told.err
    assert told.out.startswith("watch out: 96 cells of 12 patients are too few")
    assert "before" in told.out
    assert not re.search(r"\d\.\d{3}", told.out), "so few cells give no figure of three places"
    out = tmp_path / "drawn-2"
    assert run(tmp_path / "adapted" / "classifier.pt", turned_round, out, "--um-per-pixel", "0.2", "--no-gate") == 0
    kept = read_classifier(tmp_path / "adapted" / "classifier.pt")
    assert kept.recipe["adapted_from"] == made.manifest.id
    bundle = open_bundle(out, UNSIGNED)
    assert bundle.manifest.id == "drawn-2"
    assert np.isfinite(next(iter(bundle.golden.scores.values()))).all()


def test_the_trunk_stays_as_it_is(made: Bundle, checkpoint: Path, turned_round: Path, tmp_path: Path) -> None:
    adapt(made.path, turned_round, "folders", tmp_path, um_per_pixel=0.2, trust=UNSIGNED, quiet=True)
    before, after = read_classifier(checkpoint).network, read_classifier(tmp_path / "classifier.pt").network
    assert not np.allclose(before.head.weight.detach().numpy(), after.head.weight.detach().numpy())
    assert before.shape == after.shape


def test_too_few_cells_are_refused(made: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    few = write_cells(tmp_path / "few", patients=4, each=2)
    assert main(words(made.path, few, tmp_path / "out")) == 2
    assert "label more" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_bundle_with_other_heads_is_refused(site: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """``blast-2`` reads the last stage alone."""
    assert main(words(SHIPPED.parent / "blast-2", site, tmp_path / "out")) == 2
    assert "no heads of this version" in capsys.readouterr().err
