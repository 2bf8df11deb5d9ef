"""C-NMC 2019: subjects that are one person are never divided, with an index and without."""

import os
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from common.errors import UsageError
from evaluation.datasets import cnmc
from evaluation.datasets.cnmc import patient_of
from evaluation.datasets.sample import Sample

Touch = Callable[[Path, list[str]], None]
HEAD = "file,label,subject_group,split,fold5\n"


def split_of(samples: list[Sample], patient: str) -> set[str]:
    return {s.split for s in samples if s.patient == patient}


@pytest.fixture
def indexed(tmp_path: Path, touch_images: Touch) -> Path:
    """Two cells of one person under two subjects, in two official folds; and a numbered one of the preliminary part."""
    root = tmp_path / "cnmc"
    touch_images(root, ["fold_0/all/UID_75_1_1_all.webp", "fold_2/all/UID_51_9_1_all.webp", "prelim/7.webp"])
    rows = ["fold_0/all/UID_75_1_1_all.webp,all,51+75+78,val,3", "fold_2/all/UID_51_9_1_all.webp,all,51+75+78,val,3"]
    (root / "index.csv").write_text(HEAD + "\n".join([*rows, "prelim/7.webp,hem,H49,test,2\n"]))
    return root


@pytest.mark.parametrize(
    "one_person",
    [
        ["51", "75", "78"],
        ["1", "15", "16", "17", "18", "20", "21"],
        ["43", "44"],
        ["H14", "H24"],
        ["H10", "h3", "H3"],
        ["H2", "H4", "H5", "H6", "H7"],
    ],
)
def test_subjects_that_share_cells_are_one_patient(one_person: list[str]) -> None:
    assert len({patient_of(subject) for subject in one_person}) == 1


def test_a_patient_and_a_healthy_subject_of_one_number_are_two_people() -> None:
    for number in (2, 3, 4, 5, 7, 10, 14):
        assert patient_of(str(number)) != patient_of(f"H{number}") == patient_of(f"h{number}")


def test_an_index_says_who_is_whose_and_in_which_split_and_fold(indexed: Path) -> None:
    found = {s.path.stem: (s.patient, s.label, s.kind, s.split, s.fold) for s in cnmc.find(indexed)}
    assert found == {
        "UID_75_1_1_all": ("51+75+78", "lymphoblast", "blast", "validation", 3),
        "UID_51_9_1_all": ("51+75+78", "lymphoblast", "blast", "validation", 3),
        "7": ("H49", "normal", "normal", "test", 2),
    }


def test_a_folder_below_the_index_or_above_it_follows_the_index_too(indexed: Path) -> None:
    assert [s.patient for s in cnmc.find(indexed / "fold_0")] == ["51+75+78"]
    assert len(cnmc.find(indexed.parent)) == 3


def test_images_that_an_index_names_and_that_are_not_copied_are_left_out(indexed: Path) -> None:
    (indexed / "prelim/7.webp").unlink()
    assert len(cnmc.find(indexed)) == 2


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ("prelim/7.webp,hem,H49,prelim,2", "split of prelim/7.webp is 'prelim'; it must be one of train, val, test"),
        ("prelim/7.webp,hem,H49,test,5", "fold5 of prelim/7.webp is '5'"),
        ("prelim/7.webp,ALL,H49,test,2", "label of prelim/7.webp is 'ALL'"),
        ("prelim/7.webp,hem,,test,2", "prelim/7.webp has no subject_group"),
        ("prelim/7.webp,hem,51+75+78,test,3", r"divides 51\+75\+78 between validation \(fold 3\) and test \(fold 3\)"),
        (
            "prelim/7.webp,hem,51+75+78,val,2",
            r"divides 51\+75\+78 between validation \(fold 3\) and validation \(fold 2",
        ),
        ("prelim/8.webp,hem,H49,test,2", r"does not name 1 of the images beside it, for example .*7\.webp"),
        ("fold_0/all/UID_75_1_1_all.webp,all,51+75+78,val,3", "names fold_0/all/UID_75_1_1_all.webp again in line 4"),
    ],
)
def test_an_index_with_a_fault_is_refused_by_name(indexed: Path, row: str, fault: str) -> None:
    index = indexed / "index.csv"
    index.write_text(index.read_text().replace("prelim/7.webp,hem,H49,test,2", row))
    with pytest.raises(UsageError, match=rf"index\.csv.*{fault}"):
        cnmc.find(indexed)


