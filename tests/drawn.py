"""A labelled folder of cells that we draw ourselves."""

from pathlib import Path

import cv2
import numpy as np

from contract.manifest import InputSpec
from export.golden import draw_cell

WIDE = InputSpec(um_per_pixel=0.2, size=150, mean=(0, 0, 0), std=(1, 1, 1))


def write_cells(root: Path, *, patients: int, each: int, seed: int = 3) -> Path:
    """Layout ``folders``, 0.2 um per pixel: of each patient so many normal cells, and as many blasts."""
    rng = np.random.default_rng(seed)
    for patient in range(patients):
        for kind in ("normal", "blast"):
            folder = root / f"patient-{patient}" / kind
            folder.mkdir(parents=True)
            for k in range(each):
                cv2.imwrite(str(folder / f"{k}.png"), draw_cell(WIDE, blast=kind == "blast", rng=rng))
    return root
