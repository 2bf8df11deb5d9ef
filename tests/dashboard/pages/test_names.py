"""Names may hold what means something in an address: every link of a page leads where it says."""

import re
from collections.abc import Callable
from html import unescape

from contract.messages import FrameReport
from dashboard.pages.slides import base_of
from dashboard.records import SlideKey
from devbroker.broker import Broker
from tests.dashboard.pages.conftest import Serve, sign_in
from tests.waiting import until
from tests.watching import Publisher


def test_links_to_a_microscope_of_any_name_open_its_page(
    serve: Serve, mosquitto: Broker, make_report: Callable[..., FrameReport]
) -> None:
    client = serve("names")
    sign_in(client, "ada")
    site, device = "l?a&b=1", "100%-é;x'\"<"
    report = make_report(site=site, device=device)
    Publisher(mosquitto).say(f"names/v1/{site}/{device}/frame", report.model_dump_json())

    def links() -> list[str]:
        found = re.findall(r'<th scope="row"><a href="([^"]*)"', client.get("/agents").text)
        return [unescape(link) for link in found]

    assert until(lambda: len(links()) == 1, 20)
    page = client.get(links()[0])
    assert page.status_code == 200
    assert report.frame.source in page.text
    assert device not in page.text, "it is escaped"


def test_the_address_of_a_slide_of_any_name_has_three_names_in_it() -> None:
    assert base_of(SlideKey("a?b", "c%2Fd", "e&f")) == "/slides/a%3Fb/c%252Fd/e%26f"
