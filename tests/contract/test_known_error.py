"""The known error in a manifest: optional, and not written where it is absent."""

import json

import pytest
from pydantic import ValidationError

from contract.bundle import MANIFEST, SHIPPED
from contract.known_error import KnownError, ModelError, PatientRate
from contract.manifest import Manifest

RATE = PatientRate(mean=0.95, std=0.04, patients=13)
FP32, INT8 = (ModelError(sensitivity=RATE, specificity=RATE.model_copy(update={"std": std})) for std in (0.02, 0.03))
KNOWN = KnownError(on="patients of the validation split", fp32=FP32, int8=INT8)


def manifests() -> list[bytes]:
    return [path.read_bytes() for path in sorted(SHIPPED.parent.glob(f"*/{MANIFEST}"))]


def test_a_bundle_made_before_keeps_its_digest() -> None:
    assert len(manifests()) >= 2
    for written in manifests():
        manifest = Manifest.model_validate_json(written)
        assert manifest.to_bytes() == written
        assert manifest.sealed().digest == manifest.digest


def test_it_is_read_as_it_was_written() -> None:
    older = Manifest.model_validate_json(manifests()[0]).model_copy(update={"known_error": None})
    assert "known_error" not in json.loads(older.to_bytes())
    sealed = older.model_copy(update={"known_error": KNOWN}).sealed()
    assert Manifest.model_validate_json(sealed.to_bytes()) == sealed
    assert sealed.digest != older.sealed().digest


def test_each_precision_has_its_own() -> None:
    assert KNOWN.of("int8") == INT8
    assert KNOWN.of("fp32") == KNOWN.of("fp16") == FP32


@pytest.mark.parametrize(("name", "odd"), [("mean", 1.2), ("std", -0.1), ("patients", 4)])
def test_a_figure_that_can_not_be_is_refused(name: str, odd: float) -> None:
    with pytest.raises(ValidationError, match=name):
        PatientRate.model_validate(RATE.model_dump() | {name: odd})
