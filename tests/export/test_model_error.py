"""What an export says of the error that its model is known to make."""

import json
from pathlib import Path

import numpy as np

from contract.bundle import MODEL_CARD, REPORT, REPORT_PAGE, Bundle
from contract.known_error import KnownError
from contract.manifest import Decision, Decisions
from contract.types import Tensor
from evaluation.datasets.sample import Sample, Split
from evaluation.judgement import PREFERRED
from export.card import model_card
from export.model_error import known_error_of, known_error_words
from export.scored import Scored

DECISION = Decision(temperature=1.0, threshold=0.5, uncertain_from=0.4, uncertain_to=0.6)
ON = "patients of the validation split of layout folders"


def scores_of(samples: list[Sample], missed: int) -> Tensor:
    """Every cell is called what it is, but for the first blasts of each patient."""
    margins = [5.0 if s.kind == "blast" and int(s.path.name) >= missed else -5.0 for s in samples]
    return np.array([(0.0, margin) for margin in margins], np.float32)


def known(split: Split) -> KnownError | None:
    samples = [
        Sample(Path(str(k)), f"p{p}", "", kind, split)
        for p in range(6) for kind in ("normal", "blast") for k in range(20)
    ]  # fmt: skip
    scores = {"fp32": scores_of(samples, 0), PREFERRED: scores_of(samples, 2)}
    fit = Scored(samples, np.zeros((len(samples), 8, 8, 3), np.uint8), scores)
    return known_error_of(fit, Decisions(fp32=DECISION, int8=DECISION), None, on=ON)


def test_the_error_of_each_precision_is_that_of_its_own_scores() -> None:
    found = known("validation")
    assert found is not None
    assert (found.fp32.sensitivity.mean, found.int8.sensitivity.mean, found.int8.specificity.mean) == (1.0, 0.9, 1.0)
    assert (found.int8.sensitivity.patients, found.on) == (6, ON)


def test_cells_that_trained_the_model_say_nothing_of_its_error() -> None:
    assert known("training") is None


def test_report_and_card_say_it_in_one_line(made: Bundle) -> None:
    assert made.manifest.known_error is None, "its cells have no labels"
    unknown = "Known error: not measured"
    assert unknown in (made.path / REPORT_PAGE).read_text()
    assert unknown in (made.path / MODEL_CARD).read_text()
    manifest = made.manifest.model_copy(update={"known_error": known("validation")})
    words = known_error_words(manifest)
    assert "sensitivity 90.0 % (standard deviation between 6 patients " in words
    assert words in model_card(manifest, json.loads((made.path / REPORT).read_text()))
