"""The command `microscope-agent`: reads arguments, owns signals and exit codes."""

import argparse
import json
import re
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

from agent.ops import journal
from contract.arguments import micrometres, whole
from contract.bundle import SHIPPED
from contract.errors import CheckError, MicroscopeError, UsageError
from contract.trust_options import add_trust, trust_from

RESEARCH_ONLY = "Research use only. It assists haematologists; it never diagnoses."


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit codes are those of ``contract.errors``."""
    args = _parser().parse_args(argv)
    journal.set_up(args.log)
    try:
        return int(args.command(args))
    except MicroscopeError as cause:
        print(journal.complaint(f"microscope-agent: {cause}"), file=sys.stderr)
        return cause.exit_code


@contextmanager
def _stop_on_signals() -> Iterator[threading.Event]:
    """An event that SIGTERM and SIGINT set, so that the frame in hand is finished and nothing is torn."""
    stop = threading.Event()
    before = {s: signal.signal(s, lambda *_: stop.set()) for s in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _run(args: argparse.Namespace) -> int:
    from agent.config import load  # noqa: PLC0415 - each command loads only what it needs
    from agent.service import serve  # noqa: PLC0415

    slide = [] if args.slide is None else [f"slide.id={args.slide}"]
    loaded = load(args.config, _overrides([*args.set, *slide]))
    with _stop_on_signals() as stop:
        serve(loaded.settings, stop, shown=loaded.shown())
    return 0


def _replay(args: argparse.Namespace) -> int:
    from agent.site import agreed_scale  # noqa: PLC0415
    from agent.tools.replay import Job, replay  # noqa: PLC0415

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
        summary=args.summary,
        site_file=args.site_file,
    )
    with _stop_on_signals() as stop:
        summary = replay(job, stop, progress=sys.stderr.isatty())
    print(summary, file=sys.stderr)
    return int(summary.stopped)


def _montage(args: argparse.Namespace) -> int:
    from agent.tools.montage import Job, montage  # noqa: PLC0415

    job = Job(args.reports, args.out, frames=args.frames, crops=args.crops, most=args.most)
    with _stop_on_signals() as stop:
        print(montage(job, stop), file=sys.stderr)
    return 0


def _demo(args: argparse.Namespace) -> int:
    from agent.tools.demo import demo  # noqa: PLC0415

    with _stop_on_signals() as stop:
        for line in demo(_demo_source(args), stop):
            print(line, flush=True)
    return 0


def _demo_source(args: argparse.Namespace) -> dict[str, str]:
    if args.frames:
        return {"kind": "directory", "uri": str(args.frames), "um_per_pixel": str(args.um_per_pixel)}
    scan = {"overlap": "0.4", "row_overlap": "0.4"}
    return {"kind": "synthetic", "frames": str(args.count), "fps": "20", **scan}


def _doctor(args: argparse.Namespace) -> int:
    from agent.tools.doctor import examine_machine  # noqa: PLC0415

    failed = 0
    for check in examine_machine(args.config, _overrides(args.set)):
        failed += check.state == "FAIL"
        print(check, flush=True)
    if failed:
        raise CheckError(f"{failed} of the checks above failed")
    return 0


def _calibrate_scale(args: argparse.Namespace) -> int:
    from agent.tools.calibrate import ScaleJob, measure_scale  # noqa: PLC0415

    job = ScaleJob(args.source, frames=args.frames, given=args.um_per_pixel)
    with _stop_on_signals() as stop:
        measured = measure_scale(job, stop, progress=sys.stderr.isatty())
    print(measured.to_json() if args.json else "\n".join(measured.lines()))
    if measured.warning:
        print(f"microscope-agent: warning: {measured.warning}", file=sys.stderr)
    return 0


def _calibrate_flatfield(args: argparse.Namespace) -> int:
    from agent.tools.survey import FlatJob, measure_light  # noqa: PLC0415

    with _stop_on_signals() as stop:
        for line in measure_light(FlatJob(args.source, args.out, args.frames), stop, progress=sys.stderr.isatty()):
            print(line)
    return 0


def _calibrate_site(args: argparse.Namespace) -> int:
    from agent.tools.survey import SiteJob, measure_site  # noqa: PLC0415

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
    with _stop_on_signals() as stop:
        for line in measure_site(job, stop, progress=sys.stderr.isatty()):
            print(line)
    return 0


def _config_show(args: argparse.Namespace) -> int:
    from agent.config import load  # noqa: PLC0415

    for line in load(args.config, _overrides(args.set)).lines():
        print(line)
    return 0


def _config_schema(_: argparse.Namespace) -> int:
    from agent.settings import Settings  # noqa: PLC0415

    print(json.dumps(Settings.model_json_schema(), indent=2))
    return 0


def _audit_verify(args: argparse.Namespace) -> int:
    from agent.config import load  # noqa: PLC0415
    from agent.ops.audit import verify  # noqa: PLC0415

    state_dir = args.state_dir or load(args.config).settings.state_dir
    for line in verify(state_dir, sought=args.head or "").lines():
        print(line)
    return 0


def _overrides(pairs: Sequence[str]) -> dict[str, str]:
    split = [pair.partition("=") for pair in pairs]
    if odd := [name for name, mark, _ in split if not mark]:
        raise UsageError(f"--set {odd[0]}: write it as NAME=VALUE, for example --set mqtt.port=8883")
    return {name: value for name, _, value in split}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="microscope-agent",
        description=f"Finds white blood cells in microscope frames and scores each for a blast. {RESEARCH_ONLY}",
        epilog="Exit codes: 0 done, 1 a check failed, 2 wrong usage or settings, 4 a component is missing, "
        "5 a file was changed, or a signature is missing or foreign.",
    )
    parser.add_argument("--version", action="version", version=version("microscope-agent"))
    parser.add_argument(
        "--log",
        default="INFO",
        choices=["DEBUG", "INFO", "WARNING", "ERROR"],
        help="least level of the log; default INFO",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    service = commands.add_parser("run", help="the service: source -> cells -> MQTT, until it is told to stop")
    _settings_arguments(service)
    service.add_argument("--slide", metavar="ID", help="the slide to count for; the same as --set slide.id=ID")
    service.set_defaults(command=_run)

    offline = commands.add_parser("replay", help="examine a folder, a video or one image; one report per line")
    offline.add_argument("source", type=Path, help="folder of images, video, or image")
    offline.add_argument("--out", type=Path, required=True, metavar="FILE.jsonl", help="file for the reports")
    offline.add_argument(
        "--um-per-pixel", type=micrometres, metavar="X", help="micrometres per pixel; default: the site file's"
    )
    offline.add_argument("--site-file", type=Path, metavar="FILE", help="what `calibrate site` measured")
    offline.add_argument("--bundle", type=Path, default=SHIPPED, metavar="DIR", help="model; default: the shipped one")
    add_trust(offline)
    offline.add_argument(
        "--engine", default="auto", metavar="NAME", help="inference engine; default: the best there is"
    )
    offline.add_argument("--crops", type=Path, metavar="DIR", help="write what the network saw of each cell, by label")
    offline.add_argument("--annotate", type=Path, metavar="DIR", help="write the frames with the cells drawn in")
    offline.add_argument("--slide", default="", metavar="ID", help="pseudonym of the slide; default: the source's name")
    offline.add_argument("--summary", type=Path, metavar="FILE.json", help="write the slide's summary as JSON")
    offline.set_defaults(command=_replay)

    gallery = commands.add_parser("montage", help="the gallery of a slide's cells, the most suspicious first")
    gallery.add_argument("reports", type=Path, metavar="REPORTS.jsonl", help="what replay wrote with --out")
    seen = gallery.add_mutually_exclusive_group(required=True)
    seen.add_argument("--frames", type=Path, metavar="SOURCE", help="what replay read; shows the cells at one scale")
    seen.add_argument("--crops", type=Path, metavar="DIR", help="what replay wrote with --crops: the network's view")
    gallery.add_argument("--out", type=Path, required=True, metavar="FILE", help="FILE.html, FILE.png or FILE.jpg")
    gallery.add_argument("--most", type=whole(), default=400, metavar="N", help="cells to show; default 400")
    gallery.set_defaults(command=_montage)

    show = commands.add_parser("demo", help="a broker, the agent and a subscriber on this machine; ends by itself")
    show.add_argument("--frames", type=Path, metavar="DIR", help="real images instead of the rendered smear")
    show.add_argument("--um-per-pixel", type=micrometres, default=0.075, metavar="X", help="their scale; default 0.075")
    show.add_argument("--count", type=whole(), default=200, metavar="N", help="rendered frames; default 200")
    show.set_defaults(command=_demo)

    doctor = commands.add_parser(
        "doctor", help="check settings, source, model, engine, broker and who may use it, disk, clock, clashes"
    )
    _settings_arguments(doctor)
    doctor.set_defaults(command=_doctor)

    calibrate = commands.add_parser("calibrate", help="measure this microscope by its own frames")
    _calibrate_commands(calibrate.add_subparsers(required=True, metavar="WHAT"))

    config = commands.add_parser("config", help="the settings").add_subparsers(required=True, metavar="WHAT")
    shown = config.add_parser("show", help="the settings in force, each with its origin; secrets masked")
    _settings_arguments(shown)
    shown.set_defaults(command=_config_show)
    config.add_parser("schema", help="JSON Schema of the settings").set_defaults(command=_config_schema)

    _audit_commands(commands.add_parser("audit", help="what happened on this agent"))
    return parser


def _audit_commands(parser: argparse.ArgumentParser) -> None:
    chain = parser.add_subparsers(required=True, metavar="WHAT").add_parser(
        "verify", help="is every line of the audit log as it was written?"
    )
    place = chain.add_mutually_exclusive_group()
    place.add_argument("--state-dir", type=Path, metavar="DIR", help="the agent's folder; default: by the settings")
    place.add_argument("--config", type=Path, metavar="FILE", help="settings in TOML")
    chain.add_argument("--head", type=_sha256, metavar="HASH", help="a hash kept elsewhere; must be there")
    chain.set_defaults(command=_audit_verify)


def _sha256(text: str) -> str:
    if not re.fullmatch("[0-9a-fA-F]{64}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no SHA-256: 64 hexadecimal digits")
    return text


def _calibrate_commands(calibrate: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    scale = calibrate.add_parser("scale", help="micrometres per pixel, from the size of red cells")
    scale.add_argument("source", help="folder of images, video, image, or camera (number, device, address)")
    scale.add_argument(
        "--frames",
        type=whole(),
        default=200,
        metavar="N",
        help="look at N places at most; default 200; a camera is watched for a minute: move the stage",
    )
    scale.add_argument("--um-per-pixel", type=micrometres, metavar="X", help="warn if the frames disagree with this")
    scale.add_argument("--json", action="store_true", help="print the result as JSON")
    scale.set_defaults(command=_calibrate_scale)

    flat = calibrate.add_parser("flatfield", help="the light, from an empty field or a moving smear")
    flat.add_argument("source", help="as above")
    flat.add_argument("--out", type=Path, required=True, metavar="FILE.png", help="file for the flat field")
    flat.add_argument("--frames", type=whole(), default=40, metavar="N", help="take N frames at most; default 40")
    flat.set_defaults(command=_calibrate_flatfield)

    site = calibrate.add_parser("site", help="colour, scale, focus, light and scores beside the training's; site file")
    site.add_argument("source", help="as above")
    site.add_argument("--out", type=Path, required=True, metavar="FILE.json", help="the site file")
    site.add_argument("--bundle", type=Path, default=SHIPPED, metavar="DIR", help="model; default: the shipped one")
    add_trust(site)
    site.add_argument("--engine", default="auto", metavar="NAME", help="inference engine; default: the best there is")
    site.add_argument("--frames", type=whole(), default=50, metavar="N", help="look at N frames at most; default 50")
    site.add_argument("--um-per-pixel", type=micrometres, metavar="X", help="scale; default: as red cells tell it")
    site.add_argument("--flat", type=Path, metavar="FILE.png", help="flat field; laid beside the site file")
    site.add_argument(
        "--colour", default="off", choices=["off", "reinhard", "macenko"], help="make cells look like the training's"
    )
    site.set_defaults(command=_calibrate_site)


def _settings_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", type=Path, metavar="FILE", help="settings in TOML")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="one setting, for example mqtt.host=broker"
    )


if __name__ == "__main__":
    sys.exit(main())
