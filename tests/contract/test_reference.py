"""The training reference in a manifest: optional, whole, finite."""

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from contract.bundle import MANIFEST, SHIPPED
from contract.manifest import Manifest
from contract.reference import Colour, Margins, Reference, Scores, Spread, Stains


def a_spread(mean: float) -> Spread:
    return Spread(mean=mean, std=mean / 10, low=mean * 0.8, high=mean * 1.2)


def a_reference() -> Reference:
    margins = Margins(cells=4, every=(-3.0, 0.5, 3.0))
    colour = Colour(mean=(0.2, 0.3, 0.1), std=(0.05, 0.05, 0.05), between=(0.02, 0.02, 0.02))
    return Reference(
        images=8,
        on="rendered cells",
        um_per_pixel=0.1,
        background=a_spread(0.8),
        bare=(0.75, 0.8, 0.85),
        focus=a_spread(2.0),
        red_cells=colour,
        nuclei=colour,
        stains=Stains(red=(0.6, 0.8, 0), blue=(0, 0.6, 0.8), strength=(0.4, 0.9)),
        scores=Scores(levels=(0.05, 0.5, 0.95), on="rendered cells", fp32=margins, int8=margins),
    )


def shipped_manifest() -> Manifest:
    return Manifest.model_validate_json((SHIPPED / MANIFEST).read_bytes())


def test_a_manifest_without_a_reference_is_written_as_before_there_were_any() -> None:
    bare = shipped_manifest().model_copy(update={"reference": None})
    assert "reference" not in json.loads(bare.to_bytes())
    assert Manifest.model_validate_json(bare.sealed().to_bytes()) == bare.sealed()


def test_a_reference_is_read_as_it_was_written(tmp_path: Path) -> None:
    full = shipped_manifest().model_copy(update={"reference": a_reference()}).sealed()
    (tmp_path / MANIFEST).write_bytes(full.to_bytes())
    again = Manifest.model_validate_json((tmp_path / MANIFEST).read_bytes())
    assert again.reference == a_reference()
    assert again.sealed().to_bytes() == full.to_bytes()


def test_a_figure_that_is_no_number_is_refused() -> None:
    with pytest.raises(ValidationError, match="finite"):
        Spread(mean=float("nan"), std=0, low=0, high=0)


def test_a_missing_quantile_is_refused() -> None:
    margins = Margins(cells=4, every=(-3.0, 3.0))
    with pytest.raises(ValidationError, match="one quantile for each level"):
        Scores(levels=(0.05, 0.5, 0.95), on="-", fp32=margins, int8=margins)


@pytest.mark.parametrize("blue", [-1.0, 75.0])
def test_a_background_that_no_camera_can_show_is_refused(blue: float) -> None:
    odd = a_reference().model_dump() | {"bare": (blue, 0.8, 0.85)}
    with pytest.raises(ValidationError, match="bare"):
        Reference.model_validate(odd)
