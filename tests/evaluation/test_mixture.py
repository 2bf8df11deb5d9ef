"""Several data sets as one."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from common.errors import UsageError
from contract.manifest import InputSpec
from evaluation.datasets import DATA_SETS, LAYOUTS, about_of
from evaluation.datasets.crops import read_crops
from evaluation.datasets.sample import data_sets_of
from tests.drawn import write_cells

Touch = Callable[[Path, list[str]], None]
TWO = """
[[part]]
layout = "cnmc"
folder = "leukemia cells"
[[part]]
layout = "folders"
folder = "own"
um_per_pixel = 0.08
"""


@pytest.fixture
def mixed(tmp_path: Path, touch_images: Touch) -> Path:
    touch_images(tmp_path / "sets/leukemia cells", ["fold_0/all/UID_1_1_1_all.png", "fold_1/hem/UID_H1_1_1_hem.png"])
    write_cells(tmp_path / "sets/own", patients=6, each=1)
    file = tmp_path / "sets/mix.toml"
    file.write_text(TWO)
    return file


def test_parts_are_found_beside_the_file_and_keep_splits_labels_and_scales(mixed: Path) -> None:
    samples = LAYOUTS["mixture"].find(mixed)
    assert data_sets_of(samples) == ["cnmc", "folders"]
    for name, folder in (("cnmc", "leukemia cells"), ("folders", "own")):
        alone = LAYOUTS[name].find(mixed.parent / folder)
        mine = [s for s in samples if s.dataset == name]
        assert [(s.path, s.split, s.label) for s in mine] == [(s.path, s.split, s.label) for s in alone]
    assert {s.um_per_pixel for s in samples if s.dataset == "folders"} == {0.08}
    assert {s.um_per_pixel for s in samples if s.dataset == "cnmc"} == {22.5 / 8}


def test_patients_of_two_data_sets_are_two_people_whatever_their_names(tmp_path: Path, touch_images: Touch) -> None:
    parts = ""
    for name in ("here", "there"):
        touch_images(tmp_path / name, ["1/normal/1.png", "1/blast/1.png"])
        parts += f'[[part]]\nlayout = "folders"\nfolder = "{name}"\n'
    touch_images(tmp_path / "cnmc", ["UID_1_1_1_all.png"])
    (tmp_path / "mix.toml").write_text(parts + '[[part]]\nlayout = "cnmc"\nfolder = "cnmc"\n')
    assert len({s.patient for s in LAYOUTS["mixture"].find(tmp_path / "mix.toml")}) == 3


def test_one_patient_in_two_parts_of_a_data_set_must_be_in_one_split(tmp_path: Path, touch_images: Touch) -> None:
    touch_images(tmp_path, ["a/fold_0/UID_51_1_1_all.png", "b/fold_2/UID_78_1_1_all.png"])
    parts = [f'[[part]]\nlayout = "cnmc"\nfolder = "{name}"\n' for name in "ab"]
    (tmp_path / "mix.toml").write_text("".join(parts))
    with pytest.raises(UsageError, match=r"mix\.toml divides cnmc 51\+75\+78 between training and validation"):
        LAYOUTS["mixture"].find(tmp_path / "mix.toml")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", r"mix\.toml is no mixture: part: Field required"),
        ("[[part]]\nlayout = 'cnmc'", r"mix\.toml is no mixture: part 1 folder: Field required"),
        ("[[part]]\nlayout = 'cnmc'\nfolder = '.'\nscale = 1", r"part 1 scale: Extra inputs"),
        ("[[part]]\nlayout = 'cnmc'\nfolder = '.'\num_per_pixel = -1", r"part 1 um_per_pixel: Input should be greater"),
        ("[[part]", r"mix\.toml is no TOML file"),
        ("a = " + "[" * 5000, r"mix\.toml is no TOML file"),
        ("[[part]]\nlayout = 'cnmc2'\nfolder = '.'", r"part 1 of .* there is no such layout; use one of cnmc, deepapl"),
        ("[[part]]\nlayout = 'mixture'\nfolder = 'mix.toml'", r"part 1 of .* there is no such layout"),
        ("[[part]]\nlayout = 'folders'\nfolder = 'nowhere'", r"part 1 of .*folder nowhere\): .*nowhere is no folder"),
        (TWO + TWO, r"part 3 of .* holds .*png, which part 1 of .* holds too"),
    ],
)
def test_a_fault_is_told_with_the_part(mixed: Path, text: str, fault: str) -> None:
    mixed.write_text(text)
    with pytest.raises(UsageError, match=fault):
        LAYOUTS["mixture"].find(mixed)


def test_what_a_card_says_of_several_data_sets_is_what_it_says_of_each() -> None:
    about = about_of(["pbc", "deepapl", "cnmc", "cnmc"])
    parts = [DATA_SETS[name].about for name in ("cnmc", "deepapl", "pbc")]
    for part in parts:
        assert part is not None
        assert about.terms.count(part.terms) == 1
        assert part.limits in about.limits
        assert part.weights in about.weights
    assert about.blast.count("B-lymphoblasts") == about.blast.count("blasts without lineage") == 1


def test_images_of_a_mixture_may_be_stored_if_those_of_each_part_may() -> None:
    assert about_of(["cnmc", "pbc", "folders"]).storable
    assert not about_of(["cnmc", "deepapl"]).storable


def test_each_image_is_cut_by_its_own_scale(tmp_path: Path) -> None:
    """The same images named with another scale give what an explicit scale gives."""
    cells = write_cells(tmp_path / "own", patients=1, each=1)
    spec = InputSpec(um_per_pixel=0.2, size=32, mean=(0, 0, 0), std=(1, 1, 1))
    file = tmp_path / "mix.toml"
    file.write_text('[[part]]\nlayout = "folders"\nfolder = "own"\num_per_pixel = 0.25\n')
    own = read_crops(LAYOUTS["mixture"].find(file), spec, quiet=True)
    told = read_crops(LAYOUTS["folders"].find(cells), spec, um_per_pixel=0.25, quiet=True)
    other = read_crops(LAYOUTS["folders"].find(cells), spec, quiet=True)
    assert np.array_equal(own, told)
    assert not np.array_equal(own, other)
