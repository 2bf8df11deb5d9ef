"""The command `microscope-agent`: reads arguments, owns signals and exit codes."""

from common.signals import Manner, Signals, heed, heeded, leave
from common.terminal import open_streams, say

if __name__ == "__main__":  # before anything slow is imported, and any file is opened
    open_streams()
    heed()

import argparse
import json
import logging
import os
import sys
from collections.abc import Sequence

from agent.options import parser
from common import journal
from common.arguments import overrides
from common.commands import outcome, process
from common.errors import CheckError, UsageError

log = logging.getLogger(__name__)
ENDS = {
    "run": Manner(code=0, survives_hangup=True),
    "demo": Manner(bound_s=10.0),  # it ends what it has started: a broker, a subscriber and the page
}
"""How a command ends that is told to; the others as a ``Manner`` is by itself."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit codes are those of ``common.errors``."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # its threads wait by spinning; what is asked of it is small
    with heeded() as signals:
        args = parser().parse_args(argv)
        journal.set_up(args.log)
        signals.decide(ENDS.get(args.command, Manner()))
        return leave(outcome("microscope-agent", lambda: COMMANDS[args.command](args, signals)))


def _run(args: argparse.Namespace, signals: Signals) -> int:
    from agent.config import load  # noqa: PLC0415 - each command loads only what it needs
    from agent.service import serve  # noqa: PLC0415
    from agent.settings import NO_SLIDE  # noqa: PLC0415

    slide = [] if args.slide is None else [f"slide.id={args.slide}"]
    given = overrides([*args.set, *slide])
    loaded = load(args.config, given)
    if loaded.settings.source.kind == "synthetic":
        log.warning("reports will tell of a rendered smear: %s", NO_SLIDE)
    serve(
        loaded.settings,
        signals.begin(),
        shown=loaded.shown(),
        signals=signals,
        renewed=lambda: load(args.config, given).settings.mqtt,
    )
    return 0


def _replay(args: argparse.Namespace, signals: Signals) -> int:
    from agent.site import agreed_scale  # noqa: PLC0415
    from agent.tools.replay import Job, replay  # noqa: PLC0415
    from contract.trust_options import trust_from  # noqa: PLC0415

    job = Job(
        source=args.source,
        um_per_pixel=agreed_scale(args.um_per_pixel, args.site_file),
        out=args.out,
        bundle=args.bundle,
        trust=trust_from(args),
        engine=args.engine,
        crops=args.crops,
        annotated=args.annotate,
        slide=args.slide,
        slide_per_folder=args.slide_per_folder,
        summary=args.summary,
        site_file=args.site_file,
        processes=args.processes,
    )
    summary = replay(job, signals.begin(), progress=sys.stderr.isatty())
    say(*str(summary).split("\n"), to=sys.stderr)
    return int(summary.stopped)


def _montage(args: argparse.Namespace, signals: Signals) -> int:
    from agent.tools.montage import Job, montage  # noqa: PLC0415

    job = Job(args.reports, args.out, frames=args.frames, crops=args.crops, most=args.most)
    say(*montage(job, signals.begin()).split("\n"), to=sys.stderr)
    return 0


def _demo(args: argparse.Namespace, signals: Signals) -> int:
    from agent.tools.demo import demo  # noqa: PLC0415

    for line in demo(_demo_source(args), signals, keep=args.keep, montage=args.montage):
        say(line)
    return 0


def _demo_source(args: argparse.Namespace) -> dict[str, str]:
    if args.frames:
        if args.um_per_pixel is None:
            raise UsageError(
                f"the scale of {args.frames} is not known: give --um-per-pixel (make demo: UM_PER_PIXEL=); "
                "`microscope-agent calibrate scale` estimates it"
            )
        return {"kind": "directory", "uri": str(args.frames), "um_per_pixel": str(args.um_per_pixel)}
    scan = {"overlap": "0.4", "row_overlap": "0.4"}
    pace = {"frames": "1000000", "fps": "4"} if args.keep else {"frames": str(args.count), "fps": "20"}
    return {"kind": "synthetic", **pace, **scan}


def _render(args: argparse.Namespace, signals: Signals) -> int:
    from agent.tools.render import render  # noqa: PLC0415

    stop, progress = signals.begin(), sys.stderr.isatty()
    say(*render(args.folder, frames=args.count, um_per_pixel=args.um_per_pixel, stop=stop, progress=progress))
    return int(stop.is_set())


def _doctor(args: argparse.Namespace, _: Signals) -> int:
    from agent.tools.doctor import examine_machine  # noqa: PLC0415

    failed = 0
    for check in examine_machine(args.config, overrides(args.set)):
        failed += check.state == "FAIL"
        say(str(check))
    if failed:
        raise CheckError(f"{failed} of the checks above failed")
    return 0


def _calibrate_scale(args: argparse.Namespace, signals: Signals) -> int:
    from agent.tools.calibrate import ScaleJob, measure_scale  # noqa: PLC0415

    job = ScaleJob(args.source, frames=args.frames, given=args.um_per_pixel)
    measured = measure_scale(job, signals.begin(), progress=sys.stderr.isatty())
    say(*([measured.to_json()] if args.json else measured.lines()))
    if measured.warning:
        say(f"microscope-agent: warning: {measured.warning}", to=sys.stderr)
    return 0


def _calibrate_flatfield(args: argparse.Namespace, signals: Signals) -> int:
    from agent.tools.survey import FlatJob, measure_light  # noqa: PLC0415

    for line in measure_light(
        FlatJob(args.source, args.out, args.frames), signals.begin(), progress=sys.stderr.isatty()
    ):
        say(line)
    return 0


def _calibrate_site(args: argparse.Namespace, signals: Signals) -> int:
    from agent.tools.survey import SiteJob, measure_site  # noqa: PLC0415
    from contract.trust_options import trust_from  # noqa: PLC0415

    job = SiteJob(
        source=args.source,
        out=args.out,
        bundle=args.bundle,
        frames=args.frames,
        um_per_pixel=args.um_per_pixel,
        flat=args.flat,
        colour=args.colour,
        trust=trust_from(args),
        engine=args.engine,
    )
    for line in measure_site(job, signals.begin(), progress=sys.stderr.isatty()):
        say(line)
    return 0


def _slide(args: argparse.Namespace, _: Signals) -> int:
    from agent.config import load  # noqa: PLC0415
    from agent.tools.slide_commands import start_slide, stop_slide  # noqa: PLC0415

    settings = load(args.config, overrides(args.set)).settings
    say(start_slide(settings, args.id) if args.command == "slide start" else stop_slide(settings))
    return 0


def _config_show(args: argparse.Namespace, _: Signals) -> int:
    from agent.config import load  # noqa: PLC0415

    for line in load(args.config, overrides(args.set)).lines():
        say(line)
    return 0


def _config_schema(_: argparse.Namespace, __: Signals) -> int:
    from agent.settings import Settings  # noqa: PLC0415
    from contract.messages import DIALECT  # noqa: PLC0415

    say(*json.dumps({"$schema": DIALECT} | Settings.model_json_schema(), indent=2).split("\n"))
    return 0


def _audit_verify(args: argparse.Namespace, _: Signals) -> int:
    from agent.config import load  # noqa: PLC0415
    from agent.ops.audit import verify  # noqa: PLC0415

    state_dir = args.state_dir or load(args.config).settings.state_dir
    for line in verify(state_dir, sought=args.head or "").lines():
        say(line)
    return 0


COMMANDS = {
    "run": _run,
    "replay": _replay,
    "montage": _montage,
    "demo": _demo,
    "render": _render,
    "doctor": _doctor,
    "calibrate scale": _calibrate_scale,
    "calibrate flatfield": _calibrate_flatfield,
    "calibrate site": _calibrate_site,
    "slide start": _slide,
    "slide stop": _slide,
    "config show": _config_show,
    "config schema": _config_schema,
    "audit verify": _audit_verify,
}


if __name__ == "__main__":
    sys.exit(process("microscope-agent", main))
