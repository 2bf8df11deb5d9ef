"""The page as a service under a real systemd: who may sign in, what a kill costs, and how soon it ends."""

import http.client
import json
import logging
import shutil
import ssl
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlencode

import pytest

from common.signals import BOUND_S
from tests.box import Box
from tests.faults.test_refused import Authority
from tests.waiting import SLACK, until

log = logging.getLogger(__name__)
pytestmark = pytest.mark.requires_root

AGENT, COLLECTOR, PAGE = "microscope-agent", "microscope-collect", "microscope-dashboard"
STATE = f"/var/lib/private/{PAGE}"
PORT = 8088
PASSWORD = "it is only a test of a page"  # noqa: S105 - of people who are made up
SMEAR = """
site = "lab"
device = "scope-1"
source = {kind = "synthetic", fps = 10}
slide = {id = "S-1"}
outbox = {forget_on = "consumer"}
pictures = {keep = true}
"""
SLIDE = "/slides/lab/scope-1/S-1"
INSTALL = Path(__file__).parents[2] / "systemd" / "INSTALL.md"


class Browser:
    """Asks the page in the box as a browser does; keeps its cookie, and the word that its requests repeat."""

    def __init__(self, box: Box, tls: ssl.SSLContext | None = None) -> None:
        self._box, self._tls = box, tls
        self.cookie = self.word = ""

    def open(self, method: str, path: str, body: str = "", **headers: str) -> http.client.HTTPResponse:
        """An answer whose body is still to be read; raises OSError while nobody listens."""
        sock = self._box.connect(PORT)
        connection = http.client.HTTPConnection("localhost", PORT)
        connection.sock = self._tls.wrap_socket(sock, server_hostname="localhost") if self._tls else sock
        given = {"cookie": self.cookie, "x-csrf-token": self.word, "accept": "text/html", "connection": "close"}
        connection.request(method, path, body, {**given, **headers})
        return connection.getresponse()

    def ask(self, method: str, path: str, body: str = "", **headers: str) -> tuple[int, str]:
        """Status and text of an answer."""
        with self.open(method, path, body, **headers) as answer:
            if said := answer.getheader("set-cookie"):
                self.cookie = said.partition(";")[0]
            return answer.status, answer.read().decode()

    def sends(self, path: str, **fields: str) -> int:
        """Send a form; the status of the answer."""
        kind = {"content-type": "application/x-www-form-urlencoded"}
        return self.ask("POST", path, urlencode(fields), **kind)[0]

    def says(self, path: str, what: object) -> int:
        """Send what a script of the page sends; the status of the answer."""
        kind = {"content-type": "application/json", "accept": "application/json"}
        return self.ask("POST", path, json.dumps(what), **kind)[0]

    def is_answered(self) -> bool:
        with suppress(OSError):
            return self.ask("GET", "/signin")[0] == 200
        return False

    def sign_in(self, name: str) -> int:
        code = self.sends("/signin", name=name, password=PASSWORD)
        self.word = self.ask("GET", "/agents")[1].partition('data-csrf="')[2].partition('"')[0]
        return code


def settings(box: Box, unit: str, text: str | None = None) -> str:
    """What stands in a service's settings file, and what is to stand there instead."""
    name = {AGENT: "agent", COLLECTOR: "collector", PAGE: "dashboard"}[unit]
    file = box.root / f"etc/microscope-agent/{name}.toml"
    before = file.read_text()
    if text is not None:
        file.write_text(text)
    return before


def add(box: Box, name: str, role: str = "reviewer") -> str:
    """Add a person as an administrator of the machine does; what the command says."""
    return box.run("sh", "-c", f"echo '{PASSWORD}' | microscope-users add {name} --role {role}")


def forget(box: Box) -> None:
    """Stop all services, and take away what they keep."""
    box.run("systemctl", "disable", "--now", PAGE, AGENT, COLLECTOR)
    for unit in (PAGE, AGENT, COLLECTOR):
        box.run("systemctl", "reset-failed", unit, check=False)
        box.run("sh", "-c", f"rm -rf /var/lib/private/{unit}/*")


