"""PBC: healthy donors' cells as the index names them; the donors are not known."""

import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from common.errors import UsageError
from evaluation.datasets import pbc

HEAD = "file,class,subtype,part,sha256\n"


def test_mature_cells_are_normal_immature_ones_rare_and_erythroblasts_neither(
    tmp_path: Path, touch_images: Callable[[Path, list[str]], None]
) -> None:
    classes = ["lymphocyte", "monocyte", "neutrophil", "eosinophil", "basophil", "ig", "erythroblast"]
    touch_images(tmp_path, [f"{name}/1.jpg" for name in classes])
    (tmp_path / "index.csv").write_text(HEAD + "".join(f"{name}/1.jpg,{name},X,test,0\n" for name in classes))
    found = {s.group: (s.kind, s.label, s.split) for s in pbc.find(tmp_path)}
    assert found == {
        **dict.fromkeys(classes[:5], ("normal", "normal", "test")),
        "ig": ("rare", "", "test"),
        "erythroblast": ("reject", "other", "test"),
    }


def test_a_folder_without_an_index_is_refused(tmp_path: Path, touch_images: Callable[[Path, list[str]], None]) -> None:
    touch_images(tmp_path, ["lymphocyte/1.jpg"])
    with pytest.raises(UsageError, match=r"needs an index\.csv with the columns file, class, subtype, part"):
        pbc.find(tmp_path)


def test_a_class_that_is_not_known_is_refused(tmp_path: Path, touch_images: Callable[[Path, list[str]], None]) -> None:
    touch_images(tmp_path, ["platelet/1.jpg"])
    (tmp_path / "index.csv").write_text(HEAD + "platelet/1.jpg,platelet,PLT,train,0\n")
    with pytest.raises(
        UsageError, match=r"index\.csv: class of platelet/1\.jpg is 'platelet'; it must be one of lymph"
    ):
        pbc.find(tmp_path)


@pytest.mark.requires_data
def test_the_real_one_keeps_its_test_part_and_gives_a_sixth_of_the_rest_to_validation() -> None:
    data = os.environ.get("MICROSCOPE_DATA")
    if not data:
        pytest.skip("MICROSCOPE_DATA does not name the folder of real images")
    samples = pbc.find(Path(data) / "pbc-healthy")
    assert Counter(s.kind for s in samples) == {"normal": 1600, "rare": 500, "reject": 300}
    splits = Counter(s.split for s in samples)
    assert splits["test"] == 1157
    assert splits["validation"] / (splits["training"] + splits["validation"]) == pytest.approx(1 / 6, abs=0.03)
    assert len({s.patient for s in samples}) == len(samples)
    assert all(s.by_image for s in samples)
