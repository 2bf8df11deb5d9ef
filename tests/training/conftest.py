"""A small labelled folder of cells that we draw ourselves."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.drawn import write_cells


@pytest.fixture(scope="session")
def drawn_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Layout ``folders``: six patients with three normal cells and three blasts each, 0.2 um per pixel."""
    return write_cells(tmp_path_factory.mktemp("cells"), patients=6, each=3)


@pytest.fixture(scope="session")
def touch_images() -> Callable[[Path, list[str]], None]:
    """Write tiny grey images at the given paths below a root."""

    def write(root: Path, names: list[str]) -> None:
        for name in names:
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), np.full((8, 8, 3), 128, np.uint8))

    return write
