"""`calibrate flatfield` and `calibrate site`: what some frames of this microscope show, beside the training's."""

import hashlib
import shlex
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Literal

import numpy as np

from agent.colours import ENOUGH
from agent.pipeline import Examiner, Finding, examine
from agent.site import Comparison, FlatFile, MeasuredScale, Site, SiteFile, read_site, write_site
from agent.tools.calibrate import changed, opened
from agent.vision.flatfield import MAX_BYTES, Leveller, measure, read_flat, write_flat
from agent.vision.limits import DEFAULT_LIMITS, QualityLimits
from agent.vision.scale import ScaleEstimate, estimate, find_red_cells
from common.arguments import state_dir_if_any
from common.durable import write_whole
from common.errors import CheckError, UsageError
from common.plain import read_plain
from common.secrets import masked
from common.words import counted
from contract.bundle import SHIPPED, Bundle, open_bundle
from contract.cell_colours import distance
from contract.colour import advised
from contract.look import measure_stain, stain_profile
from contract.manifest import CellColours, CellView, Precision
from contract.reference import Reference, Spread, StainProfile
from contract.signature import SHIPPED_ONLY, Trust
from contract.types import Frame
from engines.choice import open_engine

ALIKE, DIFFERENT = 2.0, 4.0
"""Units of the training's spread, up to which a figure is alike, and differs."""
LEAST_SPREAD = 1e-3
GIVEN_TOLERANCE = 1.05
"""By which a setting may differ from a scale that somebody measured."""
SCALE_SPREAD = 0.1
"""Share by which a given scale and that of the red cells may differ: people's red cells do by 5 %, and so do smears."""
NORMAL_TO_IQR = 1.349
"""Between the quartiles of a normal distribution of standard deviation one."""
MIN_CELLS = 20
"""White cells below which scores are not compared."""
COLOURS = ("blue", "green", "red")
SHARP_SHARE, LEAST_SHARE = 0.75, 0.9
"""Of the usual sharpness of a site's frames, and of the least: what lies below both is blurred. A blur of 0.4 um
(standard deviation), which hides chromatin, takes a third of it."""
FEWEST_SHARP = 5
"""Frames below which nothing is said of the usual sharpness."""


@dataclass(frozen=True, slots=True)
class FlatJob:
    """What is asked for: a source of frames, how many at most, and the file for the flat field."""

    source: str
    out: Path
    frames: int


@dataclass(frozen=True, slots=True)
class SiteJob:
    """What is asked for.

    Attributes:
        source: a folder, a video, an image or a camera.
        out: the site file.
        bundle: folder of the model that the site is compared with.
        frames: how many frames to look at, at most.
        um_per_pixel: micrometres per pixel that somebody measured; None: as red cells tell it.
        flat: the flat field, or None.
        colour: how crops are to be made to look like the training's.
        trust: whose signature the bundle must bear.
        engine: name of the engine.
    """

    source: str
    out: Path
    bundle: Path
    frames: int
    um_per_pixel: float | None = None
    flat: Path | None = None
    colour: Literal["off", "reinhard", "macenko"] = "off"
    trust: Trust = SHIPPED_ONLY
    engine: str = "auto"


def measure_light(job: FlatJob, stop: threading.Event, *, progress: bool) -> Iterator[str]:
    """Measure the light, write the flat field, and say in lines what it is like.

    Raises:
        CheckError: the frames do not show the light.
        UsageError: the source is none, or the file can not be written.
        SourceError: the source can not be opened.
    """
    if job.out.suffix.lower() != ".png":
        raise UsageError(f"--out {job.out} is no PNG: name the file of the flat field like flat.png")
    with opened(job.source, stop, frames=job.frames, progress=progress) as frames:
        flat = measure(frame.image for frame in frames if not frame.fault)
    write_flat(flat, job.out)
    yield f"{counted(flat.frames, 'frame')} of {'an empty field' if flat.empty else 'a moving smear'}"
    yield f"the worst place gets {flat.darkest:.0%} of the best light"
    yield from (f"watch out: {note}" for note in flat.notes)
    yield f"{job.out} is written; name it in `microscope-agent calibrate site --flat {job.out}`"


