"""What goes over the wire."""

import json
from datetime import datetime, timedelta, timezone

import jsonschema
import pytest
from pydantic import ValidationError

from contract.messages import FrameReport, Topics

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
"""The documented form of version 1; it must parse for ever."""


def test_the_documented_example_of_version_1_parses() -> None:
    report = FrameReport.model_validate(EXAMPLE)
    written = json.loads(report.model_dump_json())
    assert written["frame"]["captured_at"] == "2026-01-31T12:00:00.000Z"
    assert [{**cell, "object_id": "", "classes": None} for cell in EXAMPLE["cells"]] == written["cells"]  # type: ignore[attr-defined]
    assert written["position_um"] is None


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
