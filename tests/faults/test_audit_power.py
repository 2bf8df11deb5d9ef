"""Power cuts under the audit log: what was said to be noted is there afterwards, and the chain is whole."""

import random
from pathlib import Path

import pytest

from agent.ops.audit import FOLDER, AuditLog, verify
from tests.faults.test_power import work_until_the_power_goes

CUTS = 20

NOTE = """
import random, sys
from pathlib import Path
from agent.ops.audit import AuditLog

folder, state, seed = sys.argv[1:]
chance = random.Random(seed)
with AuditLog(Path(state), file_bytes=20_000, kept_files=4) as audit:
    while True:
        audit("event", {"text": "x" * chance.randrange(3000)})
        print("noted", audit.head.count, flush=True)
"""


def state_on(place: Path, at: Path) -> Path:
    """A state folder whose audit log lies in another place: the disk that loses power holds no folders."""
    at.mkdir(exist_ok=True)
    link = at / FOLDER
    link.unlink(missing_ok=True)
    link.symlink_to(place)
    return at


@pytest.mark.requires_root
@pytest.mark.usefixtures("may_mount")
def test_nothing_noted_is_lost_and_the_chain_is_whole_after_each_of_many_power_cuts(tmp_path: Path) -> None:
    mount, image = tmp_path / "mount", tmp_path / "image"
    mount.mkdir()
    image.mkdir()
    worker, after = state_on(mount, tmp_path / "worker"), state_on(image, tmp_path / "after")
    chance = random.Random(5)  # noqa: S311 - chooses moments, guards nothing
    for cut in range(CUTS):
        said = work_until_the_power_goes(
            NOTE, mount, image, pattern=str(worker), seed=cut, lines=chance.randrange(1, 60)
        )
        noted = said[-1][1]
        verdict = verify(after)
        assert verdict.head.count >= noted, f"cut {cut}"
    with AuditLog(after) as audit:
        audit("start", {})
    verdict = verify(after)
    assert not verdict.unfinished
    assert verdict.first > 1
