"""One's own folders: patients stay whole, whichever way round the folders lie."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from evaluation.datasets import folders

Touch = Callable[[Path, list[str]], None]


def test_patients_stay_whole_and_fill_every_split(drawn_folder: Path) -> None:
    samples = folders.find(drawn_folder)
    by_patient = {s.patient: s.split for s in samples}
    assert len({(s.patient, s.split) for s in samples}) == len(by_patient) == 6
    assert Counter(by_patient.values()) == {"training": 4, "validation": 1, "test": 1}


def test_healthy_and_ill_patients_are_split_alike(tmp_path: Path, touch_images: Touch) -> None:
    names = [f"healthy-{k}/normal/1.png" for k in range(3)] + [f"ill-{k}/blast/1.png" for k in range(3)]
    touch_images(tmp_path, names)
    samples = folders.find(tmp_path)
    for split in ("training", "validation", "test"):
        assert {s.kind for s in samples if s.split == split} == {"normal", "blast"}


def test_classes_above_patients_are_the_same_as_patients_above_classes(tmp_path: Path, touch_images: Touch) -> None:
    places = [(f"p{k}", kind) for k in range(6) for kind in ("normal", "blast")]
    touch_images(tmp_path / "a", [f"{patient}/{kind}/{n}.png" for patient, kind in places for n in range(2)])
    touch_images(tmp_path / "b", [f"{kind}/{patient}/{n}.png" for patient, kind in places for n in range(2)])
    first, second = (
        sorted((s.patient, s.label, s.split, s.path.name) for s in folders.find(tmp_path / name)) for name in "ab"
    )
    assert first == second
    assert len({patient for patient, *_ in first}) == 6


@pytest.mark.parametrize("name", ["p1/blast/slide-{}/1.png", "blast/p1/slide-{}/1.png", "Blast/p1/a/{}.png"])
def test_slides_of_a_patient_are_no_patients(tmp_path: Path, touch_images: Touch, name: str) -> None:
    touch_images(tmp_path, ["p2/normal/1.png", *(name.format(k) for k in range(4))])
    assert {s.patient for s in folders.find(tmp_path)} == {"p1", "p2"}


def test_the_lineage_of_a_blast_and_what_is_no_cell_can_be_told(tmp_path: Path, touch_images: Touch) -> None:
    touch_images(tmp_path, [f"p/{name}/1.png" for name in ("normal", "blast", "lymphoblast", "myeloblast", "other")])
    assert {s.label: s.kind for s in folders.find(tmp_path)} == {
        "normal": "normal",
        "blast": "blast",
        "lymphoblast": "blast",
        "myeloblast": "blast",
        "other": "reject",
    }


def test_an_image_without_a_patient_counts_as_one_and_is_marked(tmp_path: Path, touch_images: Touch) -> None:
    touch_images(tmp_path, [f"{kind}/{k}.png" for kind in ("normal", "blast") for k in range(4)])
    samples = folders.find(tmp_path)
    assert len({s.patient for s in samples}) == 8
    assert all(s.by_image for s in samples)
