"""Writes the documents that are made from the code: `make docs`; with --check it only says which are out of date."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from channels import MESSAGES, asyncapi
from collector_words import COLLECTOR_HEAD, COLLECTOR_MISSING, COLLECTOR_TAIL
from dashboard_words import DASHBOARD_HEAD
from mqtt_words import COMMANDS_HEAD, DISCOVERY, MADE, MESSAGES_HEAD, MESSAGES_TAIL
from pydantic import BaseModel
from pydantic_core import PydanticUndefined
from topics import traffic

from agent.settings import ENV_PREFIX, Settings
from agent.vision.limits import QualityLimits
from collector import tables
from collector.settings import CollectorSettings
from contract.manifest import Manifest
from contract.messages import DIALECT, SCHEMA_VERSION, FrameReport
from contract.requests import COMMANDS, Answer
from dashboard.pages.openapi import description
from dashboard.settings import DashboardSettings
from dashboard.terminal.options import ENV_PREFIX as WATCH_PREFIX
from dashboard.terminal.options import PASSWORD
from dashboard.terminal.settings import WatchSettings

DOCS = Path(__file__).resolve().parent
SETTINGS_HEAD = f"""# Settings

{MADE}Strongest first: `--set NAME=VALUE`, the environment (`{ENV_PREFIX}` and `__` between levels:
`{ENV_PREFIX}MQTT__PORT=8883`), systemd credentials (a file named by the setting: `mqtt.password` holds the password;
for a setting that is a path, `mqtt.tls.key`, it is the file itself), the TOML file given with `--config`, the default.
`microscope-agent config show` prints what is in force and where it comes from, and nothing that a credential holds.

| setting | default | meaning |
|---|---|---|
"""
LIMITS_HEAD = """
## Bounds of quality

`limits` in the [site file](site.md), which holds them per microscope; the service reads it when it starts. Each meaning
begins with the reason for which a frame beyond is refused; [`quality`](mqtt.md) of the report has the figure. A hue is
an angle: 0 is a density of green alone, 60 lies half-way to red, what is negative lies towards blue. After a hue's
bounds are widened, look at `quality.far_from_training` of what passes: from 3 on the stain is foreign to the model.

| bound | default | meaning |
|---|---|---|
"""
WATCH_HEAD = f"""# The subscriber in the terminal