@pytest.fixture
def page(box: Box) -> Iterator[Box]:
    """The box with an agent and the page as `make install` leaves it, where ada may review; not started yet."""
    forget(box)
    before = settings(box, AGENT, SMEAR), settings(box, PAGE)
    add(box, "ada")
    yield box
    forget(box)
    settings(box, AGENT, before[0])
    settings(box, PAGE, before[1])
    box.change(PAGE, "")


def started(box: Box, tls: ssl.SSLContext | None = None) -> Browser:
    box.run("systemctl", "start", PAGE)
    browser = Browser(box, tls)
    assert until(browser.is_answered, 30), box.journal(PAGE)
    return browser


def cells(box: Box) -> list[str]:
    """Every cell of the slide that is stored, by its name."""
    rows = box.run("microscope-stored", "--page", "export", "cells", "--form", "jsonl", check=False).splitlines()
    return sorted({name for row in rows if (name := json.loads(row)["object_id"])})


def numbers(box: Box) -> list[int]:
    """Numbers of the reports that are stored, of the agent's only epoch."""
    rows = box.run("microscope-stored", "--page", "export", "reports", "--form", "jsonl").splitlines()
    return sorted(json.loads(row)["seq"] for row in rows)


def test_who_is_added_signs_in_and_the_service_keeps_what_it_knows_for_itself(page: Box) -> None:
    browser = started(page)
    assert browser.sign_in("ada") == 303
    assert browser.ask("GET", "/slides")[0] == 200
    assert page.run("microscope-users", "list") == "ada  reviewer"
    for path in ("", "/users.json", "/sessions.sqlite", "/reviews.sqlite", "/deeds.sqlite", "/collector.sqlite"):
        mode = "600" if path else "700"
        assert page.run("stat", "-c", "%U %a", STATE + path) == f"{PAGE} {mode}", path


def test_who_is_added_or_removed_while_it_runs_is_in_or_out_at_once(page: Box) -> None:
    browser = started(page)
    assert add(page, "rita", "reader") == "rita may sign in as reader"
    assert browser.sign_in("rita") == 303
    page.run("microscope-users", "remove", "rita")
    assert browser.ask("GET", "/slides")[0] == 303
    assert browser.sign_in("rita") == 401


def test_on_a_terminal_the_password_is_asked_for_twice_and_not_shown(page: Box) -> None:
    with page.start("script", "-qec", "microscope-users add rita", "/dev/null") as asked:
        shown = ""
        assert asked.stdin is not None
        assert asked.stdout is not None
        for question in ("password: ", "again: "):
            while not shown.endswith(question):
                one = asked.stdout.read(1)
                assert one, shown
                shown += one
            print(PASSWORD, file=asked.stdin, flush=True)
        shown += asked.stdout.read()
    assert asked.returncode == 0
    assert "rita may sign in as reviewer" in shown
    assert PASSWORD not in shown


def test_where_nobody_may_sign_in_it_says_how_somebody_may_and_is_not_tried_again(page: Box) -> None:
    page.run("microscope-users", "remove", "ada")
    page.run("systemctl", "start", PAGE, check=False)
    page.wait(PAGE, "failed")
    assert (page.shows(PAGE, "ExecMainStatus"), page.shows(PAGE, "NRestarts")) == ("2", "0")
    assert "sudo microscope-users add NAME" in page.journal(PAGE)


def test_one_command_for_a_person_says_what_there_is(page: Box) -> None:
    with pytest.raises(
        AssertionError, match=r"write microscope-users add NAME .*remove NAME, or microscope-users list"
    ):
        page.run("microscope-users", "serve")


