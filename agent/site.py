"""The site file: what was measured of one microscope, and what ``run`` and ``replay`` use of it.

JSON, written by ``microscope-agent calibrate site``; it may be edited by hand. The flat field lies beside it.
"""

import difflib
import errno
import hashlib
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from agent.colours import SiteColours
from agent.sources.scale_setting import Scale
from agent.vision.flatfield import MAX_BYTES, Leveller, read_flat
from agent.vision.limits import DEFAULT_LIMITS, QualityLimits
from common.durable import write_whole
from common.errors import IntegrityError, UsageError
from common.plain import read_plain
from contract.colour import Normaliser, normaliser
from contract.manifest import CellColours, InputSpec
from contract.reference import StainProfile
from contract.types import Frame


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class MeasuredScale(_Part):
    """Micrometres per pixel, and between which bounds it lies."""

    value: Scale
    low: float = Field(gt=0, description="Lower bound, 95 %.")
    high: float = Field(gt=0, description="Upper bound, 95 %.")

    @model_validator(mode="after")
    def _ordered(self) -> "MeasuredScale":
        if not self.low <= self.value <= self.high:
            raise ValueError("low <= value <= high does not hold")
        return self


class FlatFile(_Part):
    """Where the flat field lies."""

    file: str = Field(pattern=r"(?i)^[^/\\]+\.png$", description="Its name, beside the site file.")
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", description="SHA-256 of the file.")]


class Comparison(_Part):
    """One figure of this microscope beside the training's."""

    figure: str = Field(description="What was measured.")
    here: float = Field(description="At this microscope.")
    training: float = Field(description="In the training images.")
    off: float = Field(description="Difference in units of the training's spread.")
    verdict: Literal["alike", "differs", "far"] = Field(description="Up to 2, up to 4, and more of these units.")


class SiteFile(_Part):
    """What was measured of one microscope."""

    schema_version: Literal[1] = Field(1, description="Version of this record's form.")
    made_at: str = Field("", description="When, UTC, ISO 8601.")
    made_from: str = Field("", description="From which frames.")
    um_per_pixel: MeasuredScale | None = Field(None, description="The scale, as red cells tell it.")
    flat_field: FlatFile | None = Field(None, description="The light; absent: frames are taken as they come.")
    limits: QualityLimits = Field(DEFAULT_LIMITS, description="What a frame must keep to be judged.")
    focus_limit: float | None = Field(
        None,
        ge=0,
        description="Least sharpness by what these frames have. `limits.min_focus_per_um` is set to it, and follows it "
        "when the site is measured again, unless somebody sets that to another value.",
    )
    colour: Literal["off", "reinhard", "macenko"] = Field(
        "off", description="How crops are made to look like the training's; needs `look`."
    )
    look: StainProfile | None = Field(None, description="What the frames look like.")
    cells: CellColours | None = Field(
        None, description="Colours of the site's white cells; absent: the agent learns them from those that it finds."
    )
    comparison: tuple[Comparison, ...] = Field((), description="How that differs from the training.")

    @model_validator(mode="after")
    def _complete(self) -> "SiteFile":
        if self.colour != "off" and self.look is None:
            raise ValueError("colour needs look: make the file with `microscope-agent calibrate site`")
        return self


