"""A store and an agent whose every text is an attack, as far as messages let texts through."""

from collections.abc import Iterator
from datetime import datetime, timezone
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urlsplit

from collector.arrivals import Arrival as Stored
from collector.store import Store
from contract.health_messages import Health, Status
from contract.messages import CellReport, FrameReport, ModelInfo, Quality, SlideSummary
from dashboard.link import Arrival
from dashboard.web import Web
from tests.dashboard.conftest import MakeReport
from tests.dashboard.exports.examples import summary

EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>{{7*7}}"
FORMULA = '=HYPERLINK("http://elsewhere.example","open")'
NAMES = ("slide-7", EVIL, "javascript:alert(1)", "../../../signout?", "a b", "a?b#c", "%2e%2e", "ä&x=1", "a/b", "'\"`")
"""What slides are called: the first by an agent of ours, the others by whoever may publish in its name."""
HARMLESS = {"application/json", "application/fhir+json", "application/pdf", "text/csv", "text/css", "image/jpeg", ""}
"""Kinds of answers in which no browser that obeys `nosniff` runs anything; an empty one has none."""
MODEL = ModelInfo(id=EVIL, sha256="ab" * 32, engine=FORMULA, gate=EVIL, colour=EVIL)


def store(file: Path, make_report: MakeReport) -> str:
    """Make the store of a collector that has heard all of it; its address."""
    now = datetime.now(timezone.utc)
    found = [
        Stored(
            f"x/v1/lab/scope-1/{'frame' if isinstance(one, FrameReport) else 'slide'}",
            one.model_dump_json().encode(),
            now,
        )
        for one in _messages(make_report)
    ]
    with Store(f"sqlite:///{file}") as collector:
        assert collector.store(found).quarantined == 0
    return f"sqlite:///{file}"


def _messages(make_report: MakeReport) -> Iterator[FrameReport | SlideSummary]:
    plain = make_report()
    refused = Quality(accepted=False, reasons=["motion"], detail=EVIL)
    for number, name in enumerate(NAMES, start=1):
        frame = plain.frame.model_copy(update={"source": EVIL, "id": f"f{number}"})
        cells = [
            _cell(plain, cell_id=f"f{number}-1", object_id=f"r-s{number}-c1", flags=[FORMULA, EVIL]),
            _cell(plain, cell_id=f"{EVIL}{number}", object_id=f"{EVIL}{number}", label="uncertain", probability=0.5),
        ]
        yield make_report(2 * number - 1, slide_id=name, frame=frame, cells=cells, model=MODEL)
        yield make_report(2 * number, slide_id=name, frame=frame, cells=[], quality=refused, model=MODEL)
        yield summary(slide_id=name, count_id=f"r-s{number}", model=MODEL, refused_by={EVIL: 1})


def _cell(plain: FrameReport, **changes: object) -> CellReport:
    return plain.cells[0].model_copy(update=changes)


def heard(web: Web, make_report: MakeReport) -> None:
    """Let the page hear of an agent."""
    now = datetime.now(timezone.utc)
    refused = Quality(accepted=False, reasons=["motion"], detail=EVIL)
    report = make_report(quality=refused, cells=[], model=MODEL)
    health = Health(at=now, frames=1, refused=0, cells=0, queued=0, engine=EVIL, alarms=[EVIL], broker=EVIL)
    for name, said in {
        "status": Status(state="online", version=EVIL),
        "health": health,
        "slide": summary(slide_id=EVIL, model=MODEL),
        "frame": report.model_copy(update={"frame": report.frame.model_copy(update={"source": EVIL})}),
    }.items():
        arrival = Arrival(f"x/v1/lab/scope-1/{name}", said.model_dump_json().encode(), retained=False, at=now)
        assert web.watcher._fleet.take(arrival)


class Page(HTMLParser):
    """What a browser makes of a page: its tags with their attributes, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.words = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a tag."""
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data: str) -> None:
        """Note text."""
        self.words += data

    def addresses(self) -> Iterator[str]:
        """Where the page leads to, and what it loads."""
        for _, attributes in self.tags:
            yield from (
                attributes[name] for name in ("href", "src", "action", "data-more", "data-base") if name in attributes
            )

    def check(self) -> None:
        """Nothing of it runs that is not ours, and it leads to no other server."""
        for tag, attributes in self.tags:
            assert not [
                name for name in attributes if name.startswith("on") or name in {"style", "srcdoc", "formaction"}
            ]
            assert tag not in {"iframe", "object", "embed", "base", "style"}
            assert tag != "script" or attributes["src"].startswith("/static/")
        for address in self.addresses():
            assert address.startswith(("/", "#", "data:image/")), address
            assert not address.startswith("//")
            assert ".." not in urlsplit(address).path.split("/"), address
