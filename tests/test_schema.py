"""The published JSON Schema of a report, as a validator of other people reads it."""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from contract.messages import FrameReport

SCHEMA = Path(__file__).resolve().parent.parent / "docs" / "frame-report.schema.json"
AJV = ("ajv@8.17.1", "ajv-formats@3.0.1")
PROGRAM = """
const Ajv = require("ajv/dist/2020"), formats = require("ajv-formats"), fs = require("fs");
const ajv = new Ajv({allErrors: true}); formats(ajv);
const check = ajv.compile(JSON.parse(fs.readFileSync(process.argv[2])));
for (const report of JSON.parse(fs.readFileSync(0))) console.log(check(report));
"""


@pytest.fixture(scope="module")
def ajv(tmp_path_factory: pytest.TempPathFactory) -> Callable[[list[Any]], list[str]]:
    """What ajv says of some reports; skipped where npm can not fetch it."""
    npm, node = shutil.which("npm"), shutil.which("node")
    if npm is None or node is None:
        pytest.skip("no npm to fetch ajv with")
    folder = tmp_path_factory.mktemp("ajv")
    command = [npm, "install", "--prefix", str(folder), "--prefer-offline", "--fetch-retries=1", "--no-audit", *AJV]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    if done.returncode:
        pytest.skip(f"npm can not fetch {AJV}: {done.stderr[-300:]}")
    (folder / "check.js").write_text(PROGRAM)

    def said(reports: list[Any]) -> list[str]:
        line = [node, "check.js", str(SCHEMA)]
        return subprocess.run(
            line, cwd=folder, input=json.dumps(reports), capture_output=True, text=True, check=True
        ).stdout.split()

    return said


def test_ajv_takes_a_report_and_refuses_a_time_that_is_none(
    ajv: Callable[[list[Any]], list[str]], make_report: Callable[..., FrameReport]
) -> None:
    good = json.loads(make_report(1).model_dump_json())
    bad = {**good, "frame": {**good["frame"], "captured_at": "yesterday"}}
    assert ajv([good, bad]) == ["true", "false"]


def test_the_schema_names_its_dialect_and_itself() -> None:
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["$id"] == "urn:microscope-agent:frame-report:2"
