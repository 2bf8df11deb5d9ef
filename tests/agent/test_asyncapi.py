"""The AsyncAPI document: whole in itself, and of one mind with the code. `make check` sees that it is up to date."""

import base64
import hashlib
import json
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft7Validator, Draft202012Validator
from jsonschema.exceptions import ValidationError as NotInForm
from pydantic import ValidationError

from contract.requests import COMMANDS, TakeSnapshot
from contract.topics import Topics
from tests.wire import DOCUMENT, check_payload

SPECS = "@asyncapi/specs@6.11.1"
"""The package in which AsyncAPI publishes its schemas."""
SPECS_SHA512 = "A3WBLqAKGoJ2+6FWFtpjBlCQ1oFCcs4GxF7zsIGvNqp/klGUHjlA3aAcZ9XMMpLGE8zPeYDz2x9FmO6DSuKraQ=="


@pytest.fixture(scope="module")
def asyncapi3(tmp_path_factory: pytest.TempPathFactory) -> Draft7Validator:
    """AsyncAPI 3.0's own schema; skipped where npm can not fetch it."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("no npm to fetch AsyncAPI's schema with")
    folder = tmp_path_factory.mktemp("asyncapi")
    command = [npm, "pack", SPECS, "--prefer-offline", "--fetch-retries=1", "--pack-destination", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode:
        pytest.skip(f"npm can not fetch {SPECS}: {done.stderr[-300:]}")
    [package] = folder.glob("*.tgz")
    assert base64.b64encode(hashlib.sha512(package.read_bytes()).digest()).decode() == SPECS_SHA512
    return Draft7Validator(json.loads(_member(package, "package/schemas/3.0.0.json")))


def _member(package: Path, name: str) -> bytes:
    with tarfile.open(package) as files:
        file = files.extractfile(name)
        assert file is not None
        return file.read()


def test_the_document_has_the_form_that_asyncapi_prescribes(asyncapi3: Draft7Validator) -> None:
    asyncapi3.validate(DOCUMENT)


@pytest.mark.parametrize(
    ("part", "word", "value"), [("info", "title", 7), ("operations", "x y", {}), ("channels", "frame", {"adress": "a"})]
)
def test_asyncapis_schema_sees_what_is_wrong(asyncapi3: Draft7Validator, part: str, word: str, value: object) -> None:
    with pytest.raises(NotInForm):
        asyncapi3.validate({**DOCUMENT, part: {**DOCUMENT[part], word: value}})


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
    ours = {topics.frame, topics.slide, topics.status, topics.health, topics.picture, topics.ack}
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
