"""Is everything here that the service needs? One line for each thing that a deployment may lack."""

import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib.metadata import distributions
from itertools import islice, takewhile
from pathlib import Path
from typing import Literal

from agent.config import load
from agent.ops.clock import behind_s, is_kept_right
from agent.rollback_guard import refuse_rollback
from agent.settings import NO_SLIDE, Settings
from agent.site import open_site
from agent.tools.access import concerns
from agent.tools.calibrate import changed
from agent.trust import format_signer, open_trusted
from agent.vision.quality import assess
from agent.vision.scale import estimate, find_red_cells
from common.errors import CheckError, MicroscopeError, SourceError
from common.owned import others_may_write
from engines.choice import golden_difference, open_engine
from mqttlink.probe import probe

PROBE_S = 5.0
SCALE_FRAMES = 8
"""Of 1340 draws of so many frames of one of 67 patients, red cells appeared 0.92 to 1.25 times as large as they are."""
FEWEST_PLACES = 3
"""Places of a slide below which a scale that looks wrong may be chance: one field's few red cells."""
ROOMS = (
    "agent", "calibration", "collector", "common", "contract", "dashboard", "devbroker", "engines", "evaluation",
    "export", "models", "mqttlink", "rendering", "training",
)  # fmt: skip
"""Top-level packages of the wheel."""


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the doctor's."""

    name: str
    state: Literal["ok", "warn", "FAIL"]
    text: str

    def __str__(self) -> str:
        return f"{self.state:4} {self.name:9} {self.text}"


class Warned(str):
    """What a check has found, if it works so, and a person should see to it all the same."""

    __slots__ = ()


def examine_machine(config: Path | None, overrides: Mapping[str, str]) -> Iterator[Check]:
    """Check everything; the settings come first, and without them nothing else can be checked."""
    try:
        settings = load(config, overrides).settings
    except MicroscopeError as cause:
        yield Check("settings", "FAIL", str(cause))
        return
    yield Check("settings", "ok", f"site {settings.site}, device {settings.device}")
    for name, check in CHECKS.items():
        try:
            said = check(settings)
            yield Check(name, "warn" if isinstance(said, Warned) else "ok", said)
        except MicroscopeError as cause:
            yield Check(name, "FAIL", str(cause))


def check_source(settings: Settings) -> str:
    """Open the source and look at its first frame, in even light where there is a flat field."""
    site = open_site(settings.site_file)
    with settings.source.open(threading.Event()) as frames:
        frame = next(site.level(frames), None)
    if frame is None:
        raise SourceError(f"the source {settings.source.kind} delivered no frame")
    if frame.fault:
        raise SourceError(frame.detail)
    height, width = frame.image.shape[:2]
    quality = assess(frame.image, frame.um_per_pixel, site.file.limits)
    fitness = "fit to be judged" if quality.accepted else f"not fit to be judged: {quality.detail}"
    said = f"{settings.source.kind}: {frame.source}, {width}x{height} at {frame.um_per_pixel} um per pixel, {fitness}"
    return Warned(f"{said}; but {NO_SLIDE}") if settings.source.kind == "synthetic" else said


def check_site(settings: Settings) -> str:
    """Read the site file and what belongs to it; does the model have what its colour needs?"""
    if settings.site_file is None:
        return "no site file: frames are taken as they come, with the usual bounds (see docs/site.md)"
    site = open_site(settings.site_file)
    site.normaliser(open_trusted(settings).manifest.reference)
    light = "even light" if site.leveller else "no flat field"
    far = [row.figure for row in site.file.comparison if row.verdict == "far"]
    unlike = f", far from the training in {', '.join(far)}" if far else ""
    return f"{settings.site_file} of {site.file.made_at or 'no date'}: {light}, colour {site.file.colour}{unlike}"


def check_scale(settings: Settings) -> str:
    """Hold the setting against the red cells of the first frames, by the bounds of what ``run`` will refuse."""
    given = settings.source.um_per_pixel
    least, most = open_site(settings.site_file).file.limits.scale
    with settings.source.open(threading.Event()) as frames:
        shown = takewhile(lambda frame: not frame.fault, islice(frames, SCALE_FRAMES))
        looks = [find_red_cells(image) for image in changed(frame.image for frame in shown)]
    found = estimate(looks)
    if len(looks) < FEWEST_PLACES and found:
        places = f"{len(looks)} place{'s' * (len(looks) > 1)} of the slide"
        return Warned(
            f"{given:g} um per pixel; but the first frames show {places}, too few to tell (by their red cells it "
            f"is {found.low:.3g} to {found.high:.3g}): move the stage meanwhile"
        )
    if found is None:
        return f"{given:g} um per pixel; the first frames show too few red cells to tell whether that is right"
    if not least <= given / found.um_per_pixel <= most:
        raise CheckError(
            f"`source.um_per_pixel` is {given:g}, but the red cells of the first frames say {found.um_per_pixel:.3g} "
            f"({found.low:.3g} to {found.high:.3g}); run `microscope-agent calibrate scale` on many frames"
        )
    return f"{given:g} um per pixel; by the red cells of the first frames it is {found.low:.3g} to {found.high:.3g}"


