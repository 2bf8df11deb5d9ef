"""What goes over the wire."""

import json
from datetime import datetime, timedelta, timezone
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from contract.messages import SCHEMA_VERSION, FrameReport, SlideSummary
from contract.topics import Topics

NOON = "2026-01-31T12:00:00.000Z"
EXAMPLE = {
    "schema_version": 1, "device": "d", "site": "s", "epoch": "e", "seq": 17, "slide_id": "x",
    "frame": {"id": "f", "source": "BloodImage_00001.jpg", "captured_at": "2026-01-31T12:00:00.000Z",
              "width": 640, "height": 480, "um_per_pixel": 0.075},
    "quality": {"accepted": True, "reasons": [], "focus": 0.0, "background": 0.0},
    "cells": [{"cell_id": "c", "box": {"x": 1, "y": 2, "width": 3, "height": 4}, "area_um2": 0.0,
               "label": "normal", "probability": 0.03, "flags": []}],
    "model": {"id": "m", "sha256": "0", "engine": "onnxruntime-int8"},
    "timing_ms": {"segment": 0.0, "classify": 0.0, "total": 0.0},
}  # fmt: skip
"""The documented form of version 1; it must parse forever."""


def test_the_documented_example_of_version_1_parses() -> None:
    report = FrameReport.model_validate(EXAMPLE)
    written = json.loads(report.model_dump_json())
    assert written["frame"]["captured_at"] == "2026-01-31T12:00:00.000Z"
    assert [{**cell, "object_id": "", "classes": None} for cell in EXAMPLE["cells"]] == written["cells"]  # type: ignore[attr-defined]
    assert written["position_um"] is None
    assert written["schema_version"] == SCHEMA_VERSION == 2


def of_version_1(**said: object) -> dict[str, Any]:
    """The example with another cell."""
    return {**EXAMPLE, "cells": [{**EXAMPLE["cells"][0], **said}]}  # type: ignore[index]


def test_a_cell_that_version_1_said_the_border_cuts_is_read_as_not_judged() -> None:
    cut = of_version_1(label="uncertain", probability=0.97, flags=["edge"], classes={"normal": 0.03, "blast": 0.97})
    for report in (FrameReport.model_validate(cut), FrameReport.model_validate_json(json.dumps(cut))):
        (cell,) = report.cells
        assert (cell.label, cell.probability, cell.classes, cell.flags) == ("not_judged", None, None, ["edge"])
        assert FrameReport.model_validate_json(report.model_dump_json()) == report


@given(
    label=st.sampled_from(["normal", "blast", "uncertain"]),
    probability=st.floats(0, 1),
    flags=st.lists(st.sampled_from(["edge", "other", "colours_unknown", "", "of a later release"])),
    version=st.sampled_from([{}, {"schema_version": 1}]),
)
def test_every_cell_that_version_1_allowed_is_read(
    label: str, probability: float, flags: list[str], version: dict[str, int]
) -> None:
    said = of_version_1(label=label, probability=probability, flags=flags)
    del said["schema_version"]
    (cell,) = FrameReport.model_validate_json(json.dumps({**said, **version})).cells
    assert (cell.label == "not_judged") == (cell.probability is None) == ("edge" in flags)
    assert cell.flags == flags


@pytest.mark.parametrize("said", [{"label": "not_judged"}, {"label": "blast", "probability": None}])
def test_a_cell_has_a_probability_if_it_is_judged_and_only_then(said: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match="no probability if it is not_judged"):
        FrameReport.model_validate(of_version_1(**said))


@pytest.mark.parametrize("version", [0, 3, "2", None])
def test_a_form_of_another_version_is_refused(version: object) -> None:
    with pytest.raises(ValidationError, match="schema_version"):
        FrameReport.model_validate({**EXAMPLE, "schema_version": version})


def test_a_slide_of_version_1_is_read() -> None:
    summary = SlideSummary.model_validate({
        "schema_version": 1, "slide_id": "s", "count_id": "c", "state": "open", "started_at": NOON, "at": NOON,
        "frames": 2, "refused": 0, "cells": 3, "normal": 2, "blasts": 0, "uncertain": 0, "edge_only": 1, "jumps": 0,
        "model": EXAMPLE["model"],
    })  # fmt: skip
    assert summary.not_judged == 1
    assert SlideSummary.model_validate_json(summary.model_dump_json()) == summary


def test_what_is_written_is_valid_against_the_published_schema() -> None:
    schema = FrameReport.model_json_schema(mode="serialization")
    jsonschema.validate(json.loads(FrameReport.model_validate(EXAMPLE).model_dump_json()), schema)


def test_a_reader_ignores_keys_of_a_newer_agent() -> None:
    FrameReport.model_validate({**EXAMPLE, "from_the_future": 1})


def test_times_are_written_in_utc_whatever_zone_they_came_in() -> None:
    local = datetime(2026, 1, 31, 14, tzinfo=timezone(timedelta(hours=2)))
    frame = {**EXAMPLE["frame"], "captured_at": local}  # type: ignore[dict-item]
    report = FrameReport.model_validate({**EXAMPLE, "frame": frame})
    assert json.loads(report.model_dump_json())["frame"]["captured_at"] == "2026-01-31T12:00:00.000Z"


def test_a_time_without_a_zone_is_refused() -> None:
    frame = {**EXAMPLE["frame"], "captured_at": "2026-01-31T12:00:00.000"}  # type: ignore[dict-item]
    with pytest.raises(ValidationError, match="timezone"):
        FrameReport.model_validate({**EXAMPLE, "frame": frame})


@pytest.mark.parametrize("name", ["status", "frame", "slide", "health", "ack"])
def test_every_topic_stands_below_the_agents_own_root(name: str) -> None:
    topics = Topics(prefix="microscopy", site="s", device="d")
    assert getattr(topics, name) == f"microscopy/v1/s/d/{name}"
