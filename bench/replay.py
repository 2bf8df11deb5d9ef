"""How fast `replay` examines real frames, and where the time goes."""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from agent.sources.directory import listed
from bench.results import Figures
from contract.pictures import read_picture

FRAMES = "bccd/JPEGImages"
UM_PER_PIXEL = "0.075"
STEPS = ("read", "quality", "segment", "classify", "place")


def measure() -> Figures:
    """Replay the BCCD frames in a process of its own, beside plain decoding of the same files.

    Returns:
        frames a second, the same as a share of plain decoding's, and each step's share of the time; empty without
        the images that MICROSCOPE_DATA names.
    """
    data = os.environ.get("MICROSCOPE_DATA")
    if not data or not (frames := Path(data) / FRAMES).is_dir():
        return {"skipped": f"MICROSCOPE_DATA names no folder with {FRAMES}"}
    decoding = _decode(frames)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "reports.jsonl"
        replay = [
            sys.executable,
            "-m",
            "agent",
            "replay",
            str(frames),
            "--um-per-pixel",
            UM_PER_PIXEL,
            "--out",
            str(out),
        ]
        subprocess.run(replay, check=True, capture_output=True)
        timings = [json.loads(line)["timing_ms"] for line in out.read_text().splitlines()]
    total_ms = sum(timing["total"] for timing in timings)
    rate = len(timings) / total_ms * 1e3
    shares = {f"share_{step}": round(sum(t[step] for t in timings) / total_ms, 3) for step in STEPS}
    return {
        "frames": len(timings),
        "frames_per_s": round(rate, 1),
        "of_plain_decoding": round(rate / decoding, 3),
        **shares,
    }


def _decode(folder: Path) -> float:
    """Frames a second of reading and decoding alone."""
    files = listed(folder)
    started = time.perf_counter()
    for path in files:
        read_picture(path)
    return len(files) / (time.perf_counter() - started)
