"""Reviewed cells become a folder that a training reads: each under the label that people gave it, patients apart."""

import csv
import hashlib
import stat
from collections import Counter
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from common.errors import UsageError
from contract.pictures import decode_picture, read_picture
from contract.pixels import BEYOND
from dashboard.records import SlideKey, SlideRecord
from dashboard.reviews.likeness import StoredPicture
from dashboard.reviews.store import ReviewStore
from dashboard.reviews.training_export import Reviewed, export_training
from evaluation.datasets import folders
from tests.dashboard.reviews.conftest import Desk, cell, slide_of


def picture(cell_id: str, um_per_pixel: float = 0.1) -> StoredPicture:
    seed = int.from_bytes(hashlib.sha256(cell_id.encode()).digest()[:4], "big")
    image = np.random.default_rng(seed).integers(0, 256, (40, 40, 3), np.uint8)
    return StoredPicture(cv2.imencode(".webp", image, [cv2.IMWRITE_WEBP_QUALITY, 101])[1].tobytes(), um_per_pixel)


def slide(
    store: ReviewStore, name: str, *, signed: bool = True, site: str = "lab", device: str = "scope-1"
) -> Reviewed:
    """Two cells corrected to blast, one to normal, a smudge, one unsure, and one that nobody has looked at."""
    key = SlideKey(site, device, name)
    record = slide_of(*(cell(f"r-c{number}") for number in range(6)), key=key)
    ada = Desk(store).begin(record)
    ada.say(record, r_c0="blast", r_c1="blast", r_c2="confirm", r_c3="smudge", r_c4="unsure")
    if signed:
        ada.sign(record)
    return Reviewed(record, store.log(key))