def test_without_an_index_a_group_is_divided_by_no_official_fold(tmp_path: Path, touch_images: Touch) -> None:
    touch_images(
        tmp_path,
        [
            "fold_1/hem/UID_H10_1_1_hem.png",
            "fold_2/hem/UID_h3_1_1_hem.png",
            "fold_2/hem/UID_h3_5_1_hem.png",
            "fold_0/all/UID_10_1_1_all.png",
            "fold_2/all/UID_13_1_1_all.png",
            "fold_1/all/UID_51_1_1_all.webp",
            "fold_2/all/UID_75_1_1_all.webp",
            "fold_2/all/UID_78_1_1_all.webp",
        ],
    )
    samples = cnmc.find(tmp_path)
    assert sorted(s.path.stem for s in samples if s.patient == "H3+H10") == ["UID_H10_1_1_hem", "UID_h3_5_1_hem"]
    assert split_of(samples, "H3+H10") == split_of(samples, "10") == split_of(samples, "51+75+78") == {"training"}
    assert split_of(samples, "13") == {"validation"}
    assert {s.fold for s in samples} == {None}


def test_a_twin_whose_partner_is_not_there_is_kept(tmp_path: Path, touch_images: Touch) -> None:
    touch_images(tmp_path, ["UID_H6_1_1_hem.png"])
    assert len(cnmc.find(tmp_path)) == 1


def test_the_preliminary_part_takes_its_subjects_from_its_table(tmp_path: Path, touch_images: Touch) -> None:
    """Whoever is in it is in the test with all cells."""
    part = "C-NMC_test_prelim_phase_data"
    touch_images(tmp_path, ["fold_0/all/UID_1_1_1_all.png", "fold_0/hem/UID_H49_1_1_hem.png"])
    touch_images(tmp_path, [f"{part}/{k}.png" for k in (1, 2, 3)])
    (tmp_path / f"{part}_labels.csv").write_text(
        "Patient_ID,new_names,labels\nUID_57_29_1_all.bmp,1.bmp,1\nUID_H49_35_1_hem.bmp,2.bmp,0\n"
    )
    found = {s.path.name: (s.patient, s.kind) for s in cnmc.find(tmp_path) if s.split == "test"}
    assert found == {"1.png": ("57", "blast"), "2.png": ("H49", "normal"), "UID_H49_1_1_hem.png": ("H49", "normal")}


@pytest.mark.parametrize(("side", "um_per_pixel"), [(450, 0.05), (225, 0.10), (150, 0.15)])
def test_the_scale_is_told_by_the_size_of_the_images(tmp_path: Path, side: int, um_per_pixel: float) -> None:
    cv2.imwrite(str(tmp_path / "UID_1_1_1_all.bmp"), np.zeros((side, side, 3), np.uint8))
    sample = cnmc.find(tmp_path)[0]
    assert sample.um_per_pixel == pytest.approx(um_per_pixel)
    assert sample.cut_out


def test_an_image_that_is_not_square_has_no_scale(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "UID_1_1_1_all.bmp"), np.zeros((300, 450, 3), np.uint8))
    with pytest.raises(UsageError, match=r"UID_1_1_1_all\.bmp is 450 x 300"):
        cnmc.find(tmp_path)


@pytest.mark.requires_data
def test_the_real_one_has_the_groups_and_cells_of_its_index() -> None:
    data = os.environ.get("MICROSCOPE_DATA")
    if not data:
        pytest.skip("MICROSCOPE_DATA does not name the folder of real images")
    samples = cnmc.find(Path(data) / "cnmc2019")
    found = {}
    for split in ("training", "validation", "test"):
        for kind in ("blast", "normal"):
            mine = [s for s in samples if (s.split, s.kind) == (split, kind)]
            found[split, kind] = len(mine), len({s.patient for s in mine})
    assert found == {
        ("training", "blast"): (3043, 23),
        ("training", "normal"): (1465, 9),
        ("validation", "blast"): (545, 4),
        ("validation", "normal"): (351, 4),
        ("test", "blast"): (1669, 10),
        ("test", "normal"): (801, 9),
    }
    assert {s.um_per_pixel for s in samples} == {0.10}
    assert len({(s.patient, s.fold) for s in samples}) == len({s.patient for s in samples}) == 59
    assert {(s.fold, s.kind) for s in samples} == {(k, kind) for k in range(5) for kind in ("blast", "normal")}


@pytest.mark.requires_data
def test_the_groups_known_by_name_are_those_of_the_real_index() -> None:
    data = os.environ.get("MICROSCOPE_DATA")
    if not data:
        pytest.skip("MICROSCOPE_DATA does not name the folder of real images")
    for sample in cnmc.find(Path(data) / "cnmc2019/training_data"):
        match = cnmc.FILE.fullmatch(sample.path.stem)
        assert match is not None
        assert patient_of(match["subject"]) == sample.patient
