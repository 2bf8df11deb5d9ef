"""Arguments that several commands take."""

import argparse
from pathlib import Path

import pytest

from common.arguments import Parser, made_folder, micrometres, whole
from common.errors import UsageError


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "1e-9", "11", "ten", ""])
def test_what_is_no_scale_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="no scale"):
        micrometres(text)


def test_a_scale_is_a_number() -> None:
    assert micrometres("0.075") == 0.075


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "many", "", "\u00b2"])
def test_what_is_no_whole_number_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="no whole number from 1 up"):
        whole()(text)


def test_a_whole_number_may_start_elsewhere() -> None:
    assert (whole()("12"), whole(least=0)("0")) == (12, 0)


def test_a_folder_that_can_not_be_made_is_an_error_with_its_cause(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="file/out can not be made"):
        made_folder(tmp_path / "file" / "out")
    assert made_folder(tmp_path / "new").is_dir()


@pytest.mark.parametrize("words", [["{}"], ["show", "{}"], ["--to={}"], ["--nosuch", "{}"], ["show", "--count", "{}"]])
@pytest.mark.parametrize("address", ["postgresql://u:GE7HEIM@h/db", "rtsp://h/GE7HEIM", "u:GE7HEIM@h"])
def test_a_complaint_repeats_no_address(capsys: pytest.CaptureFixture[str], words: list[str], address: str) -> None:
    """Whoever writes it in the wrong place has a password in it."""
    parser = Parser("program")
    below = parser.add_subparsers(required=True).add_parser("show")
    below.add_argument("--count", type=int)
    with pytest.raises(SystemExit) as ended:
        parser.parse_args([word.format(address) for word in words])
    said = capsys.readouterr().err
    assert ended.value.code == 2
    assert "program" in said
    assert "GE7HEIM" not in said
