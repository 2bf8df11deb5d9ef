"""A slide as a FHIR R4 bundle (extra `fhir`), for programs of laboratories.

The bundle is a ``collection``: resources that belong together, which no server acts upon by itself. A ``transaction``
would be written into the record of whoever takes it, and a ``document`` is a clinical statement with a subject and an
author who attests it; this is neither. Every status is `preliminary`, never `final`; every resource has the security
label `HRESCH` (research). No resource names a patient: ``subject`` may be absent in R4 (0..1), and is. The specimen is
known by the slide's pseudonym.

R4B of ``fhir.resources`` builds it: for the resources that are used here R4B is R4, unchanged.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from importlib.metadata import version
from typing import Any, NamedTuple

from common.commands import how_to_install
from common.errors import MissingError
from contract.labels import LABELS
from contract.messages import Interval
from dashboard.exports import fhir_parts as parts
from dashboard.exports.fhir_devices import Devices, devices_of
from dashboard.exports.fhir_parts import (
    OURS,
    TERMINOLOGY,
    Part,
    address,
    coding,
    concept,
    identifier,
    narrative,
    reference,
)
from dashboard.exports.review_summary import ReviewSummary, Signature
from dashboard.exports.slide_facts import corrected, counted_words, refused_by, share_words
from dashboard.exports.tables import data_hash
from dashboard.records import Counts, SlideRecord
from dashboard.texts import Texts

BLASTS = coding(parts.LOINC, "26446-5", "Blasts/100 leukocytes in Blood")
RESEARCH = {"security": [coding(f"{TERMINOLOGY}v3-ActReason", "HRESCH", "healthcare research")]}
MEDIA_TYPE = "application/fhir+json"
VERSION = version("microscope-agent")


def slide_bundle(
    record: SlideRecord,
    *,
    texts: Texts,
    at: datetime,
    review: ReviewSummary | None = None,
) -> str:
    """A slide as the JSON of a bundle: the same slide and time give the same text.

    Args:
        record: the slide.
        texts: of the language in which people read it.
        at: when it is made, aware.
        review: what people said of the slide; None: nobody has reviewed it.

    Raises:
        MissingError: the library is not installed.
    """
    made = _Bundle(record, texts, at, review).made()
    return str(_bundle_class().model_validate(made).model_dump_json(indent=1))


def _bundle_class() -> Any:
    try:
        from fhir.resources.R4B.bundle import Bundle  # noqa: PLC0415 - an extra, and slow to load
    except ModuleNotFoundError as cause:
        raise MissingError(f"{cause.name} is not installed; {how_to_install('fhir')}") from cause
    return Bundle


class _Share(NamedTuple):
    """A share of blasts by one method, which is named by its text; with how many cells are called what."""

    method: str
    fraction: float | None
    interval: Interval | None
    counted: Sequence[Part] = ()
    words: Sequence[str] = ()


class _Bundle:
    """The resources of one slide, which refer to each other."""

    def __init__(self, record: SlideRecord, texts: Texts, at: datetime, review: ReviewSummary | None) -> None:
        self._record, self._texts, self._at, self._review = record, texts, at, review
        self._hash = data_hash(record, review)
        self._devices: Devices = devices_of(record, texts, VERSION)
        self._specimen = address("specimen", *record.key)
        self._report = self._address("report")

    def made(self) -> Part:
        """The bundle."""
        shares = self._shares()
        resources = {
            self._report: self._diagnostic_report(shares),
            **{at: self._observation(share) for at, share in shares.items()},
            self._specimen: self._specimen_resource(),
            **self._devices.resources,
            self._address("provenance", "machine"): self._made_by(list(shares)),
            **{
                self._address("provenance", str(number), one.name, one.reading, parts.moment(one.at)): self._signed(one)
                for number, one in enumerate(self._review.signatures if self._review else ())
            },
        }
        return {
            "resourceType": "Bundle",
            "meta": RESEARCH,
            "language": self._texts.language,
            "identifier": identifier("urn:ietf:rfc:3986", self._address("bundle", parts.moment(self._at))),
            "type": "collection",
            "timestamp": parts.moment(self._at),
            "entry": parts.entries({at: {**resource, "meta": RESEARCH} for at, resource in resources.items()}),
        }

    def _address(self, *names: str) -> str:
        """Of what says something of this state of the slide: of another state it is another resource."""
        return address(*names, *self._record.key, self._hash)

    def _t(self, key: str, **values: object) -> str:
        return self._texts.get(f"fhir.{key}", **values)

    def _research(self) -> str:
        return self._texts.get("page.research")

    def _shares(self) -> dict[str, _Share]:
        """By the model, corrected for its known error, and after review, as far as they are known; by address."""
        record, review, known = self._record, self._review, corrected(self._record)
        counts = record.counts
        found = [_Share("share_model", counts.fraction, counts.interval, self._counted(counts, {}))]
        if known:
            words = (self._texts.get("printed.by_summary", at=known.at),)
            found.append(_Share("share_corrected", known.corrected_fraction, known.corrected_interval, words=words))
        if review and review.counts:
            counted = self._counted(review.counts, review.apart)
            if review.kappa is not None:
                agreement = concept(self._texts.get("printed.agreement"))
                counted.append({"code": agreement, "valueQuantity": parts.number(review.kappa)})
            found.append(_Share("share_people", review.counts.fraction, review.counts.interval, counted, review.notes))
        return {self._address("observation", share.method): share for share in found}

    def _observation(self, share: _Share) -> Part:
        """A share of blasts by one method."""
        how, said = self._texts.get(f"printed.{share.method}"), self._words(share)
        laboratory = coding(f"{TERMINOLOGY}observation-category", "laboratory", "Laboratory")
        absent = coding(f"{TERMINOLOGY}data-absent-reason", "not-applicable", "Not Applicable")
        notes = [
            self._research(),
            self._texts.get("printed.share_caption"),
            self._refused(),
            *self._recounted(),
            *share.words,
        ]
        made = {
            "resourceType": "Observation",
            "text": narrative([self._research(), f"{how}: {said}", *share.words]),
            "status": "preliminary",
            "category": [concept("laboratory", laboratory)],
            "code": concept(self._t("code"), BLASTS),
            **parts.period(self._record.first_at, self._record.last_at),
            "issued": parts.moment(self._at),
            "method": concept(how),
            "specimen": reference(self._specimen),
            "device": reference(self._devices.microscope),
            "note": [{"text": parts.told(note)} for note in notes],
            "component": list(share.counted),
        }
        if share.interval:
            level = self._t("interval", level=100 * share.interval.level)
            made["component"].insert(0, parts.interval_component(level, share.interval))
        if share.fraction is None:
            return {**made, "dataAbsentReason": concept(said, absent)}
        return {**made, "valueQuantity": parts.percent(share.fraction)}

    def _words(self, share: _Share) -> str:
        """A share with its interval."""
        return share_words(self._texts, share.fraction, share.interval)

    def _counted(self, counts: Counts, apart: Mapping[str, int]) -> list[Part]:
        """How many cells are called what, as components."""
        called = [(self._texts.get(f"label.{label}"), getattr(counts, label)) for label in LABELS]
        return [parts.count_component(name, count) for name, count in [*called, *apart.items()]]

    def _recounted(self) -> list[str]:
        """What must be said where the slide was counted more than once."""
        return counted_words(self._record, self._texts)

    def _refused(self) -> str:
        """Why frames were refused, in one sentence."""
        record = self._record
        why = ", ".join(f"{self._texts.word('reason', name)}: {count}" for name, count in refused_by(record).items())
        said = self._texts.get("printed.frames_of", count=record.frames, refused=len(record.refused))
        return f"{said} ({why})" if why else said

    def _sealed(self) -> Sequence[str]:
        """What is signed and not to be seen yet by whoever asks."""
        names = ", ".join(self._review.sealed) if self._review else ""
        return [self._texts.get("reviewed.sealed", names=names)] if names else []

    def _diagnostic_report(self, shares: Mapping[str, _Share]) -> Part:
        record, method = self._record, {at: self._texts.get(f"printed.{one.method}") for at, one in shares.items()}
        lines = [
            self._research(),
            *(f"{method[at]}: {self._words(one)}" for at, one in shares.items()),
            self._refused(),
            *self._recounted(),
            *self._sealed(),
            *([self._texts.get("printed.open")] if record.is_open else []),
        ]
        return {
            "resourceType": "DiagnosticReport",
            "text": narrative([self._texts.get("printed.title", slide=record.key.slide_id), *lines]),
            "identifier": [identifier(f"{OURS}report", *record.key)],
            "status": "preliminary",
            "category": [concept("haematology", coding(f"{TERMINOLOGY}v2-0074", "HM", "Hematology"))],
            "code": concept(self._t("report"), BLASTS),
            **parts.period(record.first_at, record.last_at),
            "issued": parts.moment(self._at),
            "performer": [parts.named(record.key.site, "Organization")],
            "specimen": [reference(self._specimen)],
            "result": [reference(at, words) for at, words in method.items()],
            "conclusion": parts.told(" ".join(f"{line.rstrip('.')}." for line in lines)),
        }

    def _specimen_resource(self) -> Part:
        key = self._record.key
        return {
            "resourceType": "Specimen",
            "text": narrative([self._research(), self._texts.get("printed.title", slide=key.slide_id)]),
            "identifier": [identifier(f"{OURS}slide", *key)],
            "type": concept(self._t("specimen"), coding(f"{TERMINOLOGY}v2-0487", "BLD", "Whole blood")),
        }

    def _made_by(self, observations: Sequence[str]) -> Part:
        """Which models judged, which program wrote it down, and the hash of the data."""
        performer = concept("performer", coding(f"{TERMINOLOGY}provenance-participant-type", "performer", "Performer"))
        assembler = concept("assembler", coding(f"{TERMINOLOGY}provenance-participant-type", "assembler", "Assembler"))
        judged = [{"type": performer, "who": reference(at)} for at in self._devices.models]
        return {
            "resourceType": "Provenance",
            "text": narrative([self._research(), self._t("made")]),
            "target": [reference(at) for at in (self._report, *observations)],
            "recorded": parts.moment(self._at),
            "activity": concept("create", coding(f"{TERMINOLOGY}v3-DataOperation", "CREATE", "create")),
            "agent": [*judged, {"type": assembler, "who": reference(self._devices.software)}],
            "entity": [_source(self._hash, self._t("data"))],
        }

    def _signed(self, one: Signature) -> Part:
        """Who has signed a reading, and the hash of what was signed."""
        verifier = concept("verifier", coding(f"{TERMINOLOGY}provenance-participant-type", "verifier", "Verifier"))
        reading = self._texts.word("reading", one.reading)
        when = self._texts.get("format.second", at=one.at)
        late = [self._texts.get("printed.outdated")] if one.outdated else []
        return {
            "resourceType": "Provenance",
            "text": narrative([self._research(), f"{reading}: {one.name}, {when}", *late]),
            "target": [reference(self._report), reference(self._address("observation", "share_people"))],
            "occurredDateTime": parts.moment(one.at),
            "recorded": parts.moment(one.at),
            "activity": concept(reading),
            "agent": [
                {
                    "type": verifier,
                    "role": [concept(self._texts.word("role", one.role))],
                    "who": parts.named(one.name, "Practitioner"),
                }
            ],
            **({"entity": [_source(one.sha256, self._t("signed_data"))]} if one.sha256 else {}),
        }


def _source(sha256: str, what: str) -> Part:
    """What something was made of, by its hash."""
    return {"role": "source", "what": {"identifier": identifier(parts.SHA256, sha256), "display": what}}
