"""`picture/get`: pictures come whole or in pieces, and nothing that was asked for is passed over in silence."""

import base64
import json
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.pictures.answers import PictureAnswers
from agent.pictures.keeper import PictureKeeper
from agent.pictures.store import PictureStore
from common.errors import PictureError
from contract.messages import BoxReport, FrameReport
from contract.requests import Answer, GetPictures, Pictures
from devbroker.broker import Broker
from tests.agent.test_commands import Rig, running
from tests.agent.test_picture_keeper import SlowStore
from tests.kept import decoded, kept, seen
from tests.waiting import until

Open = Callable[..., Any]
LARGE = 2**28
SIZES = [1000, 60_000, 300, 200_000, 5]


@pytest.fixture(scope="module")
def keeper(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PictureKeeper]:
    folder = tmp_path_factory.mktemp("store")
    with closing(PictureStore(folder / "p.sqlite", max_mb=8, days=1, spare_bytes=0)) as store:
        store.put([kept(f"c{number}", size) for number, size in enumerate(SIZES)])
        yield PictureKeeper(store, lambda: 16.0)


def fetched(answers: PictureAnswers, ids: list[str], max_kb: int) -> tuple[dict[str, bytes], list[str]]:
    """Ask until nothing is left, as docs/mqtt.md says."""
    files: dict[str, bytes] = {}
    missing: list[str] = []
    offset = 0
    while ids:
        answer = answers.give(GetPictures(kind="cell", ids=tuple(ids), max_kb=max_kb, offset=offset))
        assert sum(len(piece.data_base64) for piece in answer.pictures) <= max_kb * 1024
        for piece in answer.pictures:
            assert piece.offset == len(files.get(piece.id, b""))
            files[piece.id] = files.get(piece.id, b"") + base64.b64decode(piece.data_base64)
        missing += answer.missing
        assert len(answer.left) < len(ids) or answer.pictures
        ids = answer.left
        offset = len(files.get(ids[0], b"")) if ids else 0
    return files, missing


@given(
    ids=st.lists(st.sampled_from(["c0", "c1", "c2", "c3", "c4", "none", "none/2"]), min_size=1, unique=True),
    max_kb=st.integers(16, 1024),
    largest=st.sampled_from([4000, 20_000, LARGE]),
)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_pieces_one_behind_the_other_are_the_pictures_and_the_rest_is_missing(
    keeper: PictureKeeper, ids: list[str], max_kb: int, largest: int
) -> None:
    files, missing = fetched(PictureAnswers(keeper, largest=lambda: largest), ids, max_kb)
    assert files == {name: kept(name, SIZES[int(name[1:])]).data for name in ids if name.startswith("c")}
    assert missing == [name for name in ids if name.startswith("none")]


@pytest.mark.parametrize("largest", [4000, 20_000, 400_000])
def test_an_answer_fits_into_what_the_broker_takes(keeper: PictureKeeper, largest: int) -> None:
    request = GetPictures(kind="cell", ids=("c3", "c1", "none"), max_kb=1024)
    result = PictureAnswers(keeper, largest=lambda: largest).give(request)
    answer = Answer[Pictures](command="picture/get", ok=True, result=result)
    assert len(answer.model_dump_json()) + 1024 <= largest
    assert result.pictures


def test_an_offset_beyond_the_end_gives_nothing_twice(keeper: PictureKeeper) -> None:
    request = GetPictures(kind="cell", ids=("c0", "c2"), offset=5000)
    first, second = PictureAnswers(keeper, largest=lambda: LARGE).give(request).pictures
    assert (first.offset, first.data_base64, second.offset) == (1000, "", 0)


