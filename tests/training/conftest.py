"""A small labelled folder of cells that we draw ourselves."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from contract.manifest import InputSpec
from export.golden import draw_cell

WIDE = InputSpec(um_per_pixel=0.2, size=150, mean=(0, 0, 0), std=(1, 1, 1))


@pytest.fixture(scope="session")
def drawn_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Layout ``folders``: six patients with three normal cells and three blasts each, 0.2 um per pixel."""
    root = tmp_path_factory.mktemp("cells")
    rng = np.random.default_rng(3)
    for patient in range(6):
        for kind in ("normal", "blast"):
            folder = root / f"patient-{patient}" / kind
            folder.mkdir(parents=True)
            for k in range(3):
                cv2.imwrite(str(folder / f"{k}.png"), draw_cell(WIDE, blast=kind == "blast", rng=rng))
    return root


@pytest.fixture(scope="session")
def touch_images() -> Callable[[Path, list[str]], None]:
    """Write tiny grey images at the given paths below a root."""

    def write(root: Path, names: list[str]) -> None:
        for name in names:
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), np.full((8, 8, 3), 128, np.uint8))

    return write
