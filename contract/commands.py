"""Entry points of commands. Where a library of an extra is missing, one line says what to install.

The services heed signals before anything slow is imported.
"""

import sys
from importlib import import_module

from contract.signals import heed

EXTRAS = {
    "onnx": "export,training",
    "onnxscript": "export,training",
    "sqlalchemy": "collector",
    "torch": "export,training",
}
"""Which extra brings a library that may be missing."""


def how_to_install(extra: str) -> str:
    """What a user types for the libraries of an extra; no index of packages has this project."""
    return f"pip install -c constraints.txt '.[{extra}]' in a clone of this project"


def agent() -> int:
    """`microscope-agent`."""
    heed()
    return _run("microscope-agent", "agent.__main__")


def export_engine() -> int:
    """`export-engine`."""
    return _run("export-engine", "export.__main__")


def compare_engines() -> int:
    """`compare-engines`."""
    return _run("compare-engines", "export.compare")


def collect() -> int:
    """`microscope-collect`."""
    heed()
    return _run("microscope-collect", "collector.__main__")


def train_classifier() -> int:
    """`train-classifier`."""
    return _run("train-classifier", "training.fit")


def evaluate_classifier() -> int:
    """`evaluate-classifier`."""
    return _run("evaluate-classifier", "training.evaluate")


def _run(command: str, module: str) -> int:
    try:
        return int(import_module(module).main())
    except ModuleNotFoundError as cause:
        if cause.name not in EXTRAS:
            raise
        remedy = how_to_install(EXTRAS[cause.name])
        print(  # noqa: T201 - a command speaks to its user
            f"{command}: {cause.name} is not installed; {remedy}", file=sys.stderr
        )
        return 4
