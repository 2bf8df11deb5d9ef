"""`python -m export.lint FILE`: holds an ONNX file against TensorRT's rules for explicit INT8, from 10.3 to 11.

A finding's severity says what becomes of it: ``refused`` (parser or builder of at least one of these versions gives
up), ``unfused`` (it builds, but a layer that could run in INT8 does not, or runs alone), ``note`` (worth knowing). The
rules are in ``export.lint_rules``.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from common.arguments import place
from common.commands import outcome, process
from common.errors import UsageError
from common.terminal import say
from export.lint_rules import RULES, SEVERITIES, Finding, Graph


def lint(path: Path) -> list[Finding]:
    """Hold an ONNX file against the rules.

    Returns:
        Findings, the worst first; an empty list for a file that TensorRT builds and fuses as far as is known.

    Raises:
        UsageError: the file is not there, or is no ONNX model.
    """
    graph = Graph(_load(path))
    findings = [finding for rule in RULES for finding in rule(graph)]
    return sorted(findings, key=lambda f: SEVERITIES.index(f.severity))


def readable(findings: Sequence[Finding]) -> str:
    """Findings as a table for a terminal."""
    if not findings:
        return "clean: nothing that TensorRT would refuse or leave unfused"
    wide = max(len(f.node or "(file)") for f in findings)
    broad = max(len(f.rule) for f in findings)
    lines = [f"{f.severity:8} {f.node or '(file)':{wide}} {f.rule:{broad}} {f.remedy}" for f in findings]
    counts = ", ".join(f"{sum(f.severity == s for f in findings)} {s}" for s in SEVERITIES)
    return "\n".join([*lines, counts])


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code: 1 if TensorRT would refuse the file."""
    parser = argparse.ArgumentParser("python -m export.lint", description=__doc__.partition("\n")[0])
    parser.add_argument("file", type=place, help="an ONNX model")
    file = parser.parse_args(arguments).file

    def work() -> int:
        findings = lint(file)
        say(*readable(findings).split("\n"))
        return int(any(f.severity == "refused" for f in findings))

    return outcome("export.lint", work)


def _load(path: Path) -> onnx.ModelProto:
    try:
        model = onnx.load(path)
    except FileNotFoundError as cause:
        raise UsageError(f"there is no file {path}; name an ONNX model") from cause
    except (DecodeError, OSError, ValueError, onnx.checker.ValidationError) as cause:
        raise UsageError(f"{path} is no ONNX model, or its weights are missing ({cause}); export it again") from cause
    if not model.graph.node or not model.opset_import:
        raise UsageError(f"{path} is no ONNX model: it holds no graph; export it again")
    return model


if __name__ == "__main__":
    raise SystemExit(process("export.lint", main))
