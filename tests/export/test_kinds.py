"""A model that knows kinds of blasts, and what is no cell to be judged: from its training to what the agent says."""

import json
from contextlib import closing
from pathlib import Path

import cv2
import numpy as np
import pytest

from contract.bundle import GOLDEN, REPORT, Bundle, open_bundle
from contract.decide import decide
from contract.manifest import ClassName, Columns
from contract.signature import UNSIGNED
from contract.types import Box, Cell
from engines.choice import open_engine
from evaluation.datasets.files import read_image
from export.__main__ import main as export
from tests.drawn import write_cells
from training.fit import train
from training.recipe import Recipe

NAMES: tuple[ClassName, ...] = ("normal", "lymphoblast", "myeloblast", "other")


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of every second of twelve people the blasts are lymphoblasts; of each, some cells are smudged."""
    root = write_cells(tmp_path_factory.mktemp("kinds"), patients=12, each=3)
    for k, patient in enumerate(sorted(root.iterdir())):
        (patient / "blast").rename(patient / NAMES[1 + k % 2])
        (patient / "other").mkdir()
        for image in (patient / "normal").iterdir():
            smudged = cv2.GaussianBlur(read_image(image), (0, 0), 6)
            cv2.imwrite(str(patient / "other" / image.name), smudged)
    return root


@pytest.fixture(scope="module")
def bundle(cells: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("kinds-bundle")
    checkpoint = train(cells, folder / "run", Recipe("folders", 0.2, epochs=3, size=48), quiet=True)
    words = ["--calibration", str(cells), "--gate", str(cells), "--layout", "folders", "--um-per-pixel", "0.2"]
    out = folder / "kinds-1"
    assert (
        export([str(checkpoint), "--int8", "--no-engine", "--no-gate", "--check", "none", *words, "--out", str(out)])
        == 0
    )
    return open_bundle(out, UNSIGNED)


def test_a_bundle_says_its_columns_and_what_is_unknown(bundle: Bundle) -> None:
    assert bundle.manifest.columns == Columns(NAMES, distance=True)
    assert bundle.manifest.unknown is not None
    assert all(scores.shape == (16, 5) for scores in bundle.golden.scores.values())
    assert (bundle.path / GOLDEN).stat().st_size > 0
    surroundings = np.array(bundle.golden.crops)[:, 0, 0, ::-1] / 255
    cell = bundle.manifest.input.cell
    assert cell is not None
    np.testing.assert_allclose(surroundings, np.tile(cell.surroundings or (0, 0, 0), (16, 1)), atol=0.01)


def test_its_report_says_what_becomes_of_cells_that_are_not_to_be_judged(bundle: Bundle) -> None:
    report = json.loads((bundle.path / REPORT).read_text())
    for evaluation in report["evaluations"]:
        (found,) = evaluation["reject"].values()
        assert found["called_blast"] + found["uncertain"] + found["not_found"] <= 1
    assert set(report["training"]["colours"]) == {"folders"}


def test_the_agent_gives_each_cell_the_probability_of_its_kinds(bundle: Bundle) -> None:
    with closing(open_engine(bundle, "onnxruntime")) as engine:
        scores = engine.scores(bundle.golden.batch)
        assert engine.scores(bundle.golden.batch[:0]).shape == (0, 5), "a frame without cells"
    cells = tuple(Cell(Box(0, 0, 9, 9), (4.0, 4.0), 90.0) for _ in scores)
    for said in decide(cells, scores, bundle.manifest, "int8"):
        assert set(said.classes) == {"normal", "lymphoblast", "myeloblast"}
        assert sum(said.classes.values()) == pytest.approx(1)
        assert said.classes["lymphoblast"] + said.classes["myeloblast"] == pytest.approx(said.probability)
