"""Entry points of the commands whose libraries are extras: without them, one line says what to install."""

import sys
from importlib import import_module

EXTRAS = {"onnx": "export", "onnxscript": "export", "sqlalchemy": "collector", "torch": "export,training"}
"""Which extra brings a library that may be missing."""


def export_engine() -> int:
    """`export-engine`."""
    return _run("export-engine", "export.__main__")


def compare_engines() -> int:
    """`compare-engines`."""
    return _run("compare-engines", "export.compare")


def collect() -> int:
    """`microscope-collect`."""
    return _run("microscope-collect", "collector.__main__")


def train_classifier() -> int:
    """`train-classifier`."""
    return _run("train-classifier", "training.fit")


def evaluate_classifier() -> int:
    """`evaluate-classifier`."""
    return _run("evaluate-classifier", "training.evaluate")


def _run(command: str, module: str) -> int:
    try:
        main = import_module(module).main
    except ModuleNotFoundError as cause:
        if cause.name not in EXTRAS:
            raise
        extra = EXTRAS[cause.name]
        print(  # noqa: T201 - a command speaks to its user
            f"{command}: {cause.name} is not installed; pip install 'microscope-agent[{extra}]'", file=sys.stderr
        )
        return 4
    return int(main())