def measure_site(job: SiteJob, stop: threading.Event, *, progress: bool) -> Iterator[str]:
    """Compare a site with the training, write the site file, and say in lines what differs.

    Raises:
        CheckError: the frames show too little.
        UsageError: the source is none, a file can not be written, or the existing site file is none.
        MicroscopeError: the model can not be used.
    """
    site = _begun(job)
    with opened(job.source, stop, frames=job.frames, progress=progress) as coming:
        frames = [frame for frame in site.level(coming) if not frame.fault]
    if not frames:
        raise CheckError(
            f"no frame of {masked(job.source)} could be read, or none has the flat field's size; correct the source"
        )
    found = estimate([find_red_cells(image) for image in changed(frame.image for frame in frames)])
    um = job.um_per_pixel or (found.um_per_pixel if found else 0.0)
    if not um:
        raise CheckError(
            f"{masked(job.source)} shows too few red cells in {counted(len(frames), 'frame')} to tell the scale; "
            "measure it with a stage micrometre and give --um-per-pixel"
        )
    frames = [replace(frame, um_per_pixel=um) for frame in frames]
    bundle, seen = open_bundle(job.bundle, job.trust), _look(job, frames, um)
    measured = {
        "made_at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "made_from": f"{counted(len(frames), 'frame')} of {masked(job.source)}",
        "um_per_pixel": _scale_of(um, found),
        "look": seen,
        "colour": job.colour if seen else "off",
    }
    site = replace(site, file=site.file.model_copy(update=measured))
    findings, precision, cells = _examined(job, site, bundle, frames)
    site = replace(site, file=with_focus_limit(site.file.model_copy(update={"cells": cells}), findings))
    rows = [*_scale_rows(um, found), *compare(seen, findings, bundle.manifest.reference, precision)]
    write_site(site.file.model_copy(update={"comparison": tuple(rows)}), job.out)
    yield from _format_survey(frames, findings, rows, bundle.manifest.reference)
    yield from _told_of_focus(site.file)
    if bundle.manifest.input.cell is None:
        yield from advice(job, seen, bundle.manifest.reference)
    else:
        yield from _told_of_colours(site.file, bundle.manifest.input.cell)
    yield f"{job.out} is written; set site_file to it, or give it to replay with --site-file"


def _begun(job: SiteJob) -> Site:
    """The flat field laid beside the file, and the bounds of the file that was there before."""
    limits = _bounds_of_people(read_site(job.out)) if job.out.exists() else DEFAULT_LIMITS
    if job.flat is None:
        return Site(SiteFile(limits=limits))
    try:
        content = read_plain(job.flat, most=MAX_BYTES)
        light = read_flat(content, job.flat)
        job.out.parent.mkdir(parents=True, exist_ok=True)
        write_whole(job.out.parent / job.flat.name, content)
    except OSError as cause:
        raise UsageError(f"the flat field {job.flat} can not be laid beside {job.out} ({cause.strerror})") from cause
    laid = FlatFile(file=job.flat.name, sha256=hashlib.sha256(content).hexdigest())
    return Site(SiteFile(limits=limits, flat_field=laid), Leveller(light))


def _bounds_of_people(before: SiteFile) -> QualityLimits:
    """The bounds of the file that was there before, but for the sharpness that was measured then."""
    if before.limits.min_focus_per_um != before.focus_limit:
        return before.limits
    return before.limits.model_copy(update={"min_focus_per_um": DEFAULT_LIMITS.min_focus_per_um})


