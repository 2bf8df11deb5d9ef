"""How it stands with the broker is always known."""

import os
import signal
import time
from collections.abc import Callable
from typing import Any

from dashboard.link import Link
from mqttlink.settings import BrokerSettings
from tests.waiting import until
from tests.watching import Publisher

Open = Callable[..., Any]


def test_how_it_stands_with_the_broker_is_always_shown(open_mosquitto: Open) -> None:
    with open_mosquitto() as broker:
        settings = BrokerSettings(port=broker.port)
        with Link(settings, "p/v1/+/+/#") as link:
            link.wait_subscribed(10)
            assert link.words() == f"broker 127.0.0.1:{broker.port}: connected; nothing heard yet"
            Publisher(broker).say("p/v1/lab/scope-1/status", "{}")
            assert link.arrivals.get(timeout=10).topic == "p/v1/lab/scope-1/status"
            assert "connected; last heard 0 s ago" in link.words()
            os.kill(broker.pid, signal.SIGKILL)
            deadline = time.monotonic() + 20
            while not link.trouble and time.monotonic() < deadline:
                time.sleep(0.05)
            assert f"127.0.0.1:{broker.port}" in link.trouble
            with open_mosquitto(port=broker.port):
                while link.trouble and time.monotonic() < deadline:
                    time.sleep(0.05)
                assert not link.trouble


def test_a_hangup_makes_another_connection(open_mosquitto: Open) -> None:
    with open_mosquitto() as broker, Link(BrokerSettings(port=broker.port), "p/v1/+/+/#") as link:
        link.wait_subscribed(10)
        link.reconnect()
        assert until(lambda: "as SIGHUP asks" in link.trouble)
        assert until(lambda: not link.trouble)