def test_after_kill_nobody_signs_in_again_and_no_report_and_no_review_is_lost(page: Box) -> None:
    browser = started(page)
    browser.sign_in("ada")
    page.run("systemctl", "start", AGENT)
    assert until(lambda: len(cells(page)) >= 2, 60), page.journal(PAGE)
    assert browser.sends(f"{SLIDE}/review/begin", call_id="begins-here") == 303
    said = []
    for number, cell in enumerate(cells(page)[:2]):
        shown = {"reading": "1", "object_ids": [cell]}
        verdict = {"reading": "1", "call_id": f"verdict-{number}", "given": [{"object_id": cell, "kind": "unsure"}]}
        assert browser.says(f"{SLIDE}/review/shown", shown) == 200
        assert browser.says(f"{SLIDE}/review/verdicts", verdict) == 200
        said.append(cell)
        before, began = page.shows(PAGE, "MainPID"), time.monotonic()
        page.run("kill", "-KILL", before)
        assert until(browser.is_answered, 30), page.journal(PAGE)
        log.info("from SIGKILL to an answer: %.2f s", time.monotonic() - began)
        assert page.shows(PAGE, "MainPID") not in {before, "0"}
        assert browser.ask("GET", f"{SLIDE}/review")[0] == 200
    page.run("systemctl", "stop", AGENT)
    assert said_in(page, f"{STATE}/reviews.sqlite") == said
    assert until(lambda: (stored := numbers(page)) == list(range(1, len(stored) + 1)), 30), numbers(page)


def test_it_ends_in_order_within_two_seconds_though_pages_are_open(page: Box) -> None:
    browser = started(page)
    browser.sign_in("ada")
    page.run("systemctl", "start", AGENT)
    assert until(lambda: cells(page), 60), page.journal(PAGE)
    where = "/events?page=agents", "/events?page=live&site=lab&device=scope-1"
    streams = [browser.open("GET", path) for path in where]
    for stream in streams:
        assert stream.readline().startswith(b"event:")
    began = time.monotonic()
    page.run("systemctl", "stop", PAGE)
    seconds = time.monotonic() - began
    log.info("from SIGTERM to the end: %.2f s, promised %.1f s", seconds, BOUND_S)
    for stream in streams:
        stream.close()
    assert seconds <= SLACK * BOUND_S
    assert (page.shows(PAGE, "Result"), page.shows(PAGE, "ExecMainStatus")) == ("success", "0")
    assert "told to end, but" not in page.journal(PAGE)


def test_tables_bundles_and_reports_are_made_within_the_walls_of_the_service(page: Box) -> None:
    browser = started(page)
    browser.sign_in("ada")
    page.run("systemctl", "start", AGENT)
    assert until(lambda: cells(page), 60), page.journal(PAGE)
    for name, begins in (("cells.csv", b"\xef\xbb\xbf"), ("fhir.json", b"{"), ("report.pdf", b"%PDF")):
        with browser.open("GET", f"{SLIDE}/{name}") as answer:
            assert (answer.status, answer.read(len(begins))) == (200, begins), page.journal(PAGE)


def test_a_reload_makes_other_connections_and_the_page_goes_on(page: Box) -> None:
    browser = started(page)
    browser.sign_in("ada")
    page.run("systemctl", "start", AGENT)
    assert until(lambda: cells(page), 60), page.journal(PAGE)
    before, known = page.shows(PAGE, "MainPID"), numbers(page)[-1]
    page.run("systemctl", "reload", PAGE)
    assert until(lambda: numbers(page)[-1] > known + 5, 30), page.journal(PAGE)
    with browser.open("GET", "/events?page=agents") as stream:
        lines = [stream.readline().decode() for _ in range(60)]
    assert any('"trouble": ""' in line for line in lines), [line[:200] for line in lines]
    assert page.shows(PAGE, "MainPID") == before