def with_focus_limit(file: SiteFile, findings: Sequence[Finding]) -> SiteFile:
    """The same with the least sharpness that frames of this site should have; a bound that somebody set stays."""
    seen = [finding.quality.focus for finding in findings if finding.quality.accepted]
    if len(seen) < FEWEST_SHARP:
        return file
    least = min(SHARP_SHARE * float(np.median(seen)), LEAST_SHARE * min(seen))
    limit = round(max(least, DEFAULT_LIMITS.min_focus_per_um), 3)
    if file.limits.min_focus_per_um != DEFAULT_LIMITS.min_focus_per_um:
        return file.model_copy(update={"focus_limit": limit})
    limits = file.limits.model_copy(update={"min_focus_per_um": limit})
    return file.model_copy(update={"focus_limit": limit, "limits": limits})


def _told_of_focus(file: SiteFile) -> Iterator[str]:
    if file.focus_limit is None:
        yield f"too few frames were fit to tell the usual sharpness: {FEWEST_SHARP} are needed"
    elif file.focus_limit == file.limits.min_focus_per_um:
        yield f"frames of less sharpness than {file.focus_limit:g} (1/um) will be refused: limits.min_focus_per_um"
    else:
        kept = f"limits.min_focus_per_um stays at {file.limits.min_focus_per_um:g}, which somebody set"
        yield f"{kept}; by these frames it would be {file.focus_limit:g}"


def _told_of_colours(file: SiteFile, view: CellView) -> Iterator[str]:
    if file.colour != "off":
        return
    if file.cells is None:
        yield f"fewer than {ENOUGH} cells were found: the agent will learn the colours of the site's cells by itself"
    else:
        off = distance(file.cells, view.colours)
        yield f"the colours of the site's cells are {off:.1f} of the training's deviations off; crops are moved by that"


def _examined(
    job: SiteJob, site: Site, bundle: Bundle, frames: Sequence[Frame]
) -> tuple[list[Finding], Precision, CellColours | None]:
    """The frames as `run` would examine them, in which numbers, and the colours of their cells."""
    colour = site.normaliser(bundle.manifest.reference)
    with closing(open_engine(bundle, job.engine, state_dir=state_dir_if_any())) as engine:
        colours = site.colours(bundle.manifest.input)
        examiner = Examiner("site", "site", bundle, engine, colour=colour, limits=site.file.limits, colours=colours)
        findings = [examine(frame, examiner) for frame in frames]
        return findings, engine.precision, colours.known if colours else None


def _look(job: SiteJob, frames: Sequence[Frame], um: float) -> StainProfile | None:
    measurements = [measurement for frame in frames if (measurement := measure_stain(frame.image, um))]
    of = f"{len(measurements)} of {counted(len(frames), 'frame')} of {masked(job.source)}"
    return stain_profile(measurements, um, of) if measurements else None


def _scale_of(um: float, found: ScaleEstimate | None) -> MeasuredScale:
    """With the red cells' interval, or, where somebody measured it, the tolerance of a stage micrometre."""
    if found and um == found.um_per_pixel:
        return MeasuredScale(value=um, low=found.low, high=found.high)
    return MeasuredScale(value=um, low=um / GIVEN_TOLERANCE, high=um * GIVEN_TOLERANCE)


def _scale_rows(um: float, found: ScaleEstimate | None) -> Iterator[Comparison]:
    if found and um != found.um_per_pixel:
        yield _row("red cells' size", um / found.um_per_pixel, 1.0, SCALE_SPREAD)


def compare(
    seen: StainProfile | None, findings: Sequence[Finding], reference: Reference | None, precision: Precision
) -> Iterator[Comparison]:
    """What the frames look like, and how their cells score, beside the training; nothing without a reference."""
    if reference is None:
        return
    if seen is not None:
        yield _spread_row("background", seen.background, reference.background)
        yield _spread_row("focus (1/um)", seen.focus, reference.focus)
        for what, ours, theirs in (
            ("red cells", seen.red_cells, reference.red_cells),
            ("nuclei", seen.nuclei, reference.nuclei),
        ):
            for colour, *figures in zip(COLOURS, ours.mean, theirs.mean, theirs.between, strict=True):
                yield _row(f"{what}, density in {colour}", *figures)
    yield from _score_rows(findings, reference, precision)


