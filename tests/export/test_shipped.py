"""The bundle that comes with the project."""

import json

import numpy as np

from contract.bundle import (
    FP32,
    REPORT,
    SHIPPED,
    open_bundle,
)
from training.evaluate import scores_of


def test_the_shipped_bundle_says_here_what_it_said_where_it_was_made() -> None:
    shipped = open_bundle(SHIPPED)
    for name, scores in shipped.golden.scores.items():
        again = scores_of(shipped.path / name, shipped.golden.crops, shipped.manifest.input)
        margin, before = again[:, 1] - again[:, 0], scores[:, 1] - scores[:, 0]
        assert np.abs(margin - before).max() < (1e-3 if name == FP32 else 0.3)


def test_the_shipped_bundle_is_as_accurate_as_required() -> None:
    """AUROC at least 0.985 on unseen patients, accuracy within half a point of FP32, one decision in 100 flipped."""
    report = json.loads((SHIPPED / REPORT).read_text())
    (found,) = (e for e in report["evaluations"] if e["data"]["split"] == "test")
    fp32, int8 = found["engines"]["fp32"], found["engines"]["int8-cpu"]
    assert int8["auroc"]["value"] >= 0.985
    assert abs(int8["accuracy"]["value"] - fp32["accuracy"]["value"]) <= 0.005
    assert found["agreement"]["int8-cpu"]["flip_share"] <= 0.01
