"""What `microscope-agent` can be told."""

import argparse
import re
from importlib.metadata import version
from typing import TypeAlias

from common.arguments import Parser, micrometres, place, whole
from contract.signature import SHIPPED_BUNDLE
from contract.topic_words import WORD, is_topic_word
from contract.trust_options import add_trust

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # noqa: SLF001 - it has no other name
RESEARCH_ONLY = "Research use only. It assists haematologists; it never diagnoses."


def parser() -> argparse.ArgumentParser:
    """Every command; which one was asked for stands in ``command``."""
    made: argparse.ArgumentParser = Parser(
        prog="microscope-agent",
        description=f"Finds white blood cells in microscope frames and scores each for a blast. {RESEARCH_ONLY}",
        epilog="Exit codes: 0 done, 1 a check failed, 2 wrong usage or settings, 4 a component is missing, "
        "5 a file was changed, or a signature is missing or foreign.",
    )
    made.add_argument("--version", action="version", version=version("microscope-agent"))
    made.add_argument(
        "--log",
        default="INFO",
        choices=["DEBUG", "INFO", "WARNING", "ERROR"],
        help="least level of the log; default INFO",
    )
    commands = made.add_subparsers(required=True, metavar="COMMAND")
    for add in (_run, _replay, _montage, _demo, _render, _doctor, _calibrate, _slide, _config, _audit):
        add(commands)
    return made


def _command(commands: Commands, name: str, words: str) -> argparse.ArgumentParser:
    """A command that does something, under the last word of its name."""
    made = commands.add_parser(name.rpartition(" ")[2], help=words)
    made.set_defaults(command=name)
    return made


def _several(commands: Commands, name: str, words: str) -> Commands:
    """A command that others stand below."""
    return commands.add_parser(name, help=words).add_subparsers(required=True, metavar="WHAT")


def _run(commands: Commands) -> None:
    run = _command(commands, "run", "the service: source -> cells -> MQTT, until it is told to stop")
    _settings(run)
    run.add_argument("--slide", metavar="ID", help="the slide to count for; the same as --set slide.id=ID")


def _replay(commands: Commands) -> None:
    replay = _command(commands, "replay", "examine a folder, a video or one image; one report per line")
    add = replay.add_argument
    add("source", type=place, help="folder of images, video, or image")
    add("--out", type=place, required=True, metavar="FILE.jsonl", help="file for the reports")
    add("--um-per-pixel", type=micrometres, metavar="X", help="micrometres per pixel; default: the site file's")
    add("--site-file", type=place, metavar="FILE", help="what `calibrate site` measured")
    _model(replay)
    add("--crops", type=place, metavar="DIR", help="write what the network saw of each cell, by label")
    add("--annotate", type=place, metavar="DIR", help="write the frames with the cells drawn in")
    add("--slide", default="", metavar="ID", help="pseudonym of the slide; default: the source's name")
    add("--slide-per-folder", action="store_true", help="each folder below is a slide of its own, named as it is")
    add("--summary", type=place, metavar="FILE.json", help="write the slide's summary as JSON")
    words = "processes that inspect frames beside this one; default: all cores but one, at most 4; none for few"
    add("--processes", type=whole(least=0), metavar="N", help=words)


def _montage(commands: Commands) -> None:
    montage = _command(commands, "montage", "the gallery of a slide's cells, by the probability of a blast")
    montage.add_argument("reports", type=place, metavar="REPORTS.jsonl", help="what replay wrote with --out")
    seen = montage.add_mutually_exclusive_group(required=True)
    seen.add_argument("--frames", type=place, metavar="SOURCE", help="what replay read; shows the cells at one scale")
    seen.add_argument("--crops", type=place, metavar="DIR", help="what replay wrote with --crops: the network's view")
    montage.add_argument("--out", type=place, required=True, metavar="FILE", help="FILE.html, FILE.png or FILE.jpg")
    montage.add_argument("--most", type=whole(), default=400, metavar="N", help="cells to show; default 400")


def _demo(commands: Commands) -> None:
    demo = _command(commands, "demo", "a broker, the agent, a subscriber and the page on this machine; ends by itself")
    demo.add_argument("--frames", type=place, metavar="DIR", help="real images instead of the rendered smear")
    demo.add_argument("--um-per-pixel", type=micrometres, metavar="X", help="their scale, needed with --frames")
    words = "leave the found cells there, the most suspicious first: FILE.html, FILE.png or FILE.jpg"
    demo.add_argument("--montage", type=place, metavar="FILE", help=words)
    demo.add_argument("--keep", action="store_true", help="go on, with the page open, until Ctrl-C")
    demo.add_argument("--count", type=whole(), default=200, metavar="N", help="rendered frames; default 200")