def check_bundle(settings: Settings) -> str:
    """Verify the signature and every byte of the bundle; is it older than what has run here?"""
    bundle = open_trusted(settings)
    model, number = bundle.manifest.model, bundle.manifest.version
    refuse_rollback(model, number, settings.state_dir, allow=settings.trust.allow_rollback)
    return (
        f"{bundle.manifest.id} at {bundle.path}, {format_signer(bundle)}, {len(bundle.manifest.files)} files verified"
    )


def check_engine(settings: Settings) -> str:
    """Open the engine, prove it on the golden batch, and time one cell."""
    bundle = open_trusted(settings)
    with closing(open_engine(bundle, settings.engine, state_dir=settings.state_dir)) as engine:
        started = time.perf_counter()
        engine.scores(bundle.golden.batch)
        cell_ms = (time.perf_counter() - started) * 1e3 / len(bundle.golden.batch)
        off = golden_difference(engine, bundle)
    return f"{engine.name}: golden batch off by at most {off:.3f}, {cell_ms:.2f} ms a cell"


def check_broker(settings: Settings) -> str:
    """Connect to the broker once."""
    return probe(settings.mqtt, PROBE_S)


def check_access(settings: Settings) -> str:
    """Try what strangers, and what we, may do at the broker that nobody should."""
    if found := list(concerns(settings)):
        return Warned("; ".join(found))
    return "nobody may command or read without a name, and we may not command others"


def check_disk(settings: Settings) -> str:
    """Is there room for a full outbox, and may we write there?"""
    folder = _nearest(settings.state_dir)
    free_mb = shutil.disk_usage(folder).free // 2**20
    need_mb = 2 * settings.outbox.max_mb
    if free_mb < need_mb:
        raise CheckError(
            f"{folder}: {free_mb} MiB free, a full outbox and its log need {need_mb}; lower `outbox.max_mb`"
        )
    probe_file = folder / f".doctor-{time.time_ns()}"
    try:
        probe_file.touch(exist_ok=False)
        probe_file.unlink()
    except OSError as cause:
        raise CheckError(f"{folder} can not be written to ({cause.strerror}); set `state_dir`") from cause
    return f"{settings.state_dir}: {free_mb} MiB free, {need_mb} needed"


def _nearest(folder: Path) -> Path:
    """The first of a folder and those above it that is there, be it a folder or not."""
    try:
        return next(path for path in (folder, *folder.absolute().parents) if path.exists())
    except OSError as cause:
        raise CheckError(f"{folder} can not be looked at ({cause.strerror}); set `state_dir`") from cause


def check_rights(settings: Settings) -> str:
    """Who else may write what the agent trusts: keys, the bundle, its own folder?"""
    keys = [Path(os.path.expanduser(name)) for name in settings.trust.keys]  # noqa: PTH111 - a name of no home stays
    try:
        bundle = list(settings.bundle.iterdir())
    except OSError:
        bundle = []  # the line on the bundle says what is wrong with it
    trusted = [*keys, settings.bundle, *bundle, settings.state_dir, *filter(None, [settings.site_file])]
    if loose := [str(path) for path in trusted if others_may_write(path)]:
        return Warned(
            f"others may write {', '.join(loose[:5])}{' and more' if len(loose) > 5 else ''}: "  # noqa: PLR2004
            "chmod go-w, and give the files to root or to the agent's user"
        )
    return "only root and this user may write the keys, the bundle and the state folder"


def check_clock(settings: Settings) -> str:
    """A clock that is behind the model's own birth is wrong, and so would be every time in the reports.

    A clock that was set back, or that nobody keeps right, may be.
    """
    made = datetime.fromisoformat(open_trusted(settings).manifest.created_at.replace("Z", "+00:00"))
    now = datetime.now(timezone.utc)
    if now < made:
        raise CheckError(f"the clock says {now:%Y-%m-%d %H:%M} UTC, before the model was made; set it, or start NTP")
    said = f"{now:%Y-%m-%d %H:%M:%S} UTC"
    if back_s := behind_s(settings.state_dir):
        return Warned(f"{said}, but {settings.state_dir} holds files from {back_s:.0f} s later: set it, or start NTP")
    if is_kept_right() is False:
        return Warned(f"{said}, but nobody keeps it right: start NTP (systemd-timesyncd, chrony)")
    return said


def check_clashes(_: Settings) -> str:
    """Does another distribution ship files under the name of one of our rooms?"""
    found = clashes()
    if found:
        raise CheckError(
            f"{', '.join(found)} install files under our names; give microscope-agent an environment of its own"
        )
    return "no other package installs files under our names"


def clashes() -> list[str]:
    """Installed distributions, other than ours, with a file under one of our rooms' names."""
    owners = set()
    for distribution in distributions():
        tops = {file.parts[0] for file in distribution.files or () if len(file.parts) > 1}
        if tops & set(ROOMS):
            owners.add(str(distribution.metadata["Name"]))
    return sorted(owners - {"microscope-agent"})


CHECKS: dict[str, Callable[[Settings], str]] = {
    "source": check_source,
    "site": check_site,
    "scale": check_scale,
    "bundle": check_bundle,
    "engine": check_engine,
    "broker": check_broker,
    "access": check_access,
    "disk": check_disk,
    "rights": check_rights,
    "clock": check_clock,
    "clashes": check_clashes,
}