{MADE}`microscope-watch` subscribes to the agents of a broker and shows them in the terminal: at the top how it
stands with the broker and when it last heard something; a row for each agent with its state, when it was heard, and the
one count of its slide (each cell once, from the message `slide`); the last frames; how each agent is by its `health`;
alarms, and what to do. `--plain` prints lines instead, and `--summary` writes counts at the end. It keeps nothing: the
store is [the collector's](collector.md).

Settings, strongest first: the command line (`--host`, `--cert` and others are short for settings; `--set NAME=VALUE`),
the environment (`{WATCH_PREFIX}MQTT__HOST`; the password also from `{PASSWORD}`), systemd credentials,
the TOML file of `--config`, the default. Certificates and passwords are read again before each connection.

| setting | default | meaning |
|---|---|---|
"""
BUNDLE_HEAD = f"""# The bundle

{MADE}A folder that holds one model: `manifest.json`, `manifest.sig` (its signature), `model.onnx` (FP32),
`model.int8.onnx` (S8, for TensorRT), `model.int8.cpu.onnx` (U8, for ONNX Runtime on CPU), `calibration.json`,
`golden.npz` (cells with known answers), `report.json`, `MODEL_CARD.md`, and the gate's `report.html`. If a byte changes
in any of them, if nobody signed it, or if the key that did is not in `trust.keys`, the agent refuses the bundle with
exit code 5; an older version than the newest that ran on the machine is refused as well. See
`decisions/0007-signature.md`.

| field of `manifest.json` | default | meaning |
|---|---|---|
"""


def settings_page() -> str:
    """Every setting with its default and meaning."""
    return "".join([SETTINGS_HEAD, *_table(Settings), LIMITS_HEAD, *_table(QualityLimits)])


def dashboard_page() -> str:
    """The page, and every setting of its server."""
    return DASHBOARD_HEAD + "".join(_table(DashboardSettings))


def watch_page() -> str:
    """Every setting of the subscriber in the terminal."""
    return WATCH_HEAD + "".join(_table(WatchSettings))


def messages_page() -> str:
    """Every message with its fields."""
    parts = [MESSAGES_HEAD, traffic(), MESSAGES_TAIL]
    for topic, model in MESSAGES.items():
        parts.append(f"\n## `{topic}`: {_first_line(model)}\n\n| field | default | meaning |\n|---|---|---|\n")
        parts.extend(_table(model))
    return "".join([*parts, *_commands(), DISCOVERY])


def _commands() -> Iterator[str]:
    yield COMMANDS_HEAD
    yield from _table(Answer)
    for name, command in COMMANDS.items():
        yield f"\n## `command/{name}`: {command.text}\n"
        for what, model in (("request", command.request), ("result", command.result)):
            if model in MESSAGES.values():
                topic = next(topic for topic, known in MESSAGES.items() if known is model)
                yield f"\nThe {what} has the form of the message `{topic}`.\n"
            elif model.model_fields:
                yield f"\n| {what} | default | meaning |\n|---|---|---|\n"
                yield from _table(model)


def collector_page() -> str:
    """The collector's settings and tables."""
    parts = [
        COLLECTOR_HEAD,
        *_table(CollectorSettings),
        "\nThe tables; times are UTC.\n\n| table | columns |\n|---|---|\n",
    ]
    for name, table in sorted(tables.metadata.tables.items()):
        parts.append(f"| `{name}` | {', '.join(f'`{column.name}`' for column in table.columns)} |\n")
    return "".join([*parts, COLLECTOR_MISSING, COLLECTOR_TAIL])


def bundle_page() -> str:
    """Every field of the manifest."""
    return BUNDLE_HEAD + "".join(_table(Manifest))


def frame_schema() -> str:
    """JSON Schema of the frame report."""
    about = {"$schema": DIALECT, "$id": f"urn:microscope-agent:frame-report:{SCHEMA_VERSION}"}
    return json.dumps(about | FrameReport.model_json_schema(mode="serialization"), indent=2) + "\n"


def openapi() -> str:
    """The description of the dashboard's data routes."""
    return json.dumps(description(), indent=1, ensure_ascii=False) + "\n"


PAGES = {
    "settings.md": settings_page,
    "mqtt.md": messages_page,
    "collector.md": collector_page,
    "dashboard.md": dashboard_page,
    "watch.md": watch_page,
    "bundle.md": bundle_page,
    "frame-report.schema.json": frame_schema,
    "asyncapi.json": asyncapi,
    "openapi.json": openapi,
}


def _table(model: type[BaseModel]) -> Iterator[str]:
    return (f"| `{name}` | {default} | {text} |\n" for name, default, text in _rows(model))


def _rows(model: type[BaseModel], above: str = "") -> Iterator[tuple[str, str, str]]:
    for name, field in model.model_fields.items():
        inner = [part for part in _models_in(field.annotation) if part not in MESSAGES.values()]
        if field.description or not inner:
            text = " ".join([field.description or "", *_choices(field.annotation)])
            yield f"{above}{name}", _default(field.default), text.strip().replace("|", "\\|")
        many = "[]" if {list, tuple} & set(map(get_origin, _parts(field.annotation))) else ""
        for part in inner:
            kind = f"({_kind(part)})" if len(inner) > 1 else ""
            yield from _rows(part, f"{above}{name}{many}{kind}.")


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models_in(part)]


def _choices(annotation: Any) -> Iterator[str]:
    words = [word for part in _parts(annotation) if get_origin(part) is Literal for word in get_args(part)]
    if len(words) > 1:
        yield "One of " + ", ".join(f"`{word}`" for word in words) + "."


def _parts(annotation: Any) -> Iterator[Any]:
    yield annotation
    if get_origin(annotation) is not Literal:
        for part in get_args(annotation):
            yield from _parts(part)


def _kind(model: type[BaseModel]) -> str:
    return str(model.model_fields["kind"].default)


def _default(value: Any) -> str:
    if value is PydanticUndefined or isinstance(value, BaseModel | Path):
        return ""
    return f"`{json.dumps(value, default=str)}`"


def _first_line(model: type[BaseModel]) -> str:
    return (model.__doc__ or "").strip().splitlines()[0].partition(";")[0].rstrip(".").lower()


def main() -> int:
    """Write the pages, or with --check compare them."""
    stale = [name for name, make in PAGES.items() if _read(DOCS / name) != make()]
    if "--check" in sys.argv[1:]:
        for name in stale:
            print(f"docs/{name} is out of date: run `make docs`")
        return int(bool(stale))
    for name in stale:
        (DOCS / name).write_text(PAGES[name](), encoding="utf-8")
        print(f"wrote docs/{name}")
    return 0


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""


if __name__ == "__main__":
    sys.exit(main())
