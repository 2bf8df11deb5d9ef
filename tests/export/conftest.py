"""Drawn cells, a classifier of them, and its bundle: made once."""

from pathlib import Path

import pytest

from contract.bundle import (
    Bundle,
    open_bundle,
)
from contract.signature import UNSIGNED
from tests.drawn import write_cells
from tests.exporting import run
from training.fit import train
from training.recipe import Recipe


@pytest.fixture(scope="session")
def drawn_cells(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Layout ``folders``: six patients with two normal cells and two blasts each, 0.2 um per pixel."""
    return write_cells(tmp_path_factory.mktemp("cells"), patients=6, each=2)


@pytest.fixture(scope="session")
def checkpoint(drawn_cells: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What train-classifier leaves after one epoch on the drawn cells."""
    out = tmp_path_factory.mktemp("training")
    return train(drawn_cells, out, Recipe("folders", 0.2, epochs=3, size=48), quiet=True)


@pytest.fixture(scope="session")
def made(checkpoint: Path, drawn_cells: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    out = tmp_path_factory.mktemp("bundles") / "drawn-1"
    assert run(checkpoint, drawn_cells, out) == 0
    return open_bundle(out, UNSIGNED)
