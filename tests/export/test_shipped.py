"""The bundle that comes with the project."""

import json
from pathlib import Path

import numpy as np
import pytest

from contract.bundle import (
    FP32,
    REPORT,
    SHIPPED,
    open_bundle,
)
from contract.decide import margins_of
from training.evaluate import scores_of


@pytest.mark.parametrize("path", sorted(p.parent for p in SHIPPED.parent.glob("*/manifest.json")), ids=lambda p: p.name)
def test_a_bundle_that_comes_along_says_here_what_it_said_where_it_was_made(path: Path) -> None:
    shipped = open_bundle(path)
    for name, scores in shipped.golden.scores.items():
        again = scores_of(shipped.path / name, shipped.golden.crops, shipped.manifest.input)
        margins, before = (margins_of(rows, shipped.manifest.columns) for rows in (again, scores))
        assert np.abs(margins - before).max() < (1e-3 if name == FP32 else 0.3)


def test_the_shipped_bundle_is_as_accurate_as_required() -> None:
    """AUROC at least 0.985 on unseen patients, accuracy within half a point of FP32, one decision in 100 flipped."""
    report = json.loads((SHIPPED / REPORT).read_text())
    (found,) = (e for e in report["evaluations"] if e["data"]["split"] == "test")
    fp32, int8 = found["engines"]["fp32"], found["engines"]["int8-cpu"]
    assert int8["auroc"]["value"] >= 0.985
    assert abs(int8["accuracy"]["value"] - fp32["accuracy"]["value"]) <= 0.005
    assert found["agreement"]["int8-cpu"]["flip_share"] <= 0.01
