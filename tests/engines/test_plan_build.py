"""The builder of a TensorRT plan in a process of its own, as a start of the agent waits for it."""

import os
import sys
from pathlib import Path

import pytest

from common.errors import EngineError
from contract.bundle import SHIPPED, Bundle, open_bundle
from engines.plan import Patience, build_apart


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return open_bundle(SHIPPED)


def builder(tmp_path: Path, text: str) -> list[str]:
    """A program that stands for the builder."""
    script = tmp_path / "builder.py"
    script.write_text(f"import os, signal, sys, time\nfrom pathlib import Path\n{text}\n")
    return [sys.executable, str(script)]


def test_the_builder_is_told_what_to_build(bundle: Bundle, tmp_path: Path) -> None:
    program = builder(tmp_path, f"Path({str(tmp_path / 'told')!r}).write_text('|'.join(sys.argv[1:]))")
    build_apart(bundle, "fp16", tmp_path, program=program)
    options = ["--precision", "fp16", "--state-dir", str(tmp_path), "--verified", bundle.sha256]
    assert (tmp_path / "told").read_text().split("|") == [str(bundle.path), *options]


def test_a_builder_that_fails_is_an_error_with_its_exit_code(bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"could not be built \(exit 4\).*python\S* -m engines\.build"):
        build_apart(bundle, "int8", tmp_path, program=builder(tmp_path, "sys.exit(4)"))


@pytest.mark.parametrize("deaf", [False, True])
def test_a_builder_that_hangs_is_ended(bundle: Bundle, tmp_path: Path, *, deaf: bool) -> None:
    """The hard way, if it does not listen; a start of the service never waits forever."""
    listens = "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" if deaf else ""
    note = tmp_path / "pid"
    program = builder(tmp_path, f"{listens}Path({str(note)!r}).write_text(str(os.getpid()))\ntime.sleep(60)")
    with pytest.raises(EngineError, match=r"not built within 0 min.*was ended.*python\S* -m engines\.build"):
        build_apart(bundle, "int8", tmp_path, program=program, patience=Patience(limit_s=2, farewell_s=0.2))
    with pytest.raises(ProcessLookupError):
        os.kill(int(note.read_text()), 0)


def test_a_long_build_shows_that_it_goes_on(bundle: Bundle, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    program = builder(tmp_path, "time.sleep(0.5)")
    with caplog.at_level("INFO"):
        build_apart(bundle, "int8", tmp_path, program=program, patience=Patience(sign_of_life_s=0.1))
    assert "of at most 2700 s" in caplog.text
