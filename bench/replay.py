"""How fast `replay` examines real frames, and where the time goes."""

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import agent
from agent.sources.directory import listed
from bench.results import Figures
from contract.pictures import read_picture

FRAMES = "bccd/JPEGImages"
UM_PER_PIXEL = "0.075"
STEPS = ("read", "quality", "segment", "classify", "place")


def measure() -> Figures:
    """Replay the BCCD frames as a user does and on one core, beside plain decoding of the same files on one core.

    Returns:
        frames a second from the first to the last, the same as a share of plain decoding's, and each step's share of
        the time; the reason without the images that MICROSCOPE_DATA names.
    """
    data = os.environ.get("MICROSCOPE_DATA")
    if not data or not (frames := Path(data) / FRAMES).is_dir():
        return {"skipped": f"MICROSCOPE_DATA names no folder with {FRAMES}"}
    decoding = _decode(frames)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "reports.jsonl"
        rates = [_replayed(frames, out), _replayed(frames, out, "--processes", "0")]
        timings = [json.loads(line)["timing_ms"] for line in out.read_text().splitlines()]
    total_ms = sum(timing["total"] for timing in timings)
    shares = {f"share_{step}": round(sum(t[step] for t in timings) / total_ms, 3) for step in STEPS}
    return {
        "frames": len(timings),
        "frames_per_s": rates[0],
        "of_plain_decoding": round(rates[0] / decoding, 3),
        "one_core_frames_per_s": rates[1],
        "one_core_of_plain_decoding": round(rates[1] / decoding, 3),
        **shares,
    }


def _replayed(frames: Path, out: Path, *more: str) -> float:
    """Frames a second, by replay's own word."""
    words = ["replay", str(frames), "--um-per-pixel", UM_PER_PIXEL, "--out", str(out), *more]
    done = subprocess.run([sys.executable, "-m", agent.__name__, *words], check=True, capture_output=True, text=True)
    found = re.search(r"\(([0-9.]+) a second\)", done.stderr)
    if found is None:
        raise RuntimeError(f"replay did not say how fast it was: {done.stderr}")
    return float(found[1])


def _decode(folder: Path) -> float:
    """Frames a second of reading and decoding alone."""
    files = listed(folder)
    started = time.perf_counter()
    for path in files:
        read_picture(path)
    return len(files) / (time.perf_counter() - started)