def _score_rows(findings: Sequence[Finding], reference: Reference, precision: Precision) -> Iterator[Comparison]:
    """The middle of the scores; whole slides of blasts are far from it, and rightly so."""
    seen = (prediction for finding in findings for prediction in finding.predictions)
    chances = np.array([p.probability for p in seen if p.probability is not None])
    if len(chances) < MIN_CELLS:
        return
    held = reference.scores.int8 if precision == "int8" else reference.scores.fp32
    margins = np.clip(chances, 1e-6, 1 - 1e-6)
    ours = np.median(np.log(margins / (1 - margins)))
    what, theirs = ("normal cells", held.normal) if held.normal else ("all cells", held.every)
    low, middle, high = np.interp((0.25, 0.5, 0.75), reference.scores.levels, theirs)
    yield _row(f"log odds of a blast, median ({what})", float(ours), middle, (high - low) / NORMAL_TO_IQR)


def _spread_row(figure: str, ours: Spread, theirs: Spread) -> Comparison:
    return _row(figure, ours.mean, theirs.mean, theirs.std)


def _row(figure: str, here: float, training: float, spread: float) -> Comparison:
    off = (here - training) / max(spread, LEAST_SPREAD)
    verdict: Literal["alike", "differs", "far"] = (
        "alike" if abs(off) <= ALIKE else "differs" if abs(off) <= DIFFERENT else "far"
    )
    return Comparison(
        figure=figure, here=round(here, 4), training=round(training, 4), off=round(off, 2), verdict=verdict
    )


def advice(job: SiteJob, seen: StainProfile | None, reference: Reference | None) -> Iterator[str]:
    """What another setting of the colour would be better for frames that look so, if any, and how to get it."""
    if seen and reference and (better := advised(seen, reference)) != job.colour:
        yield (
            f"for frames that look so --colour {better} is advised (docs/decisions/0009-colour-normalisation.md); the "
            "site file holds it, so measure the site again:"
        )
        yield _typed(replace(job, colour=better))


def _typed(job: SiteJob) -> str:
    """The command that asks for this."""
    words = [
        "microscope-agent",
        "calibrate",
        "site",
        masked(job.source),
        "--out",
        str(job.out),
        "--frames",
        str(job.frames),
    ]
    for option, given, usual in (
        ("--flat", job.flat, None),
        ("--um-per-pixel", job.um_per_pixel, None),
        ("--bundle", job.bundle, SHIPPED),
        ("--engine", job.engine, "auto"),
        ("--colour", job.colour, "off"),
    ):
        words += [option, str(given)] if given != usual else []
    words += [word for key in job.trust.keys if key not in SHIPPED_ONLY.keys for word in ("--trust", key.hex())]
    return shlex.join([*words, "--allow-unsigned"] if job.trust.allow_unsigned else words)


def _format_survey(
    frames: Sequence[Frame], findings: Sequence[Finding], rows: Sequence[Comparison], reference: Reference | None
) -> Iterator[str]:
    flags = [prediction.cell.flags for finding in findings for prediction in finding.predictions]
    whole = sum("edge" not in of_one for of_one in flags)
    yield f"{counted(len(frames), 'frame')}, {counted(len(flags), 'white cell')}, {whole} of them whole"
    refused = Counter(reason for finding in findings for reason in finding.quality.reasons)
    if refused:
        yield f"refused: {', '.join(f'{count} {reason}' for reason, count in refused.most_common())}"
    if not any(finding.quality.accepted for finding in findings):
        yield "watch out: no frame could be judged; mend what they were refused for, or edit the limits in the file"
    if rows:
        yield f"{'figure':44}{'here':>9}{'training':>10}{'off by':>8}  verdict"
    yield from (f"{r.figure:44}{r.here:9.3f}{r.training:10.3f}{r.off:8.1f}  {r.verdict}" for r in rows)
    if reference is None:
        yield "the model does not say what its training looked like: colour and scores can not be compared"
    if whole < MIN_CELLS:
        yield f"scores are compared from {MIN_CELLS} whole white cells on"