def test_a_picture_that_is_not_ready_yet_is_left_and_not_missing(
    tmp_path: Path, make_report: Callable[..., FrameReport]
) -> None:
    store, stop = SlowStore(tmp_path / "p.sqlite"), threading.Event()
    keeper = PictureKeeper(store, lambda: 16.0)
    frame, report = seen(make_report, BoxReport(x=100, y=100, width=40, height=40))
    answers, ids = PictureAnswers(keeper, largest=lambda: LARGE), (report.cells[0].cell_id, "none")
    with keeper.running(stop):
        keeper.offer(frame, report)
        assert store.began.wait(10)
        early = answers.give(GetPictures(kind="cell", ids=ids))
        store.goes.set()
    assert (early.pictures, early.missing, early.left) == ([], ["none"], [ids[0]])
    late = answers.give(GetPictures(kind="cell", ids=ids))
    assert ([piece.id for piece in late.pictures], late.missing, late.left) == ([ids[0]], ["none"], [])


def test_without_pictures_it_says_which_setting_keeps_them() -> None:
    with pytest.raises(PictureError, match=r"set pictures\.keep in its settings"):
        PictureAnswers(None, largest=lambda: LARGE).give(GetPictures(kind="cell", ids=("a",)))


@pytest.fixture(scope="module")
def rig(open_mosquitto: Open, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """An agent that keeps pictures, at a broker that takes no packet of more than 60,000 bytes."""
    folder = tmp_path_factory.mktemp("keeps")
    with (
        open_mosquitto(config_lines=["max_packet_size 60000"]) as broker,
        running(broker, "keeps", folder, **{"pictures.keep": "true", "source.frames": "3000"}) as rig,
    ):
        assert until(lambda: len(known(folder / "state", "cell")) > 3, 60)
        yield rig


def known(state: Path, kind: str) -> dict[str, bytes]:
    """The files of the kept pictures, by id."""
    if not (state / "pictures.sqlite").exists():
        return {}
    with closing(sqlite3.connect(state / "pictures.sqlite", timeout=20)) as db:
        query = "select name, data from picture where kind = ? limit 5"
        return dict(db.execute(query, (kind,))) if db.execute("select 1 from sqlite_master").fetchone() else {}


def asked(rig: Rig, **request: Any) -> dict[str, Any]:
    answer: dict[str, Any] = rig.result("picture/get", json.dumps(request))
    return answer


@pytest.mark.parametrize("kind", ["cell", "frame"])
def test_a_running_agent_hands_its_pictures_out_in_pieces_that_the_broker_takes(rig: Rig, kind: str) -> None:
    wanted = known(rig.bundle.parent / "state", kind)
    ids, files, offset = ["none", *wanted], dict.fromkeys(wanted, b""), 0
    while ids:
        answer = asked(rig, kind=kind, ids=ids, max_kb=1024, offset=offset)
        assert answer["missing"] == (["none"] if "none" in ids else [])
        for piece in answer["pictures"]:
            files[piece["id"]] += base64.b64decode(piece["data_base64"])
        ids = answer["left"]
        offset = len(files[ids[0]]) if ids else 0
    assert files == wanted


def test_a_frame_is_drawn_upon_where_that_is_asked_for(rig: Rig) -> None:
    name, plain = next(iter(known(rig.bundle.parent / "state", "frame").items()))
    data, total = b"", 1
    while len(data) < total:
        [piece] = asked(rig, kind="frame", ids=[name], annotated=True, offset=len(data))["pictures"]
        data, total = data + base64.b64decode(piece["data_base64"]), piece["total_bytes"]
    assert decoded(data).shape[0] == piece["height"] > decoded(plain).shape[0]


def test_an_agent_that_keeps_none_says_so(mosquitto: Broker, subscribe: Open, tmp_path: Path) -> None:
    with running(mosquitto, "keeps-none", tmp_path) as rig:
        subscribe(mosquitto, rig.topics.frame).next(60)
        error = rig.error("picture/get", '{"kind": "cell", "ids": ["a"]}')
    assert (error["code"], "set pictures.keep" in error["text"]) == ("failed", True)
    assert not (tmp_path / "state" / "pictures.sqlite").exists()
