"""What all data sets have in common: refusals, splits by image, crops."""

import os
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest

from contract.errors import UsageError
from contract.manifest import InputSpec
from training.datasets import LAYOUTS
from training.datasets.crops import read_crops
from training.datasets.files import read_image
from training.datasets.sample import Sample, labelled, labels_of, shuffled

SPEC = InputSpec(um_per_pixel=0.2, size=16, mean=(0, 0, 0), std=(1, 1, 1))


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
    crops = read_crops(samples, SPEC, um_per_pixel=0.2, quiet=True)
    alone = [read_crops([s], SPEC, um_per_pixel=0.2, quiet=True)[0] for s in samples]
    assert np.array_equal(crops, np.array(alone))
    assert labels_of(samples).tolist() == [int("blast" in str(s.path)) for s in samples]


def test_a_crop_with_a_margin_holds_the_crop_without(drawn_folder: Path) -> None:
    """Training turns and shifts inside the wider crop; its middle is what the agent will cut."""
    spec = InputSpec(um_per_pixel=24 / 112, size=112, mean=(0, 0, 0), std=(1, 1, 1))
    wide = spec.model_copy(update={"size": 168})
    samples = LAYOUTS["folders"].find(drawn_folder)[:2]
    outer = read_crops(samples, wide, um_per_pixel=0.08, quiet=True)[:, 28:140, 28:140]
    inner = read_crops(samples, spec, um_per_pixel=0.08, quiet=True)
    assert np.abs(outer.astype(int) - inner).max() <= 1


def test_a_broken_image_is_named(tmp_path: Path) -> None:
    path = tmp_path / "broken.png"
    path.write_bytes(b"no image")
    with pytest.raises(UsageError, match=r"broken\.png"):
        read_crops([Sample(path, "1", "", "blast", "training")], SPEC, quiet=True)


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
