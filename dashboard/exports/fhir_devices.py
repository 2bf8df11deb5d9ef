"""The devices of a slide's FHIR bundle: the microscope with its agent, each model that judged, and this program."""

from dataclasses import dataclass

from dashboard.exports.fhir_parts import OURS, Part, address, concept, identifier, named, narrative, reference, told
from dashboard.exports.slide_facts import Judge, judges, scale_words
from dashboard.records import SlideRecord
from dashboard.texts import Texts


@dataclass(frozen=True, slots=True)
class Devices:
    """Resources by their addresses, and which is which.

    Attributes:
        resources: every device.
        microscope: address of the microscope with its agent.
        models: addresses of the models.
        software: address of this program.
    """

    resources: dict[str, Part]
    microscope: str
    models: tuple[str, ...]
    software: str


def devices_of(record: SlideRecord, texts: Texts, release: str) -> Devices:
    """The devices of a slide.

    Args:
        record: the slide.
        texts: of the language.
        release: version of this program.
    """
    site, device, _ = record.key
    microscope, software = address("device", site, device), address("software", release)
    found = {
        microscope: {
            **_device(texts, texts.get("fhir.microscope"), device, f"{OURS}device", site, device),
            "owner": named(site, "Organization"),
            **_properties(
                [(texts.get("printed.engine"), engine) for engine in record.engines]
                + [(texts.get("printed.scale"), scale_words(record, texts))]
            ),
        }
    }
    models = {address("model", site, device, *judge): _model(texts, judge, microscope) for judge in judges(record)}
    program = _device(texts, texts.get("fhir.software"), "microscope-agent", f"{OURS}software", release)
    program["version"] = [{"value": release}]
    return Devices({**found, **models, software: program}, microscope, tuple(models), software)


def _model(texts: Texts, judge: Judge, microscope: str) -> Part:
    """A model as a part of the microscope; what no summary has said of it is left out."""
    facts = [
        (texts.get("printed.gate"), texts.word("gate", judge.gate) if judge.gate else ""),
        (texts.get("printed.colour"), texts.word("colour", judge.colour) if judge.colour else ""),
    ]
    hashed = [{"type": concept(texts.get("printed.sha256")), "value": told(judge.sha256)}] if judge.sha256 else []
    return {
        **_device(texts, texts.get("printed.model"), judge.id, f"{OURS}model", judge.id),
        **({"version": hashed} if hashed else {}),
        **_properties(facts),
        "parent": reference(microscope),
    }


def _device(texts: Texts, kind: str, name: str, system: str, *names: str) -> Part:
    shown = told(name)
    return {
        "resourceType": "Device",
        "text": narrative([texts.get("page.research"), f"{kind}: {shown}"]),
        "identifier": [identifier(system, *names)],
        "status": "active",
        "deviceName": [{"name": shown, "type": "model-name"}],
        "type": concept(kind),
    }


def _properties(facts: list[tuple[str, str]]) -> Part:
    """What else is known of a device, by name."""
    known = [{"type": concept(name), "valueCode": [concept(value)]} for name, value in facts if value]
    return {"property": known} if known else {}
