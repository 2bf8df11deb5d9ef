"""DeepAPL: every cell lands where its patient belongs."""

import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from evaluation.datasets import deepapl
from evaluation.datasets.sample import Sample


def split_of(samples: list[Sample], patient: str) -> set[str]:
    return {s.split for s in samples if s.patient == patient}


@pytest.fixture
def checkout(tmp_path: Path, touch_images: Callable[[Path, list[str]], None]) -> Path:
    signed = "Signed slides"
    touch_images(
        tmp_path / "Data",
        [
            f"All/Patient_04/{signed}/Blast, no lineage spec/1.jpg",
            f"All/Patient_05/{signed}/Lymphocyte/1.jpg",
            f"All/Patient_06/2019-01-01_1200/{signed}/Monocyte/1.jpg",
            "All/Patient_06/Unsigned slides/Monocyte/2.jpg",
            f"All/Patient_79/{signed}/Smudge cells/1.jpg",
            f"All/Patient_80/{signed}/Promyelocyte/1.jpg",
            f"All/Patient_101/{signed}/Basophil/1.jpg",
            f"Clinical_Case/cc/{signed}/Eosinophils/1.jpg",
        ],
    )
    (tmp_path / "Data/All/Patient_05" / signed / "Lymphocyte/Thumbs.db").write_bytes(b"no image")
    return tmp_path


def test_the_split_is_by_the_number_of_the_patient(checkout: Path) -> None:
    samples = deepapl.find(checkout)
    assert split_of(samples, "004") == {"training"}
    assert split_of(samples, "005") == {"validation"}
    assert split_of(samples, "006") == {"training"}
    assert split_of(samples, "080") == split_of(samples, "101") == split_of(samples, "clinical case") == {"test"}


def test_only_signed_images_are_taken(checkout: Path) -> None:
    """Neither the unsigned slide nor the thumbnail file is a cell."""
    assert len(deepapl.find(checkout)) == 7


def test_blasts_are_myeloblasts_and_what_is_no_cell_to_judge_is_other(checkout: Path) -> None:
    found = {s.group: (s.kind, s.label) for s in deepapl.find(checkout)}
    assert found == {
        "Blast, no lineage spec": ("blast", "myeloblast"),
        **dict.fromkeys(["Monocyte", "Basophil", "Eosinophils", "Lymphocyte"], ("normal", "normal")),
        "Smudge cells": ("reject", "other"),
        "Promyelocyte": ("rare", ""),
    }


def test_the_real_one_has_the_cells_and_patients_of_the_protocol() -> None:
    """Image files; the 182 thumbnail files that lie among them are no cells."""
    root = os.environ.get("MICROSCOPE_DEEPAPL")
    if not root:
        pytest.skip("MICROSCOPE_DEEPAPL does not name a checkout of DeepAPL")
    if not (Path(root) / "Data/Clinical_Case").is_dir():
        pytest.skip("the checkout of DeepAPL lacks Data/Clinical_Case")
    samples = deepapl.find(Path(root))
    found = {}
    for split in ("training", "validation", "test"):
        cells = [s for s in samples if s.split == split and s.labelled]
        kinds = Counter(s.kind for s in cells)
        found[split] = kinds["blast"], kinds["normal"], len({s.patient for s in cells})
    assert found == {"training": (2329, 4595, 67), "validation": (306, 929, 13), "test": (711, 1696, 27)}
    assert len(samples) == 15809
