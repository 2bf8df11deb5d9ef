"""A log that was cut is seen from afar, and nothing else is taken for one."""

from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from contract.health_messages import AuditHead, Health
from dashboard.live.fleet import AgentKey
from dashboard.live.heads import FILE, MOST_CUTS, AuditHeads

KEY = AgentKey("lab", "scope-1")
NOON = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)


def health(lines: int | None, *, letter: str = "a", at: int = 0) -> Health:
    audit = None if lines is None else AuditHead(lines=lines, sha256=f"{letter}{lines}".ljust(64, "0"))
    return Health(
        at=NOON + timedelta(seconds=at), frames=0, refused=0, cells=0, queued=0, engine="onnxruntime-int8", audit=audit
    )


@pytest.fixture
def heads(tmp_path: Path) -> AuditHeads:
    return AuditHeads(tmp_path / FILE)


def cuts(heads: AuditHeads) -> list[tuple[int, int]]:
    found = heads.of(KEY)
    assert found is not None
    return [(cut.before.lines, cut.after.lines) for cut in found.cuts]


def test_a_log_that_grows_or_stands_is_as_it_should_be(heads: AuditHeads) -> None:
    for at, lines in enumerate([3, 3, 4, 90, 90]):
        heads.see(KEY, health(lines, at=at), retained=False)
    assert cuts(heads) == []
    found = heads.of(KEY)
    assert found is not None
    assert (found.first.lines, found.last.lines, found.last.at) == (3, 90, NOON + timedelta(seconds=4))


def test_fewer_lines_than_before_are_a_cut_that_stays_known_when_the_log_has_grown_again(heads: AuditHeads) -> None:
    for at, lines in enumerate([90, 40, 41, 200]):
        heads.see(KEY, health(lines, at=at), retained=False)
    assert cuts(heads) == [(90, 40)]


def test_as_many_lines_with_another_hash_are_a_change(heads: AuditHeads) -> None:
    heads.see(KEY, health(90), retained=False)
    heads.see(KEY, health(90, letter="b", at=1), retained=False)
    assert cuts(heads) == [(90, 90)]


def test_the_last_end_of_each_day_is_kept_to_be_looked_for_in_the_log(heads: AuditHeads) -> None:
    day_s = 86_400
    for at, lines in ((0, 3), (60, 5), (day_s, 8), (day_s + 60, 9), (3 * day_s, 12)):
        heads.see(KEY, health(lines, at=at), retained=False)
    found = heads.of(KEY)
    assert found is not None
    assert [head.lines for head in found.days] == [5, 9]
    assert found.sought.lines == 9


def test_on_the_first_day_the_first_end_is_looked_for(heads: AuditHeads) -> None:
    heads.see(KEY, health(3), retained=False)
    heads.see(KEY, health(8, at=60), retained=False)
    found = heads.of(KEY)
    assert found is not None
    assert found.sought.lines == 3


def test_a_page_that_is_started_again_knows_what_the_one_before_has_seen(heads: AuditHeads, tmp_path: Path) -> None:
    heads.see(KEY, health(90), retained=False)
    heads.save()
    again = AuditHeads(tmp_path / FILE)
    again.see(KEY, health(40, at=60), retained=True)
    assert cuts(again) == [(90, 40)]
    assert (tmp_path / FILE).stat().st_mode & 0o077 == 0


def test_what_a_broker_had_kept_from_before_is_no_cut(heads: AuditHeads) -> None:
    heads.see(KEY, health(90, at=60), retained=False)
    heads.see(KEY, health(40, at=0), retained=True)
    assert cuts(heads) == []


def test_an_agent_that_says_nothing_of_its_log_is_not_known(heads: AuditHeads) -> None:
    heads.see(KEY, health(None), retained=False)
    assert heads.of(KEY) is None


def test_cuts_without_end_take_no_room_without_end_and_the_first_one_stays(heads: AuditHeads) -> None:
    for at in range(5 * MOST_CUTS):
        heads.see(KEY, health(10_000 - at, at=at), retained=False)
    found = cuts(heads)
    assert len(found) == MOST_CUTS
    assert (found[0], found[-1]) == ((10_000, 9_999), (10_000 - 5 * MOST_CUTS + 2, 10_000 - 5 * MOST_CUTS + 1))


def test_a_file_that_can_not_be_read_is_told_and_begun_anew(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / FILE).write_text("[]")
    heads = AuditHeads(tmp_path / FILE)
    assert "what was seen of audit logs before is lost" in caplog.text
    heads.see(KEY, health(3), retained=False)
    heads.save()
    assert AuditHeads(tmp_path / FILE).of(KEY) is not None


def test_a_folder_that_can_not_be_written_is_told_and_tried_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    heads = AuditHeads(tmp_path / "later" / FILE)
    heads.see(KEY, health(3), retained=False)
    heads.save()
    assert "can not be written" in caplog.text
    (tmp_path / "later").mkdir()
    heads.save()
    assert AuditHeads(tmp_path / "later" / FILE).of(KEY) is not None
