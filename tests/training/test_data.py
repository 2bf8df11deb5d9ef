"""Every cell lands where its patient belongs."""

import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from contract.errors import UsageError
from contract.manifest import InputSpec
from training.data import LAYOUTS, Sample, cnmc_patient, labelled, labels_of, read_crops, read_image, shuffled

Touch = Callable[[Path, list[str]], None]
SPEC = InputSpec(um_per_pixel=0.2, size=16, mean=(0, 0, 0), std=(1, 1, 1))


def split_of(samples: list[Sample], patient: str) -> set[str]:
    return {s.split for s in samples if s.patient == patient}


@pytest.fixture
def deepapl(tmp_path: Path, touch_images: Touch) -> Path:
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


def test_deepapl_is_split_by_the_number_of_the_patient(deepapl: Path) -> None:
    samples = LAYOUTS["deepapl"].find(deepapl)
    assert split_of(samples, "004") == {"training"}
    assert split_of(samples, "005") == {"validation"}
    assert split_of(samples, "006") == {"training"}
    assert split_of(samples, "080") == split_of(samples, "101") == split_of(samples, "clinical case") == {"test"}


def test_deepapl_takes_signed_images_only(deepapl: Path) -> None:
    """Neither the unsigned slide nor the thumbnail file is a cell."""
    assert len(LAYOUTS["deepapl"].find(deepapl)) == 7


def test_deepapl_classes_are_two_and_the_rest_is_apart(deepapl: Path) -> None:
    kinds = {s.group: s.kind for s in LAYOUTS["deepapl"].find(deepapl)}
    assert kinds["Blast, no lineage spec"] == "blast"
    assert kinds["Monocyte"] == kinds["Basophil"] == kinds["Eosinophils"] == kinds["Lymphocyte"] == "normal"
    assert kinds["Smudge cells"] == "reject"
    assert kinds["Promyelocyte"] == "rare"


def test_the_real_deepapl_has_the_cells_and_patients_of_the_protocol() -> None:
    """Image files; the 182 thumbnail files that lie among them are no cells."""
    root = os.environ.get("MICROSCOPE_DEEPAPL")
    if not root:
        pytest.skip("MICROSCOPE_DEEPAPL does not name a checkout of DeepAPL")
    samples = LAYOUTS["deepapl"].find(Path(root))
    found = {}
    for split in ("training", "validation", "test"):
        cells = [s for s in samples if s.split == split and s.labelled]
        kinds = Counter(s.kind for s in cells)
        found[split] = kinds["blast"], kinds["normal"], len({s.patient for s in cells})
    assert found == {"training": (2329, 4595, 67), "validation": (306, 929, 13), "test": (711, 1696, 27)}
    assert len(samples) == 15809


def test_cnmc_joins_subjects_that_share_cells_and_keeps_patients_from_healthy_ones() -> None:
    assert cnmc_patient("h3") == cnmc_patient("H10") == "H10"
    assert cnmc_patient("H6") == cnmc_patient("H2") == "H2"
    assert cnmc_patient("10") != cnmc_patient("H10")
    assert cnmc_patient("3") == "3"


def test_cnmc_drops_the_second_of_twin_cells_and_divides_no_group(tmp_path: Path, touch_images: Touch) -> None:
    touch_images(
        tmp_path,
        [
            "fold_1/hem/UID_H10_1_1_hem.png",
            "fold_2/hem/UID_h3_1_1_hem.png",
            "fold_2/hem/UID_h3_5_1_hem.png",
            "fold_0/all/UID_10_1_1_all.png",
            "fold_2/all/UID_13_1_1_all.png",
        ],
    )
    samples = LAYOUTS["cnmc"].find(tmp_path)
    assert sorted(s.path.stem for s in samples if s.patient == "H10") == ["UID_H10_1_1_hem", "UID_h3_5_1_hem"]
    assert split_of(samples, "H10") == split_of(samples, "10") == {"training"}
    assert split_of(samples, "13") == {"validation"}


def test_cnmc_keeps_a_twin_whose_partner_is_not_there(tmp_path: Path, touch_images: Touch) -> None:
    touch_images(tmp_path, ["UID_H6_1_1_hem.png"])
    assert len(LAYOUTS["cnmc"].find(tmp_path)) == 1


def test_cnmc_reads_subjects_of_the_preliminary_part_from_its_table(tmp_path: Path, touch_images: Touch) -> None:
    part = "C-NMC_test_prelim_phase_data"
    touch_images(tmp_path, ["fold_0/all/UID_1_1_1_all.png", f"{part}/1.png", f"{part}/2.png", f"{part}/3.png"])
    (tmp_path / f"{part}_labels.csv").write_text(
        "Patient_ID,new_names,labels\nUID_57_29_1_all.bmp,1.png,1\nUID_H49_35_1_hem.bmp,2.png,0\n"
    )
    found = {s.path.name: (s.patient, s.kind, s.split) for s in LAYOUTS["cnmc"].find(tmp_path) if s.split == "test"}
    assert found == {"1.png": ("57", "blast", "test"), "2.png": ("H49", "normal", "test")}


