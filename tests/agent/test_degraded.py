"""Degraded real frames: the severe ones are refused for the right reason, and the originals are not."""

import os
import sys

import pytest

from bench.degraded import KINDS, measure

pytestmark = [
    pytest.mark.requires_data,
    pytest.mark.skipif("MICROSCOPE_DATA" not in os.environ, reason="MICROSCOPE_DATA does not name the real images"),
]


def test_each_kind_is_refused_for_its_reason() -> None:
    """A small part of the thousand below."""
    verdicts = measure(6 * len(KINDS))
    assert verdicts.share() >= 0.97, f"{verdicts}\n{verdicts.missed}"
    assert verdicts.originals() <= 0.02, f"{verdicts}\n{verdicts.missed}"


@pytest.mark.soak
def test_of_a_thousand_99_in_100_are_refused_for_their_reason_and_of_the_originals_one_in_100_at_most(
    capsys: pytest.CaptureFixture[str],
) -> None:
    verdicts = measure(1000)
    with capsys.disabled():
        sys.stdout.write(f"\n{verdicts}\n")
    assert sum(verdicts.seen[kind] for kind in KINDS) >= 1000
    assert verdicts.share() >= 0.99, verdicts.missed
    assert verdicts.originals() <= 0.01, verdicts.missed