def _render(commands: Commands) -> None:
    words = "write rendered frames into a folder, to try replay, montage and calibrate with"
    command = _command(commands, "render", words)
    command.add_argument("folder", type=place, metavar="DIR", help="a new folder")
    command.add_argument("--count", type=whole(), default=40, metavar="N", help="frames; default 40")
    command.add_argument("--um-per-pixel", type=micrometres, default=0.1, metavar="X", help="their scale; default 0.1")


def _doctor(commands: Commands) -> None:
    words = "check settings, source, model, engine, broker and who may use it, disk, clock, clashes"
    _settings(_command(commands, "doctor", words))


def _calibrate(commands: Commands) -> None:
    below = _several(commands, "calibrate", "measure this microscope by its own frames")
    for add in (_calibrate_scale, _calibrate_flatfield, _calibrate_site):
        add(below)


def _calibrate_scale(commands: Commands) -> None:
    scale = _command(commands, "calibrate scale", "micrometres per pixel, from the size of red cells")
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


def _calibrate_flatfield(commands: Commands) -> None:
    flat = _command(commands, "calibrate flatfield", "the light, from an empty field or a moving smear")
    flat.add_argument("source", help="as above")
    flat.add_argument("--out", type=place, required=True, metavar="FILE.png", help="file for the flat field")
    flat.add_argument("--frames", type=whole(), default=40, metavar="N", help="take N frames at most; default 40")


def _calibrate_site(commands: Commands) -> None:
    words = "colour, scale, focus, light and scores beside the training's; site file"
    site = _command(commands, "calibrate site", words)
    add = site.add_argument
    add("source", help="as above")
    add("--out", type=place, required=True, metavar="FILE.json", help="the site file")
    _model(site)
    add("--frames", type=whole(), default=50, metavar="N", help="look at N frames at most; default 50")
    add("--um-per-pixel", type=micrometres, metavar="X", help="scale; default: as red cells tell it")
    add("--flat", type=place, metavar="FILE.png", help="flat field; laid beside the site file")
    add("--colour", default="off", choices=["off", "reinhard", "macenko"], help="make cells look like the training's")


def _slide(commands: Commands) -> None:
    below = _several(commands, "slide", "tell a running agent, over its broker, which slide it counts for")
    start = _command(below, "slide start", "count what follows for a slide; the one before ends")
    start.add_argument("id", metavar="ID", type=_slide_id, help="pseudonym of the slide, never a patient's identity")
    for command in (start, _command(below, "slide stop", "end the slide, and tell what was counted")):
        _settings(command)


def _slide_id(text: str) -> str:
    if not is_topic_word(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no name of a slide, which has {WORD}")
    return text


def _config(commands: Commands) -> None:
    below = _several(commands, "config", "the settings")
    _settings(_command(below, "config show", "the settings in force, each with its origin; secrets masked"))
    _command(below, "config schema", "JSON Schema of the settings")


def _audit(commands: Commands) -> None:
    below = _several(commands, "audit", "what happened on this agent")
    verify = _command(below, "audit verify", "is every line of the audit log as it was written?")
    where = verify.add_mutually_exclusive_group()
    where.add_argument("--state-dir", type=place, metavar="DIR", help="the agent's folder; default: by the settings")
    where.add_argument("--config", type=place, metavar="FILE", help="settings in TOML")
    verify.add_argument("--head", type=_sha256, metavar="HASH", help="a hash kept elsewhere; must be there")


def _sha256(text: str) -> str:
    if not re.fullmatch("[0-9a-fA-F]{64}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no SHA-256: 64 hexadecimal digits")
    return text


def _settings(command: argparse.ArgumentParser) -> None:
    command.add_argument("--config", type=place, metavar="FILE", help="settings in TOML")
    command.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="one setting, for example mqtt.host=broker"
    )


def _model(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--bundle", type=place, default=SHIPPED_BUNDLE, metavar="DIR", help="model; default: the shipped one"
    )
    add_trust(command)
    command.add_argument(
        "--engine", default="auto", metavar="NAME", help="inference engine; default: the best there is"
    )
