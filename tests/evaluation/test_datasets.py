"""What all data sets have in common: refusals, splits by image, crops."""

import errno
import os
import shutil
import threading
from collections import Counter
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from agent.sources.directory import DirectorySource, listed
from common.errors import UsageError
from contract.manifest import InputSpec
from contract.pictures import SUFFIXES
from evaluation.datasets import LAYOUTS
from evaluation.datasets.crops import read_crops
from evaluation.datasets.files import images_below, read_image
from evaluation.datasets.sample import Sample, labelled, labels_of, shuffled

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


def test_a_folder_that_can_not_be_read_is_named_and_kinds_that_are_not_read_are_told(
    drawn_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Else a model would be trained without them, and nobody would know."""
    shutil.copytree(drawn_folder, tmp_path / "own")
    (tmp_path / "own/patient-0/blast/slide.czi").touch()
    assert len(LAYOUTS["folders"].find(tmp_path / "own")) == len(LAYOUTS["folders"].find(drawn_folder))
    assert "1 file that is no picture of a kind that is read (.czi)" in caplog.text
    real = os.scandir

    def scandir(place: Path) -> object:
        if Path(place).name == "patient-1":
            raise PermissionError(errno.EACCES, "Permission denied")
        return real(place)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(UsageError, match=r"the folder patient-1 can not be read \(Permission denied\)"):
        LAYOUTS["folders"].find(tmp_path / "own")


@pytest.mark.parametrize("bits", [8, 12, 16])
def test_a_cell_is_the_same_to_training_and_agent_whatever_its_bits(
    drawn_folder: Path, tmp_path: Path, bits: int
) -> None:
    """The model would else learn another brightness than it is shown later."""
    sample, *_ = LAYOUTS["folders"].find(drawn_folder)
    cell = np.asarray(cv2.imread(str(sample.path)), np.uint8)
    cell[0, 0] = 255  # the camera's full scale is seen somewhere
    cv2.imwrite(str(tmp_path / "plain.png"), cell)
    (tmp_path / "deep").mkdir()
    path = tmp_path / "deep" / "a.tif"
    cv2.imwrite(str(path), cell if bits == 8 else cell.astype(np.uint16) << (bits - 8))
    with DirectorySource(uri=path.parent, um_per_pixel=0.2).open(threading.Event()) as frames:
        (frame,) = frames
    assert np.array_equal(frame.image, cell)
    plain, deep = (
        read_crops([replace(sample, path=place)], SPEC, um_per_pixel=0.2, quiet=True)
        for place in (tmp_path / "plain.png", path)
    )
    assert np.array_equal(plain, deep)


@pytest.mark.parametrize("suffix", sorted(SUFFIXES))
def test_training_and_agent_take_the_same_suffixes(tmp_path: Path, suffix: str) -> None:
    for name in (f"a{suffix}", f"b{suffix.upper()}", "c.mkv"):
        (tmp_path / name).touch()
    assert sorted(images_below(tmp_path)) == sorted(listed(tmp_path))
    assert len(images_below(tmp_path)) == 2
