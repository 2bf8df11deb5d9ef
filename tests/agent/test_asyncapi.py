"""The AsyncAPI document: whole in itself, and of one mind with the code. `make check` sees that it is up to date."""

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft7Validator, Draft202012Validator
from jsonschema.exceptions import ValidationError as NotInForm
from pydantic import ValidationError

from contract.messages import Topics
from contract.requests import COMMANDS, TakeSnapshot
from tests.wire import DOCUMENT, check_payload


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for child in node.values():
            yield from references(child)
    elif isinstance(node, list):
        for child in node:
            yield from references(child)


def test_every_reference_leads_somewhere() -> None:
    found = set(references(DOCUMENT))
    assert found
    for reference in found:
        node = DOCUMENT
        for word in reference.removeprefix("#/").split("/"):
            node = node[word]


def test_every_schema_is_a_schema_in_the_dialect_of_asyncapi_and_in_todays() -> None:
    for schema in DOCUMENT["components"]["schemas"].values():
        Draft7Validator.check_schema(schema)
        Draft202012Validator.check_schema(schema)


def test_every_topic_of_ours_and_every_command_has_a_channel_and_an_operation() -> None:
    topics = Topics(prefix="{prefix}", site="{site}", device="{device}")
    ours = {topics.frame, topics.slide, topics.status, topics.health, topics.ack}
    asked = {f"{topics.root}/command/{name}" for name in COMMANDS}
    addresses = {channel["address"] for channel in DOCUMENT["channels"].values()}
    assert addresses == ours | asked | {None}
    used = {operation["channel"]["$ref"] for operation in DOCUMENT["operations"].values()}
    assert used == {f"#/channels/{name}" for name in DOCUMENT["channels"] if name != "answer"}


def test_every_channel_names_its_parameters() -> None:
    for channel in DOCUMENT["channels"].values():
        words = {word.strip("{}") for word in (channel["address"] or "").split("/") if word.startswith("{")}
        assert set(channel.get("parameters", {})) == words


@given(
    request=st.fixed_dictionaries(
        {},
        optional={
            "part": st.sampled_from(["whole", "centre", "edge"]),
            "max_side_px": st.integers(0, 5000),
            "annotated": st.booleans(),
            "zoom": st.just(1),
        },
    )
)
@settings(max_examples=200, deadline=None)
def test_the_document_and_the_agent_refuse_the_same_requests(request: dict[str, Any]) -> None:
    try:
        TakeSnapshot.model_validate(request)
    except ValidationError:
        with pytest.raises(NotInForm):
            check_payload("command_snapshot", request)
    else:
        check_payload("command_snapshot", request)


@pytest.mark.parametrize("slide_id", ["", "a/b", "#", "$x", "a b", "x" * 65])
def test_a_slides_name_is_bounded_in_the_document_too(slide_id: str) -> None:
    with pytest.raises(NotInForm):
        check_payload("command_slide_start", {"slide_id": slide_id})