def rows_of(out: Path) -> list[dict[str, str]]:
    with (out / "index.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_training_reads_what_was_exported_with_patients_apart(tmp_path: Path, store: ReviewStore) -> None:
    slides = [slide(store, f"slide-{number}") for number in range(6)]
    done = export_training(slides, tmp_path / "out", picture, other=("smudge",))
    samples = folders.find(tmp_path / "out")
    assert Counter(one.label for one in samples) == {"blast": 12, "normal": 6, "other": 6}
    assert {one.patient for one in samples} == {f"patient-slide-{number}" for number in range(6)}
    assert {one.split for one in samples} == {"training", "validation", "test"}
    assert not any(one.by_image for one in samples)
    assert done.written == {"blast": 12, "normal": 6, "other": 6}
    assert (done.patients, done.um_per_pixel) == (6, 0.1)
    assert done.left_out == {"no_class": 6, "not_reviewed": 6}


def test_pictures_are_as_stored_and_the_index_tells_of_each(tmp_path: Path, store: ReviewStore) -> None:
    export_training([slide(store, "slide-1")], tmp_path / "out", picture)
    rows = rows_of(tmp_path / "out")
    assert [row["label"] for row in rows] == ["blast", "blast", "normal"]
    for row in rows:
        path = tmp_path / "out" / row["file"]
        assert hashlib.sha256(path.read_bytes()).hexdigest() == row["sha256"]
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        stored = decode_picture(bytearray(picture(row["cell"]).data))
        assert np.array_equal(read_picture(path), stored)
    first = rows[0]
    assert (first["cell"], first["object_id"], first["slide"]) == ("view-of-r-c0", "r-c0", "slide-1")
    assert (first["site"], first["device"], first["patient"]) == ("lab", "scope-1", "slide-1")
    assert (first["reviewers"], first["source"], first["model_label"]) == ("ada", "reading", "normal")
    assert (float(first["probability"]), float(first["um_per_pixel"]), first["model"]) == (0.03, 0.1, "blast-8")


def test_a_training_sees_the_border_go_on_as_the_agent_does_and_no_grey(tmp_path: Path, store: ReviewStore) -> None:
    def at_border(cell_id: str) -> StoredPicture:
        image = decode_picture(bytearray(picture(cell_id).data))
        image[:10] = BEYOND
        return StoredPicture(cv2.imencode(".png", image)[1].tobytes(), 0.1)

    export_training([slide(store, "slide-1")], tmp_path / "out", at_border)
    for row in rows_of(tmp_path / "out"):
        image, whole = (
            read_picture(tmp_path / "out" / row["file"]),
            decode_picture(bytearray(picture(row["cell"]).data)),
        )
        assert np.array_equal(image[11:], whole[11:])
        assert (image[:11] == whole[11]).all()


def test_two_slides_of_one_patient_stand_in_one_folder(tmp_path: Path, store: ReviewStore) -> None:
    one, two = slide(store, "slide-1"), slide(store, "slide-2")
    third = slide(store, "slide-3")
    patients = {one.record.key: "p/1", two.record.key: "p/1"}
    export_training([one, two, third], tmp_path / "out", picture, patients=patients)
    found = Counter(sample.patient for sample in folders.find(tmp_path / "out"))
    assert sorted(found.values()) == [3, 6]
    assert all(name.startswith("patient-") for name in found)


def test_slides_of_one_pseudonym_are_one_patient_whatever_microscope_saw_them(
    tmp_path: Path, store: ReviewStore
) -> None:
    slides = [slide(store, "slide-1"), slide(store, "slide-1", device="scope-2")]
    assert export_training(slides, tmp_path / "out", picture).patients == 1


@pytest.mark.parametrize("name", ["normal", "blast", "../../elsewhere", "a/b", ".", "=cmd()", "é" * 255, "x" * 255])
def test_a_pseudonym_of_any_form_is_a_folder_within_the_export_and_no_class(
    tmp_path: Path, store: ReviewStore, name: str
) -> None:
    export_training([slide(store, name)], tmp_path / "out", picture)
    assert {path.name for path in tmp_path.iterdir()} <= {"out", "reviews.sqlite"}
    assert Counter(sample.label for sample in folders.find(tmp_path / "out")) == {"blast": 2, "normal": 1}
    assert {sample.patient[:8] for sample in folders.find(tmp_path / "out")} == {"patient-"}
    assert not rows_of(tmp_path / "out")[0]["slide"].startswith("=")


def test_pictures_of_two_scales_are_brought_to_the_coarser(tmp_path: Path, store: ReviewStore) -> None:
    def mixed(cell_id: str) -> StoredPicture:
        return picture(cell_id, 0.2 if cell_id == "view-of-r-c0" else 0.1)

    done = export_training([slide(store, "slide-1")], tmp_path / "out", mixed)
    assert done.um_per_pixel == 0.2
    shapes = {row["cell"]: read_picture(tmp_path / "out" / row["file"]).shape for row in rows_of(tmp_path / "out")}
    assert shapes == {"view-of-r-c0": (40, 40, 3), "view-of-r-c1": (20, 20, 3), "view-of-r-c2": (20, 20, 3)}


def test_cells_of_an_unsigned_reading_are_left_out_unless_they_are_asked_for(
    tmp_path: Path, store: ReviewStore
) -> None:
    open_slide = slide(store, "slide-1", signed=False)
    with pytest.raises(UsageError, match=r"no reviewed cell.*not signed: 5"):
        export_training([open_slide], tmp_path / "out", picture)
    assert list(tmp_path.glob("*out*")) == []
    assert export_training([open_slide], tmp_path / "out", picture, signed_only=False).written["blast"] == 2


def test_disputed_cells_are_left_out_and_settled_ones_have_the_final_label(tmp_path: Path, store: ReviewStore) -> None:
    record: SlideRecord = slide_of(cell("r-c0"), cell("r-c1"), cell("r-c2"))
    Desk(store, "ada").begin(record).say(record, r_c0="blast", r_c1="blast", r_c2="confirm").sign(record)
    Desk(store, "bob").begin(record).say(record, r_c0="confirm", r_c1="confirm", r_c2="confirm").sign(record)
    eve = Desk(store, "eve", "adjudication").look(record).say(record, r_c1="blast")
    done = export_training([Reviewed(record, store.log(record.key))], tmp_path / "out", picture)
    assert (done.written, done.left_out) == ({"normal": 1}, {"disputed": 1, "not_signed": 1})
    eve.say(record, r_c0="blast").sign(record)
    done = export_training([Reviewed(record, store.log(record.key))], tmp_path / "more", picture)
    assert done.written == {"normal": 1, "blast": 2}
    assert {row["reviewers"] for row in rows_of(tmp_path / "more")} == {"eve", "ada bob"}


def test_cells_without_a_picture_are_left_out_and_counted(tmp_path: Path, store: ReviewStore) -> None:
    def some(cell_id: str) -> StoredPicture | None:
        return {"view-of-r-c0": None, "view-of-r-c1": StoredPicture(b"damaged", 0.1)}.get(cell_id, picture(cell_id))

    done = export_training([slide(store, "slide-1")], tmp_path / "out", some)
    assert (done.written, done.left_out["no_picture"]) == ({"normal": 1}, 2)


def test_a_folder_that_holds_something_is_left_as_it_is(tmp_path: Path, store: ReviewStore) -> None:
    (tmp_path / "out").mkdir()
    reviewed = slide(store, "slide-1")
    assert export_training([reviewed], tmp_path / "out", picture).patients == 1
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UsageError, match="holds something already"):
        export_training([reviewed], tmp_path / "out", picture)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UsageError, match="holds something already"):
        export_training([reviewed], tmp_path / "file", picture)
    assert sorted(tmp_path.rglob("*")) == sorted([*before, tmp_path / "file"])


def test_a_folder_that_can_not_be_made_is_told(tmp_path: Path, store: ReviewStore) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="choose another folder"):
        export_training([slide(store, "slide-1")], tmp_path / "file" / "out", picture)


def test_a_failure_amid_the_work_leaves_nothing_behind(tmp_path: Path, store: ReviewStore) -> None:
    calls = iter(range(100))

    def failing(cell_id: str) -> StoredPicture:
        if next(calls) > 4:
            raise RuntimeError(cell_id)
        return picture(cell_id)

    reviewed = slide(store, "slide-1")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(RuntimeError):
        export_training([replace_record(reviewed)], tmp_path / "out", failing)
    assert sorted(tmp_path.rglob("*")) == before


def replace_record(reviewed: Reviewed) -> Reviewed:
    return reviewed._replace(record=replace(reviewed.record, upto=2))