@pytest.mark.requires_data
@pytest.mark.parametrize("pack", ["cnmc2019-subset", "cnmc2019-extra"])
def test_no_real_cnmc_subject_is_in_two_splits(pack: str) -> None:
    data = os.environ.get("MICROSCOPE_DATA")
    if not data:
        pytest.skip("MICROSCOPE_DATA does not name the folder of real images")
    samples = LAYOUTS["cnmc"].find(Path(data) / pack)
    places = {(s.patient, s.split) for s in samples}
    assert len(places) == len({s.patient for s in samples})
    assert len(samples) == len(list((Path(data) / pack).rglob("UID_*.png")))


def test_folders_of_patients_stay_whole_and_fill_every_split(drawn_folder: Path) -> None:
    samples = LAYOUTS["folders"].find(drawn_folder)
    by_patient = {s.patient: s.split for s in samples}
    assert len({(s.patient, s.split) for s in samples}) == len(by_patient) == 6
    assert Counter(by_patient.values()) == {"training": 4, "validation": 1, "test": 1}


def test_folders_split_healthy_and_ill_patients_alike(tmp_path: Path, touch_images: Touch) -> None:
    names = [f"healthy-{k}/normal/1.png" for k in range(3)] + [f"ill-{k}/blast/1.png" for k in range(3)]
    touch_images(tmp_path, names)
    samples = LAYOUTS["folders"].find(tmp_path)
    for split in ("training", "validation", "test"):
        assert {s.kind for s in samples if s.split == split} == {"normal", "blast"}


def test_folders_without_patients_take_each_image_as_one(tmp_path: Path, touch_images: Touch) -> None:
    touch_images(tmp_path, [f"{kind}/{k}.png" for kind in ("normal", "blast") for k in range(4)])
    assert len({s.patient for s in LAYOUTS["folders"].find(tmp_path)}) == 8


@pytest.mark.parametrize("layout", sorted(LAYOUTS))
def test_a_wrong_folder_is_refused_with_its_name(layout: str, tmp_path: Path) -> None:
    for root in (tmp_path, tmp_path / "missing"):
        with pytest.raises(UsageError, match=str(root)):
            LAYOUTS[layout].find(root)


def test_the_leaky_split_keeps_the_sizes_and_mixes_the_patients(drawn_folder: Path) -> None:
    samples = LAYOUTS["folders"].find(drawn_folder)
    dealt = shuffled(samples, 0)
    assert Counter(s.split for s in dealt) == Counter(s.split for s in samples)
    assert len({(s.patient, s.split) for s in dealt}) > 6
    assert dealt == shuffled(samples[::-1], 0)


def test_crops_come_in_the_order_of_their_samples(drawn_folder: Path) -> None:
    samples = labelled(LAYOUTS["folders"].find(drawn_folder), "training")
    crops = read_crops(samples, 0.2, SPEC, quiet=True)
    alone = [read_crops([s], 0.2, SPEC, quiet=True)[0] for s in samples]
    assert np.array_equal(crops, np.array(alone))
    assert labels_of(samples).tolist() == [int("blast" in str(s.path)) for s in samples]


def test_a_crop_with_a_margin_holds_the_crop_without(drawn_folder: Path) -> None:
    """Training turns and shifts inside the wider crop; its middle is what the agent will cut."""
    spec = InputSpec(um_per_pixel=24 / 112, size=112, mean=(0, 0, 0), std=(1, 1, 1))
    wide = spec.model_copy(update={"size": 168})
    samples = LAYOUTS["folders"].find(drawn_folder)[:2]
    outer = read_crops(samples, 0.08, wide, quiet=True)[:, 28:140, 28:140]
    inner = read_crops(samples, 0.08, spec, quiet=True)
    assert np.abs(outer.astype(int) - inner).max() <= 1


def test_a_broken_image_is_named(tmp_path: Path) -> None:
    path = tmp_path / "broken.png"
    path.write_bytes(b"no image")
    with pytest.raises(UsageError, match=r"broken\.png"):
        read_crops([Sample(path, "1", "", "blast", "training")], 0.2, SPEC, quiet=True)


def test_a_cut_image_is_read_as_far_as_it_goes_and_any_name_will_do(tmp_path: Path) -> None:
    """DeepAPL holds a few JPEGs without their end."""
    rows = np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype(np.uint8)
    whole = cv2.imencode(".jpg", rows)[1].tobytes()
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/cell\xff.jpg"))
    path.write_bytes(whole[: len(whole) - 200])
    assert read_image(path).shape == (64, 64, 3)


def test_what_is_no_image_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_text("text")
    with pytest.raises(UsageError, match=r"a\.jpg can not be read"):
        read_image(tmp_path / "a.jpg")
