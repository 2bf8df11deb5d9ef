"""The description of the data routes in OpenAPI 3.1, made of the forms of what is asked and answered."""

from collections.abc import Mapping
from functools import cache
from http import HTTPStatus
from typing import Any, NamedTuple

from pydantic import BaseModel, TypeAdapter
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from contract.topic_words import TopicWord
from dashboard.pages.data_forms import AgentsSaid, CellsSaid, Part, SlideSaid, SlidesAsked, SlidesSaid, Trouble

Tree = dict[str, Any]
VERSION = "1.0.0"
"""Of the data routes: the first number rises when what programs rely on goes."""
SCHEMAS = "#/components/schemas/"


class Described(NamedTuple):
    """A route: what may be asked of it, and what it answers."""

    text: str
    answer: type[BaseModel] | None
    asked: type[BaseModel] | None = None


SLIDE = "/data/slides/{site}/{device}/{slide}"
ROUTES: Mapping[str, Described] = {
    "/data/agents": Described("Every agent that was heard of, and how it is", AgentsSaid),
    "/data/slides": Described("Slides, newest first, by the same search as the page", SlidesSaid, SlidesAsked),
    SLIDE: Described("All that is known of a slide but its cells", SlideSaid),
    f"{SLIDE}/cells": Described("The cells of a slide, in the order in which they were first seen", CellsSaid, Part),
    "/data/openapi.json": Described("This description", None),
}
PLACES = {"site": "Laboratory.", "device": "Agent.", "slide": "Pseudonym of the slide."}
_REFUSED = {
    HTTPStatus.BAD_REQUEST: "The address holds what no name may hold.",
    HTTPStatus.UNAUTHORIZED: "Nobody is signed in.",
    HTTPStatus.NOT_FOUND: "Nothing is stored under this name.",
    HTTPStatus.UNPROCESSABLE_ENTITY: "What stands after the `?` has another form.",
    HTTPStatus.SERVICE_UNAVAILABLE: "The collector's store can not be read now; ask again.",
}


@cache
def description() -> Tree:
    """The document, of plain values for JSON."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "microscope-dashboard",
            "version": VERSION,
            "description": "What the dashboard knows, for programs. Research use only. A program signs in as a person "
            "does: it posts `name` and `password` as a form to `/signin`, and sends the cookie that it is given.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "security": [{"session": []}, {"session_https": []}],
        "paths": {path: {"get": _operation(path, route)} for path, route in ROUTES.items()},
        "components": {
            "schemas": _schemas(),
            "securitySchemes": {
                "session": {"type": "apiKey", "in": "cookie", "name": "session", "description": "Over plain HTTP."},
                "session_https": {
                    "type": "apiKey",
                    "in": "cookie",
                    "name": "__Host-session",
                    "description": "Over HTTPS.",
                },
            },
        },
    }


def _operation(path: str, route: Described) -> Tree:
    codes = {HTTPStatus.BAD_REQUEST, HTTPStatus.UNAUTHORIZED}
    if route.asked:
        codes.add(HTTPStatus.UNPROCESSABLE_ENTITY)
    if "{" in path:
        codes.add(HTTPStatus.NOT_FOUND)
    if "slides" in path:
        codes.add(HTTPStatus.SERVICE_UNAVAILABLE)
    answer: Tree = {"$ref": f"{SCHEMAS}{route.answer.__name__}"} if route.answer else {"type": "object"}
    trouble = {"$ref": f"{SCHEMAS}{Trouble.__name__}"}
    return {
        "operationId": path.replace("{", "").replace("}", "").strip("/").replace("/", "_").replace(".", "_"),
        "summary": route.text,
        "parameters": [*_in_path(path), *_in_query(route.asked)],
        "responses": {
            "200": {"description": "The answer.", "content": {"application/json": {"schema": answer}}},
            **{
                str(int(code)): {"description": _REFUSED[code], "content": {"application/json": {"schema": trouble}}}
                for code in sorted(codes)
            },
        },
    }


def _in_path(path: str) -> list[Tree]:
    word = TypeAdapter(TopicWord).json_schema()
    return [
        {"name": name, "in": "path", "required": True, "description": text, "schema": word}
        for name, text in PLACES.items()
        if f"{{{name}}}" in path
    ]


def _in_query(asked: type[BaseModel] | None) -> list[Tree]:
    properties = asked.model_json_schema(by_alias=True)["properties"] if asked else {}
    return [
        {"name": name, "in": "query", "description": schema.get("description", ""), "schema": _bare(schema)}
        for name, schema in properties.items()
    ]


def _bare(schema: Tree) -> Tree:
    return {key: value for key, value in schema.items() if key not in {"title", "description"}}


def _schemas() -> Tree:
    forms: list[tuple[type[BaseModel], JsonSchemaMode]] = [
        (form, "serialization") for form in (*(route.answer for route in ROUTES.values()), Trouble) if form
    ]
    _, made = models_json_schema(forms, ref_template=SCHEMAS + "{model}")
    found: Tree = made["$defs"]
    return dict(sorted(found.items()))
