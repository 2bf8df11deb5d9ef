"""An agent's name, its topics, its outbox, and users whom a broker knows."""

import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from agent.sources.synthetic import SyntheticSource
from agent.wire.outbox import Outbox
from contract.messages import FrameReport
from contract.topics import Topics
from contract.types import Frame
from devbroker.broker import find_program
from tests.audits import EVENTS, fill
from tests.slides import camera, frame_of


@pytest.fixture
def device(request: pytest.FixtureRequest) -> str:
    """A name of its own for each test's agent, so that tests can share a broker."""
    return str(request.node.name).replace("[", "-").replace("]", "")[:64]


@pytest.fixture
def topics(device: str) -> Topics:
    return Topics(prefix="test", site="lab", device=device)


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    with Outbox(tmp_path / "outbox.sqlite", max_mb=8) as outbox:
        yield outbox


@pytest.fixture
def passwords(open_mosquitto: Callable[..., Any], tmp_path: Path) -> Path:  # noqa: ARG001 - brings mosquitto_passwd
    """A password file that knows the user `scope` with the password `right`."""
    file = tmp_path / "passwords"
    subprocess.run([str(find_program("mosquitto_passwd")), "-c", "-b", file, "scope", "right"], check=True)
    return file


@pytest.fixture(scope="module")
def field() -> Frame:
    """A field of a rendered smear."""
    return frame_of(camera().look(0, 0, blur_um=0.2, rng=np.random.default_rng(1))[0])


@pytest.fixture(scope="session")
def smear(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of six rendered frames."""
    folder = tmp_path_factory.mktemp("smear")
    with SyntheticSource(frames=6).open(threading.Event()) as frames:
        for number, frame in enumerate(frames, start=1):
            cv2.imwrite(str(folder / f"{number}.png"), frame.image)
    return folder


@pytest.fixture
def outbox_path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "outbox.sqlite"


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A folder with an audit log of six events in one file."""
    fill(tmp_path, EVENTS)
    return tmp_path


@pytest.fixture
def filled(tmp_path: Path, make_report: Callable[..., FrameReport]) -> Iterator[Outbox]:
    """An outbox with reports 1 to 10."""
    with Outbox(tmp_path / "outbox", max_mb=8) as outbox:
        for seq in range(1, 11):
            outbox.put(make_report(seq, outbox.epoch))
        yield outbox
