"""Drawn cells, a classifier of them, and its bundle: made once, for all processes."""

from functools import partial
from pathlib import Path

import pytest

from contract.bundle import (
    Bundle,
    open_bundle,
)
from contract.signature import UNSIGNED
from tests.drawn import write_cells
from tests.exporting import run
from tests.once import made_once
from training.checkpoint import CLASSIFIER
from training.fit import train
from training.recipe import Recipe


@pytest.fixture(scope="session")
def drawn_cells(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Layout ``folders``: six patients with two normal cells and two blasts each, 0.2 um per pixel."""
    return made_once(tmp_path_factory, "cells", partial(write_cells, patients=6, each=2))


@pytest.fixture(scope="session")
def checkpoint(drawn_cells: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What train-classifier leaves after one epoch on the drawn cells."""
    recipe = Recipe("folders", 0.2, epochs=3, size=48)
    return made_once(tmp_path_factory, "training", lambda out: train(drawn_cells, out, recipe, quiet=True)) / CLASSIFIER


@pytest.fixture(scope="session")
def made(checkpoint: Path, drawn_cells: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    def make(out: Path) -> None:
        assert run(checkpoint, drawn_cells, out / "drawn-1") == 0

    return open_bundle(made_once(tmp_path_factory, "bundles", make) / "drawn-1", UNSIGNED)
