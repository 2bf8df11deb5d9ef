"""Parts of FHIR R4 resources, as the values of their JSON: codes, quantities, references, text for people.

Every text that others have written is made printable: FHIR refuses control characters, and XHTML does too.
"""

import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, TypeAlias

from markupsafe import Markup

from common.terminal import printable
from contract.messages import Interval, iso

Part: TypeAlias = dict[str, Any]
"""A resource, or an element of one."""
LOINC, UCUM = "http://loinc.org", "http://unitsofmeasure.org"
TERMINOLOGY = "http://terminology.hl7.org/CodeSystem/"
SHA256 = "urn:oid:2.16.840.1.101.3.4.2.1"
"""The algorithm, by the identifier that NIST has given it: what a hash is an identifier by."""
OURS = "urn:microscope-agent:"


def told(text: str) -> str:
    """A text as FHIR takes it: printable, and a dash where there is none, for no text is empty."""
    return printable(text).strip() or "-"


def coding(system: str, code: str, display: str = "") -> Part:
    """A code of a system, with the words that the system has for it."""
    return {"system": system, "code": code, **({"display": display} if display else {})}


def concept(text: str, *codings: Part) -> Part:
    """What is meant, in words and, where there are some, in codes."""
    return {**({"coding": list(codings)} if codings else {}), "text": told(text)}


def identifier(system: str, *names: str) -> Part:
    """A name that a system gives; of several its path, with a slash between two."""
    return {"system": system, "value": told("/".join(names))}


def percent(share: float) -> Part:
    """A share, 0 to 1, as a quantity in percent."""
    return {"value": round(100 * share, 4), "unit": "%", "system": UCUM, "code": "%"}


def number(value: float) -> Part:
    """A pure number as a quantity."""
    return {"value": round(value, 4), "unit": "1", "system": UCUM, "code": "1"}


def interval_component(text: str, interval: Interval) -> Part:
    """An interval of confidence as a component of an observation.

    R4 has no element for it: a component whose code is that of FHIR's own system of precisions, and whose value is a
    range in the observation's unit, is what any reader of R4 takes without an extension.
    """
    code = concept(text, coding(f"{TERMINOLOGY}precision-estimate-type", "CI", "confidence interval"))
    return {"code": code, "valueRange": {"low": percent(interval.low), "high": percent(interval.high)}}


def count_component(text: str, count: int) -> Part:
    """How many there are of something, as a component of an observation."""
    return {"code": concept(text), "valueInteger": count}


def moment(at: datetime) -> str:
    """A time as FHIR has it: UTC with milliseconds."""
    return iso(at)


def period(first: datetime | None, last: datetime | None) -> Part:
    """From one time to another as the period of an observation; nothing where neither is known."""
    ends = {"start": first, "end": last}
    known = {name: moment(at) for name, at in ends.items() if at}
    return {"effectivePeriod": known} if known else {}


def narrative(lines: Sequence[str]) -> Part:
    """What a person reads who sees the resource alone, a paragraph each."""
    paragraphs = Markup().join(Markup("<p>{}</p>").format(printable(line)) for line in lines)
    return {
        "status": "generated",
        "div": str(Markup('<div xmlns="http://www.w3.org/1999/xhtml">{}</div>').format(paragraphs)),
    }


def address(*names: str) -> str:
    """Where a resource is found in its bundle: the same names always give the same address."""
    return f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, OURS + repr(names))}"


def reference(to: str, display: str = "") -> Part:
    """A reference to a resource of the bundle."""
    return {"reference": to, **({"display": told(display)} if display else {})}


def named(display: str, kind: str = "") -> Part:
    """A reference to somebody or something that is no resource here."""
    return {**({"type": kind} if kind else {}), "display": told(display)}


def entries(resources: Mapping[str, Part]) -> list[Part]:
    """Resources by their addresses, as the entries of a bundle."""
    return [{"fullUrl": at, "resource": resource} for at, resource in resources.items()]
