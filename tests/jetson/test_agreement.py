"""TensorRT against ONNX Runtime on this board, as decisions and as distances; `make test-jetson`.

INT8 runtimes round differently, so equality is not asked for: few decisions may flip, and the scores may be apart by a
small part of their spread.
"""

import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import cv2
import numpy as np
import pytest

from common.errors import EngineError
from contract.bundle import SHIPPED, Bundle, open_bundle
from contract.decide import blast_probability
from contract.manifest import Precision
from contract.pixels import stack, to_batch
from contract.types import Image, Tensor
from engines.build import build_engine
from engines.choice import GOLDEN_TOLERANCE, Engine, golden_difference, open_engine
from engines.plan import open_engine as open_trt

pytestmark = pytest.mark.requires_tensorrt
PRECISIONS: list[Precision] = ["int8", "fp16", "fp32"]
FLIPS_AT_MOST = 0.01
DISTANCE_AT_MOST = 0.05
"""Root mean square distance of the margins, in units of their spread."""
CELLS = 2000


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return open_bundle(SHIPPED)


@pytest.fixture(scope="module")
def reference(bundle: Bundle) -> Iterator[Engine]:
    with closing(open_engine(bundle, "onnxruntime")) as engine:
        yield engine


@pytest.fixture(scope="module", params=PRECISIONS)
def built(request: pytest.FixtureRequest, bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """An engine built here and now; the first build of a precision takes minutes."""
    state_dir = tmp_path_factory.mktemp("state")
    try:
        made = build_engine(bundle, state_dir=state_dir, precision=request.param)
    except EngineError as missing:
        pytest.skip(str(missing))
    print(made.layers)  # noqa: T201 - pytest -s shows it
    with closing(open_trt(bundle, state_dir=state_dir, precision=request.param)) as engine:
        yield engine


def test_the_golden_batch_scores_as_where_the_bundle_was_made(built: Engine, bundle: Bundle) -> None:
    assert golden_difference(built, bundle) <= GOLDEN_TOLERANCE


def test_the_golden_batch_gets_the_decisions_of_onnx_runtime(built: Engine, reference: Engine, bundle: Bundle) -> None:
    compare(built, reference, bundle.golden.batch, bundle)


def test_a_folder_of_cells_gets_the_decisions_of_onnx_runtime(built: Engine, reference: Engine, bundle: Bundle) -> None:
    spec = bundle.manifest.input
    compare(built, reference, to_batch(stack(cells(spec.size), spec), spec), bundle)


def test_rows_keep_their_order_whatever_the_batch(built: Engine, bundle: Bundle) -> None:
    """Batches of 1, of the largest, and beyond it; on the GPU, kernels differ by batch size."""
    batch = np.concatenate([bundle.golden.batch] * 3)
    together = built.scores(batch)
    alone = np.concatenate([built.scores(cell[None]) for cell in batch])
    spread = float(together.std())
    assert float(np.sqrt(np.mean((together - alone) ** 2))) <= DISTANCE_AT_MOST * spread


def compare(built: Engine, reference: Engine, batch: Tensor, bundle: Bundle) -> None:
    margins, flips = [], []
    for engine in (reference, built):
        scores = engine.scores(batch)
        probability = blast_probability(scores, bundle.manifest, engine.precision)
        flips.append(probability >= bundle.manifest.decisions.of(engine.precision).threshold)
        margins.append(scores[:, 1] - scores[:, 0])
    flipped = int((flips[0] != flips[1]).sum())
    apart = np.abs(margins[1] - margins[0])
    distance = float(np.sqrt(np.mean(apart**2)) / margins[0].std())
    quantiles = np.quantile(apart, [0.5, 0.9, 0.99, 1])
    print(  # noqa: T201
        f"{built.name} against {reference.name}: {flipped} of {len(batch)} decisions flipped, "
        f"RMSE/sigma {distance:.4f}, distances at 50, 90, 99, 100 %: {np.round(quantiles, 4)}"
    )
    assert flipped <= max(1, FLIPS_AT_MOST * len(batch))
    assert distance <= DISTANCE_AT_MOST


def cells(size: int) -> list[Image]:
    """Middles of the images below MICROSCOPE_DATA, which need not be whole cells to compare two runtimes."""
    root = os.environ.get("MICROSCOPE_DATA")
    paths = sorted(p for p in Path(root).rglob("*") if p.suffix.lower() in {".bmp", ".jpg", ".png"}) if root else []
    if not paths:
        pytest.skip("MICROSCOPE_DATA names no folder with images")
    step = max(1, len(paths) // CELLS)
    images = (cv2.imread(str(path)) for path in paths[::step])
    whole = (image for image in images if image is not None)
    return [np.asarray(cv2.resize(i, (size, size), interpolation=cv2.INTER_AREA), np.uint8) for i in whole]
