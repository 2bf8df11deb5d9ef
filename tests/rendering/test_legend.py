"""The strip below a picture: its scale and its colours."""

import numpy as np
import pytest

from rendering.legend import COLOURS, bar_um


@pytest.mark.parametrize(("wanted", "bar"), [(7.7, 5), (10, 10), (19.9, 10), (20, 20), (0.3, 0.2), (640, 500)])
def test_the_scale_bar_is_a_round_number(wanted: float, bar: float) -> None:
    assert bar_um(wanted) == pytest.approx(bar)


def test_each_label_has_a_brightness_of_its_own() -> None:
    """So that the colours differ in grey too."""
    grey = sorted(np.dot(colour, (0.11, 0.59, 0.30)) for colour in COLOURS.values())
    assert min(np.diff(grey)) > 20
