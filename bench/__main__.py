"""`make bench`: every benchmark, into bench/results.json."""

import json
import platform
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from bench import (
    cross_site,
    fetching,
    int8,
    likeness,
    looks,
    outbox,
    page,
    pictures,
    replay,
    restain,
    segmentation,
    service,
)
from bench.results import Figures
from contract.bundle import SHIPPED

RESULTS = Path(__file__).with_name("results.json")
BENCHMARKS: dict[str, Callable[[], Figures]] = {
    "cross_site": cross_site.measure,
    "fetching": fetching.measure,
    "int8_against_fp32": lambda: dict(int8.measure(SHIPPED)),
    "likeness": likeness.measure,
    "looks": looks.measure,
    "outbox": outbox.measure,
    "page": page.measure,
    "pictures": pictures.measure,
    "replay_bccd": replay.measure,
    "restain": restain.measure,
    "segmentation": segmentation.compare,
    "service": service.measure,
}


def main() -> int:
    """Run the benchmarks and store their figures with the versions that gave them."""
    figures: dict[str, Figures] = {
        "with": {
            "python": platform.python_version(),
            "machine": platform.machine(),
            "onnxruntime": version("onnxruntime"),
            "opencv": version("opencv-python-headless"),
        }
    }
    for name, measure in BENCHMARKS.items():
        figures[name] = measure()
        print(name, json.dumps(figures[name], indent=2), flush=True)
    RESULTS.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