def test_browsers_speak_tls_with_a_key_that_only_root_can_read(page: Box, tmp_path: Path) -> None:
    ours = Authority(tmp_path, "ours")
    lines = (page.root / f"etc/systemd/system/{PAGE}.service").read_text().splitlines()
    examples = [line.removeprefix("# ") for line in lines if line.startswith("# LoadCredential=web.tls.")]
    for line, made in zip(examples, ours.sign("page"), strict=True):
        file = page.root / line.rpartition(":")[2].lstrip("/")
        file.touch(mode=0o600)
        file.write_text(made.read_text())
    page.change(PAGE, "\n".join(examples))
    settings(
        page, PAGE, settings(page, PAGE).replace('host = "127.0.0.1"\nport = 8088', 'host = "0.0.0.0"\nport = 8088')
    )
    browser = started(page, ssl.create_default_context(cafile=str(ours.certificate)))
    assert browser.sign_in("ada") == 303
    assert browser.cookie.startswith("__Host-session=")
    assert page.run("microscope-users", "list") == "ada  reviewer"
    assert "PRIVATE KEY" not in page.journal(PAGE)


def test_what_a_collector_has_stored_moves_into_the_page_and_nothing_comes_twice(page: Box) -> None:
    page.run("systemctl", "start", COLLECTOR, AGENT)
    assert until(lambda: "lab/scope-1 epoch" in page.run("microscope-stored", "status", check=False), 30)
    page.run("systemctl", "stop", COLLECTOR)
    page.run("sh", "-c", f"set -e\n{lines_below('The store of a collector')}")
    browser = started(page)
    browser.sign_in("ada")
    assert until(lambda: len(numbers(page)) > 30, 60), page.journal(PAGE)
    stored = numbers(page)
    assert stored == list(range(1, len(stored) + 1))
    assert "S-1" in browser.ask("GET", "/slides")[1]


@pytest.mark.skipif(shutil.which("sqlite3") is None, reason="the command sqlite3 is not installed")
def test_the_back_up_of_the_installation_page_is_whole_and_good_to_go_on_from(page: Box) -> None:
    browser = started(page)
    browser.sign_in("ada")
    page.run("systemctl", "start", AGENT)
    assert until(lambda: cells(page), 60), page.journal(PAGE)
    cell = cells(page)[0]
    assert browser.sends(f"{SLIDE}/review/begin", call_id="begins-here") == 303
    browser.says(f"{SLIDE}/review/shown", {"reading": "1", "object_ids": [cell]})
    verdict = {"reading": "1", "call_id": "verdict-0", "given": [{"object_id": cell, "kind": "unsure"}]}
    assert browser.says(f"{SLIDE}/review/verdicts", verdict) == 200
    page.run("sh", "-c", f"mkdir /backup; set -e\n{lines_below('**Back-up**')}")
    page.run("systemctl", "stop", PAGE, AGENT)
    page.run("sh", "-c", f"cd {STATE} && rm -f ./* && cp /backup/* . && chown --reference=. ./* && rm -r /backup")
    browser = started(page)
    assert browser.sign_in("ada") == 303
    assert said_in(page, f"{STATE}/reviews.sqlite") == [cell]
    assert cell in cells(page)


def said_in(box: Box, database: str) -> list[str]:
    """The cells of all verdicts, in their order."""
    read = "import sqlite3, sys; print(*(row[0] for row in sqlite3.connect(sys.argv[1]).execute(sys.argv[2])))"
    return box.run("python3", "-c", read, database, "select object_id from verdict order by id").split()


def lines_below(words: str) -> str:
    """The first commands of the installation page below these words, for root."""
    return INSTALL.read_text().partition(words)[2].partition("```sh\n")[2].partition("```")[0].replace("sudo ", "")


def test_a_store_that_is_damaged_ends_the_page_with_the_remedy_and_is_not_touched(page: Box) -> None:
    started(page)
    page.run("systemctl", "stop", PAGE)
    page.run("sh", "-c", f"rm -f {STATE}/collector.sqlite-*; printf 'no database at all' >{STATE}/collector.sqlite")
    page.run("systemctl", "start", PAGE, check=False)
    page.wait(PAGE, "failed")
    assert page.shows(PAGE, "ExecMainStatus") == "5"
    assert "microscope-collect rescue" in page.journal(PAGE)
    assert page.run("cat", f"{STATE}/collector.sqlite") == "no database at all"