@dataclass(frozen=True, slots=True)
class Site:
    """A site file in force."""

    file: SiteFile
    leveller: Leveller | None = None

    def normaliser(self, reference: StainProfile | None) -> Normaliser | None:
        """What makes this site's crops look like the training's; None where nothing is to be done.

        Raises:
            UsageError: the site file asks for it, and the model does not say what its training looked like.
        """
        if self.file.colour == "off" or self.file.look is None:
            return None
        if reference is None:
            raise UsageError(
                f"the site file asks for colour = {self.file.colour}, and the model does not say what its training "
                "looked like; set colour to off, or export the model again"
            )
        return normaliser(self.file.colour, self.file.look, reference)

    def colours(self, spec: InputSpec) -> SiteColours | None:
        """The colours of the site's cells, for a model that moves them to those of its training.

        None where the site asks for another way (``normaliser``): one of them is enough.
        """
        if spec.cell is None or self.file.colour != "off":
            return None
        return SiteColours(spec.cell.colours, self.file.cells)

    def level(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        """The same frames in even light; one that the flat field does not fit becomes a fault."""
        return iter(frames) if self.leveller is None else map(partial(_levelled, self.leveller), frames)


def _levelled(leveller: Leveller, frame: Frame) -> Frame:
    if frame.fault:
        return frame
    if not leveller.fits(frame.image):
        return replace(frame, fault="incomplete", detail=leveller.misfit(frame.image))
    started = time.perf_counter()
    image = leveller(frame.image)
    return replace(frame, image=image, read_ms=frame.read_ms + (time.perf_counter() - started) * 1e3)


NO_SITE = Site(SiteFile())


def open_site(path: Path | None) -> Site:
    """Read a site file and its flat field; without one, the defaults.

    Raises:
        UsageError: a file can not be read, or says what can not be; the text names it.
        IntegrityError: the flat field is not the one that was measured.
    """
    if path is None:
        return NO_SITE
    file = read_site(path)
    if file.flat_field is None:
        return Site(file)
    flat = path.with_name(file.flat_field.file)
    content = _flat_bytes(flat)
    if hashlib.sha256(content).hexdigest() != file.flat_field.sha256:
        raise IntegrityError(
            f"the flat field {flat} is not the one that {path} was made with; run `microscope-agent calibrate site` "
            "again"
        )
    return Site(file, Leveller(read_flat(content, flat)))


def read_site(path: Path) -> SiteFile:
    """Read a site file alone; raises as ``open_site``."""
    try:
        return SiteFile.model_validate_json(_bytes(path))
    except ValidationError as cause:
        faults = "; ".join(_format_fault(fault["loc"], fault["type"], fault["msg"]) for fault in cause.errors())
        raise UsageError(f"the site file {path}: {faults}") from cause


def agreed_scale(given: float | None, path: Path | None) -> float:
    """Micrometres per pixel: the given one, or that of the site file; both must agree, for who knows which is right?

    Raises:
        UsageError: they do not, or there is neither.
    """
    measured = read_site(path).um_per_pixel if path else None
    if given is None:
        if measured:
            return measured.value
        raise UsageError(
            "the scale is not known: give --um-per-pixel, or a --site-file that holds one; "
            "`microscope-agent calibrate scale` estimates it"
        )
    if measured and not measured.low <= given <= measured.high:
        raise UsageError(
            f"um_per_pixel is given as {given:g}, and {path} says {measured.low:.4g} to {measured.high:.4g}; leave it "
            "out, or calibrate again"
        )
    return given


def write_site(file: SiteFile, path: Path) -> None:
    """Write a site file; UsageError if that is not possible."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, (file.model_dump_json(indent=2, exclude_none=True) + "\n").encode())
    except OSError as cause:
        raise UsageError(f"{path} can not be written ({cause.strerror}); choose another place with --out") from cause


def _format_fault(place: tuple[int | str, ...], kind: str, text: str) -> str:
    name = ".".join(map(str, place))
    if kind != "extra_forbidden":
        return f"{name}: {text}" if name else text
    near = difflib.get_close_matches(name, sorted(_names(SiteFile)), n=1, cutoff=0.0)[0]
    return f"there is no {name!r}; the nearest is {near!r}"


def _names(model: type[BaseModel], above: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        yield above + name
        for inner in (QualityLimits, MeasuredScale, FlatFile):
            if inner.__name__ in str(field.annotation):
                yield from _names(inner, f"{above}{name}.")


def _flat_bytes(path: Path) -> bytes:
    try:
        return read_plain(path, most=MAX_BYTES)
    except OSError as cause:
        if cause.errno == errno.EFBIG:
            raise IntegrityError(f"the flat field {path} is not the one that was measured: {cause.strerror}") from cause
        raise UsageError(f"the flat field {path} can not be read ({cause.strerror}); correct `site_file`") from cause


def _bytes(path: Path) -> bytes:
    try:
        return read_plain(path)
    except OSError as cause:
        raise UsageError(f"the site file {path} can not be read ({cause.strerror}); correct `site_file`") from cause
