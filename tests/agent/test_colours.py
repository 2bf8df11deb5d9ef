"""What the agent learns of its site's colours."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from agent.colours import ENOUGH, SiteColours
from contract.cell_colours import colours_of, distance, moments_of
from contract.manifest import CellColours
from contract.types import Box, Cell, Image

TRAINING = CellColours(mean=(0.52, 0.34, 0.59), std=(0.14, 0.17, 0.07))
OUTLINE = np.array([[10, 10], [29, 10], [29, 29], [10, 29]], np.int32)
CELL = Cell(Box(10, 10, 20, 20), (20.0, 20.0), 80.0, OUTLINE)
CUT = Cell(Box(10, 10, 20, 20), (20.0, 20.0), 80.0, OUTLINE, flags=("edge",))


def field(mean: tuple[float, float, float], std: float, seed: int) -> Image:
    """A frame whose pixels have these colours (red, green, blue)."""
    rng = np.random.default_rng(seed)
    pixels = rng.normal(mean, std, (40, 40, 3))[..., ::-1] + rng.normal(0, 0.05, 3)
    return np.clip(pixels * 255, 0, 255).astype(np.uint8)


def seen(colours: SiteColours, cells: int, mean: tuple[float, float, float], std: float = 0.1) -> None:
    for seed in range(cells):
        colours.learn(field(mean, std, seed), [CELL])


def test_a_site_is_learned_from_its_cells() -> None:
    site = SiteColours(TRAINING)
    seen(site, 300, (0.3, 0.2, 0.45))
    np.testing.assert_allclose(site.now.mean, (0.3, 0.2, 0.45), atol=0.02)


def test_a_foreign_site_is_in_doubt_until_enough_of_its_cells_are_known() -> None:
    site = SiteColours(TRAINING)
    seen(site, ENOUGH - 1, (0.2, 0.2, 0.3))
    assert "colours_unknown" in site.doubts
    seen(site, ENOUGH, (0.2, 0.2, 0.3))
    assert not site.doubts


def test_a_site_that_looks_like_the_training_is_judged_from_the_first_cell_on() -> None:
    site = SiteColours(TRAINING)
    seen(site, 1, (0.52, 0.34, 0.59), 0.12)
    assert not site.doubts


def test_the_first_cell_of_a_site_is_not_its_own_measure() -> None:
    """A dark cell moves the site's colours by a ninth of what it differs."""
    site = SiteColours(TRAINING)
    image = field((0.3, 0.2, 0.4), 0.1, 1)
    site.learn(image, [CELL])
    own = colours_of([moments] if (moments := moments_of(image, OUTLINE)) is not None else [])
    expected = np.array(TRAINING.mean) + (np.array(own.mean) - TRAINING.mean) / 9
    np.testing.assert_allclose(site.now.mean, expected, atol=1e-4)


def test_a_stage_that_stands_still_counts_its_cells_once() -> None:
    site = SiteColours(TRAINING)
    for _ in range(50):
        site.learn(field((0.3, 0.2, 0.4), 0.1, 1), [CELL])
    assert site.cells == 1


def test_a_cell_that_the_border_cuts_does_not_count() -> None:
    site = SiteColours(TRAINING)
    site.learn(field((0.3, 0.2, 0.4), 0.1, 1), [CUT])
    assert site.cells == 0
    assert site.now == TRAINING


def test_what_was_learned_is_known_from_enough_cells_on() -> None:
    few, enough = SiteColours(TRAINING), SiteColours(TRAINING)
    seen(few, ENOUGH - 1, (0.3, 0.2, 0.45))
    seen(enough, ENOUGH, (0.3, 0.2, 0.45))
    assert few.known is None
    assert enough.known is not None
    np.testing.assert_allclose(enough.known.mean, (0.3, 0.2, 0.45), atol=0.03)


def test_a_measured_site_learns_nothing_and_has_no_doubts() -> None:
    measured = CellColours(mean=(0.2, 0.2, 0.2), std=(0.1, 0.1, 0.1))
    site = SiteColours(TRAINING, measured)
    seen(site, 3, (0.9, 0.9, 0.9))
    assert site.now == measured
    assert not site.doubts


def test_a_few_cells_that_are_none_do_not_count() -> None:
    """One in ten is a black blot; the trimmed mean leaves it out."""
    site, clean = SiteColours(TRAINING), SiteColours(TRAINING)
    for seed in range(100):
        image = field((0.5, 0.35, 0.6), 0.1, seed)
        clean.learn(image, [CELL])
        site.learn(np.zeros_like(image) + np.uint8(seed) if seed % 11 == 0 else image, [CELL])
    assert distance(site.now, clean.now) < 0.25


@given(left=st.integers(-60, 60), top=st.integers(-60, 60), width=st.integers(1, 80), height=st.integers(1, 80))
def test_moments_are_those_of_the_pixels_within_the_outline(left: int, top: int, width: int, height: int) -> None:
    """For a rectangle, wherever it lies; one that holds too little of the image has none."""
    image = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    corners = [[left, top], [left + width - 1, top], [left + width - 1, top + height - 1], [left, top + height - 1]]
    within = image[max(top, 0) : max(top + height, 0), max(left, 0) : max(left + width, 0)].reshape(-1, 3)
    found = moments_of(image, np.array(corners, np.int32))
    if len(within) < 30 or width < 3 or height < 3:
        return
    assert found is not None
    np.testing.assert_allclose(found[0], within[:, ::-1].mean(0) / 255, atol=0.06)
