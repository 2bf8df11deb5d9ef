"""The AsyncAPI 3 document: topics, messages and commands of an agent, for tools that read such documents."""

import inspect
import json
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, models_json_schema
from topics import WHEN

from contract.messages import CONTENT_TYPE, SCHEMA_VERSION
from contract.requests import ANSWER_EXPIRY_S, COMMANDS, Command
from contract.topics import TOPICS, TopicName

Tree = dict[str, Any]
MESSAGES = {name: topic.message for name, topic in TOPICS.items() if topic.message}
BYTES: dict[TopicName, str] = {"picture": "The latest frame, JPEG."}
"""What is no message of ours, by topic."""
ROOT = "{prefix}/v1/{site}/{device}"
WORDS = {
    "prefix": "Setting `mqtt.prefix`; `microscopy` where nobody has set it.",
    "site": "Name of the laboratory.",
    "device": "Name of the agent's computer.",
}
SCHEMAS = "#/components/schemas/"


def asyncapi() -> str:
    """The document, JSON."""
    document = {
        "asyncapi": "3.0.0",
        "info": {
            "title": "microscope-agent",
            "version": f"{SCHEMA_VERSION}.0.0",
            "description": "White blood cells and blast scores from a microscope camera, over MQTT 5. Research use "
            "only. `mqtt.md` says the same for people, and what each message promises.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": CONTENT_TYPE,
        "channels": _channels(),
        "operations": _operations(),
        "components": {"messages": _messages(), "schemas": _schemas()},
    }
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def _channels() -> Tree:
    answers = {_answer_id(name): _message_ref(_answer_id(name)) for name in COMMANDS}
    return {
        **{name: _channel(name, name, _first_line(model)) for name, model in MESSAGES.items()},
        **{name: _channel(name, name, text) for name, text in BYTES.items()},
        **{
            _id(name): _channel(f"command/{name}", _id(name), _first_line(known.request))
            for name, known in COMMANDS.items()
        },
        "answer": {
            "address": None,
            "description": "The response topic that the request names; no topic of an agent's own.",
            "messages": answers,
        },
    }


def _channel(topic: str, message: str, text: str) -> Tree:
    return {
        "address": f"{ROOT}/{topic}",
        "description": text,
        "parameters": {word: {"description": text} for word, text in WORDS.items()},
        "messages": {message: _message_ref(message)},
    }


def _operations() -> Tree:
    """What the agent does, as AsyncAPI asks for: `send` is the agent's."""
    said = {f"{'hear' if topic.heard else 'say'}_{name}": _said(name) for name, topic in TOPICS.items()}
    return said | {f"obey_{_id(name)}": _obeyed(name, known) for name, known in COMMANDS.items()}


def _said(name: TopicName) -> Tree:
    topic = TOPICS[name]
    mqtt = {"qos": topic.qos, "retain": topic.retained, "bindingVersion": "0.2.0"}
    if topic.expiry_s:
        mqtt["messageExpiryInterval"] = topic.expiry_s
    return {
        "action": "receive" if topic.heard else "send",
        "summary": WHEN[name][0].upper() + WHEN[name][1:],
        "channel": {"$ref": f"#/channels/{name}"},
        "messages": [{"$ref": f"#/channels/{name}/messages/{name}"}],
        "bindings": {"mqtt": mqtt},
    }


def _obeyed(name: str, known: Command) -> Tree:
    channel = f"#/channels/{_id(name)}"
    answer = {
        "address": {"location": "$message.header#/response_topic", "description": "MQTT 5's response topic."},
        "channel": {"$ref": "#/channels/answer"},
        "messages": [{"$ref": f"#/channels/answer/messages/{_answer_id(name)}"}],
    }
    return {
        "action": "receive",
        "channel": {"$ref": channel},
        "summary": known.text[0].upper() + known.text[1:],
        "messages": [{"$ref": f"{channel}/messages/{_id(name)}"}],
        "reply": answer,
        "bindings": {"mqtt": {"qos": 1, "retain": False, "bindingVersion": "0.2.0"}},
    }


def _messages() -> Tree:
    ours = {name: _message(model) for name, model in MESSAGES.items()}
    requests = {_id(name): _request(known) for name, known in COMMANDS.items()}
    answers = {_answer_id(name): _answer(known) for name, known in COMMANDS.items()}
    return ours | {name: _bytes(name) for name in BYTES} | requests | answers


def _bytes(name: TopicName) -> Tree:
    media_type = TOPICS[name].media_type
    return {
        "name": name.capitalize(),
        "summary": BYTES[name],
        "contentType": media_type,
        "payload": {"type": "string", "format": "binary"},
        "bindings": {"mqtt": {"payloadFormatIndicator": 0, "contentType": media_type, "bindingVersion": "0.2.0"}},
    }


def _message(model: type[BaseModel]) -> Tree:
    return {
        "name": model.__name__,
        "summary": _first_line(model),
        "contentType": CONTENT_TYPE,
        "headers": {
            "type": "object",
            "description": "User properties.",
            "properties": {"schema_version": {"type": "string", "enum": [str(SCHEMA_VERSION), "1"]}},
        },
        "payload": {"$ref": f"{SCHEMAS}{_schema_name(model)}"},
        "bindings": {"mqtt": {"payloadFormatIndicator": 1, "contentType": CONTENT_TYPE, "bindingVersion": "0.2.0"}},
    }


def _request(known: Command) -> Tree:
    """Its response topic and correlation data are MQTT 5's own; AsyncAPI knows only headers."""
    headers = {
        "type": "object",
        "properties": {
            "response_topic": {"type": "string", "description": "MQTT 5's response topic; without it, no answer."},
            "correlation_data": {"type": "string", "description": "MQTT 5's correlation data; the answer bears it."},
        },
    }
    correlation = {"location": "$message.header#/correlation_data"}
    return {
        "name": known.request.__name__,
        "headers": headers,
        "correlationId": correlation,
        "payload": {"$ref": f"{SCHEMAS}{_schema_name(known.request)}"},
    }


def _answer(known: Command) -> Tree:
    message = _message(known.answer)
    text = f"Thrown away by the broker after {ANSWER_EXPIRY_S} s."
    return {**message, "name": _schema_name(known.answer), "summary": "The answer to a command.", "description": text}


def _schemas() -> Tree:
    """Requests as they are read, all else as it is written."""
    asked = [(model, "validation") for model in {known.request: 0 for known in COMMANDS.values()}]
    told = [(model, "serialization") for model in [*MESSAGES.values(), *(known.answer for known in COMMANDS.values())]]
    wanted: list[tuple[type[BaseModel], JsonSchemaMode]] = [*asked, *told]  # type: ignore[list-item]
    _, found = models_json_schema(wanted, ref_template=SCHEMAS + "{model}", schema_generator=GenerateJsonSchema)
    return {name: found["$defs"][name] for name in sorted(found["$defs"])}


def _schema_name(model: type[BaseModel]) -> str:
    """As pydantic names a schema."""
    return "".join(letter if letter.isalnum() else "_" for letter in model.__name__)


def _message_ref(name: str) -> Tree:
    return {"$ref": f"#/components/messages/{name}"}


def _id(command: str) -> str:
    return "command_" + command.replace("/", "_")


def _answer_id(command: str) -> str:
    return "answer_to_" + command.replace("/", "_")


def _first_line(model: type[BaseModel]) -> str:
    return (inspect.getdoc(model) or "").splitlines()[0]
