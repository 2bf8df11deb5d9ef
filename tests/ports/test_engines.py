"""What every engine promises; each is one parameter, on the shipped bundle."""

from collections.abc import Iterator

import numpy as np
import pytest

from agent.engines import ENGINES, GOLDEN_TOLERANCE, Engine, golden_difference, open_engine
from agent.engines.ort import MAX_BATCH
from contract.bundle import INT8_CPU, SHIPPED, Bundle, Golden, open_bundle
from contract.errors import EngineError, IntegrityError, UsageError


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return open_bundle(SHIPPED)


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest, bundle: Bundle) -> Iterator[Engine]:
    opened = open_engine(bundle, request.param)
    yield opened
    opened.close()


@pytest.mark.parametrize("count", [0, 1, MAX_BATCH, MAX_BATCH + 1])
def test_any_number_of_cells_gets_as_many_rows(engine: Engine, bundle: Bundle, count: int) -> None:
    batch = np.resize(bundle.golden.batch, (count, *bundle.golden.batch.shape[1:]))
    scores = engine.scores(batch)
    assert scores.shape == (count, 2)
    assert scores.dtype == np.float32


def test_rows_keep_their_order(engine: Engine, bundle: Bundle) -> None:
    forth, back = engine.scores(bundle.golden.batch), engine.scores(bundle.golden.batch[::-1].copy())
    np.testing.assert_allclose(forth, back[::-1], atol=1e-4)


def test_a_cell_gets_the_same_scores_in_whatever_company(engine: Engine, bundle: Bundle) -> None:
    together = engine.scores(bundle.golden.batch)
    alone = np.concatenate([engine.scores(cell[None]) for cell in bundle.golden.batch])
    np.testing.assert_allclose(together, alone, atol=1e-4)


def test_the_golden_batch_scores_as_it_did_where_the_bundle_was_made(engine: Engine, bundle: Bundle) -> None:
    assert golden_difference(engine, bundle) <= GOLDEN_TOLERANCE


def test_closing_twice_is_fine_and_a_closed_engine_says_so(engine: Engine, bundle: Bundle) -> None:
    engine.close()
    engine.close()
    with pytest.raises(EngineError, match="closed"):
        engine.scores(bundle.golden.batch)


def test_a_machine_that_scores_otherwise_is_refused(bundle: Bundle) -> None:
    shifted = {INT8_CPU: bundle.golden.scores[INT8_CPU] + 1}
    other = Bundle(
        bundle.path, bundle.manifest, Golden(bundle.golden.crops, bundle.golden.batch, shifted), bundle.sha256
    )
    with pytest.raises(IntegrityError, match="golden"):
        open_engine(other)


def test_an_unknown_engine_is_named_with_the_known_ones(bundle: Bundle) -> None:
    with pytest.raises(UsageError, match="onnxruntime"):
        open_engine(bundle, "abacus")
