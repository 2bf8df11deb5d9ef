"""NVIDIA's own compiler on a machine without a GPU: what TensorRT-RTX makes of a graph.

TensorRT-RTX is TensorRT for NVIDIA's desktop GPUs. It has the same parser, builder and rules for Q/DQ, it is installed
from PyPI (extra `rtx`), and it builds for a GPU that is not there. It is not the TensorRT of a Jetson: it proves that
NVIDIA's parser and builder take a graph and where they compute in INT8, and neither speed nor results on a board.

It works in a process of its own for each graph (``engines.rtx_build``): after a graph that it has refused, version
1.7.1 builds the next one in the same process otherwise, and what ends that process does not end ours.
"""

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from common.commands import how_to_install
from common.errors import EngineError, MissingError
from engines import rtx_build
from engines.rtx_layers import Answer, Compiled

MODULE = "tensorrt_rtx_bindings"
MOST_S = 600
"""A build of one of our graphs takes a second."""


def is_installed() -> bool:
    """Whether TensorRT-RTX is there."""
    return find_spec(MODULE) is not None


def compile_graph(graph: bytes, capabilities: Sequence[str]) -> tuple[Compiled, ...]:
    """Build a graph for GPUs that need not be there.

    Args:
        graph: ONNX, with one input of images.
        capabilities: the GPUs' compute capabilities; TensorRT-RTX 1.7 knows 7.5, 8.0, 8.6, 8.9, 12.0 and 12.1.

    Returns:
        What became of it for each of them.

    Raises:
        MissingError: TensorRT-RTX is not installed.
        EngineError: the compiler refuses the graph, in its own words, or ends without a word.
    """
    if not is_installed():
        raise MissingError(
            f"NVIDIA's compiler TensorRT-RTX is not installed; {how_to_install('rtx')}, or leave --check rtx out"
        )
    with tempfile.TemporaryDirectory(prefix="rtx-") as folder:
        file, out = Path(folder) / "model.onnx", Path(folder) / "compiled.json"
        file.write_bytes(graph)
        command = [sys.executable, "-m", rtx_build.__name__, str(file), str(out), *capabilities]
        try:
            done = subprocess.run(command, capture_output=True, timeout=MOST_S, check=False)
        except subprocess.TimeoutExpired as cause:
            raise EngineError(f"TensorRT-RTX has not built the graph in {MOST_S} s") from cause
        if done.returncode:
            raise EngineError(_why(done))
        return Answer.model_validate_json(out.read_bytes()).built


def _why(done: "subprocess.CompletedProcess[bytes]") -> str:
    if done.returncode < 0:
        return f"TensorRT-RTX ended by signal {-done.returncode} while it built the graph"
    said = done.stderr.decode(errors="replace").strip().splitlines()
    return said[-1].partition(": ")[2] if said else "TensorRT-RTX refused the graph without a word"
