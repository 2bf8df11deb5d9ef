"""Sessions of ONNX Runtime on the CPU; nowhere else is one made."""

from pathlib import Path
from typing import TypeAlias

import onnxruntime as ort

RUNTIME = f"onnxruntime {ort.__version__}"
Session: TypeAlias = ort.InferenceSession


def open_session(
    graph: bytes | Path, *, as_written: bool = False, threads: int = 0, spins: bool = True, quiet: bool = False
) -> Session:
    """Open a graph; raises what ONNX Runtime raises for one that it refuses.

    Args:
        graph: an ONNX model, or the file that holds it.
        as_written: compute node by node what stands there; else ONNX Runtime rewrites the graph to be faster.
        threads: for one batch; 0: as many as the processor has cores.
        spins: threads wait for work by spinning: faster, and hotter.
        quiet: log errors, and no warnings.
    """
    options = ort.SessionOptions()
    if as_written:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = threads
    if not spins:
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if quiet:
        options.log_severity_level = 3
    model = graph if isinstance(graph, bytes) else str(graph)
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
