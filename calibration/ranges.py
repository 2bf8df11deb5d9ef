"""Runs the FP32 graph with all its activations exposed, and keeps their ranges: `calibration.json`."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import onnx
from onnx import TensorProto, helper
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from tqdm import tqdm

from calibration.histogram import Histogram
from calibration.methods import parameters_of, range_of
from calibration.strata import fingerprint
from common.errors import UsageError
from contract.manifest import InputSpec, Sha256
from contract.pixels import to_batch
from contract.types import Crops, Tensor
from engines.session import open_session

BATCH = 16
POOLING = frozenset({"MaxPool", "ReduceMean", "ReduceL2", "Gemm"})
"""Operators with which features and scores begin: INT8 carries neither these nor what follows them."""
REVISION = 1
"""Of the methods' arithmetic: raise it when one of them changes, so that tables of the old one are not reused."""


class Key(BaseModel):
    """All that a table depends on; two tables of one key are the same."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: Sha256 = Field(description="Hash of the FP32 graph that was run.")
    sample: Sha256 = Field(description="Hash over the calibration crops.")
    preprocessing: Sha256 = Field(description="Hash of what the network sees: scale, size, colours, normalisation.")
    method: str = Field(description="Name of the calibration method.")
    parameters: dict[str, float] = Field(description="Every parameter of the method.")
    revision: int = Field(description="Revision of the methods' arithmetic.")

    def differences(self, other: "Key") -> list[str]:
        """Names of the parts that differ."""
        return [name for name in Key.model_fields if getattr(self, name) != getattr(other, name)]


class Table(BaseModel):
    """The ranges of one graph on one sample; both INT8 graphs are made from it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: Key = Field(description="What the table was made from and how.")
    cells: int = Field(ge=1, description="Number of calibration cells.")
    ranges: dict[str, tuple[float, float]] = Field(description="Smallest and largest value by tensor name.")

    @property
    def method(self) -> str:
        """Name of the calibration method."""
        return self.key.method

    @property
    def sample_sha256(self) -> str:
        """Hash over the calibration crops."""
        return self.key.sample

    @property
    def model_sha256(self) -> str:
        """Hash of the FP32 graph that was run."""
        return self.key.model


def calibrate(
    path: Path,
    crops: Crops,
    spec: InputSpec,
    *,
    method: str = "minmax",
    parameters: Mapping[str, float] | None = None,
    quiet: bool = True,
) -> Table:
    """Find the range of every activation by one method.

    Args:
        path: the FP32 graph.
        crops: the calibration cells, (N, size, size, 3) uint8.
        spec: what the graph expects.
        method: key of ``METHODS``.
        parameters: of the method, where not its defaults.
        quiet: draw no progress bar.

    Raises:
        UsageError: no such method or parameter, or no cell.
        CheckError: the network computes something infinite.
    """
    key = key_of(path, crops, spec, method=method, parameters=parameters)
    return table_from(observe(path, crops, spec, quiet=quiet), key, cells=len(crops))


def calibrate_by(
    methods: Sequence[str], path: Path, crops: Crops, spec: InputSpec, *, quiet: bool = True
) -> dict[str, Table]:
    """The tables of several methods from one walk over the sample; arguments and errors as in ``calibrate``."""
    keys = {method: key_of(path, crops, spec, method=method) for method in methods}
    seen = observe(path, crops, spec, quiet=quiet)
    return {method: table_from(seen, key, cells=len(crops)) for method, key in keys.items()}


def observe(path: Path, crops: Crops, spec: InputSpec, *, quiet: bool = True) -> dict[str, Histogram]:
    """Run the graph over the sample and count the values of every activation, by tensor name.

    Raises:
        UsageError: no cell.
        CheckError: the network computes something infinite.
    """
    if not len(crops):
        raise UsageError("there is no cell to calibrate with; name a folder with images")
    seen: dict[str, Histogram] = {}
    with tqdm(total=len(crops), desc="calibrating", unit="cell", disable=quiet or None) as bar:
        for batch in _activations(onnx.load(path), crops, spec):
            for name, values in batch.items():
                seen.setdefault(name, Histogram()).add(values)
            bar.update(len(batch[spec.name]))
    return seen


def table_from(seen: Mapping[str, Histogram], key: Key, *, cells: int) -> Table:
    """Apply the key's method to what was observed."""
    ranges = {name: range_of(values, key.method, key.parameters) for name, values in seen.items()}
    return Table(key=key, cells=cells, ranges=ranges)


def key_of(
    path: Path, crops: Crops, spec: InputSpec, *, method: str = "minmax", parameters: Mapping[str, float] | None = None
) -> Key:
    """The key of the table that ``calibrate`` would make; arguments and errors are the same."""
    return Key(
        model=hashlib.sha256(path.read_bytes()).hexdigest(),
        sample=fingerprint(crops),
        preprocessing=hashlib.sha256(spec.model_dump_json().encode()).hexdigest(),
        method=method,
        parameters=parameters_of(method, parameters),
        revision=REVISION,
    )


def read_table(path: Path, key: Key, *, by_any_method: bool = False) -> Table:
    """The table at ``path``, if it is of exactly this key: a stale one is never reused.

    Args:
        path: a `calibration.json`.
        key: what the table must have been made from and how.
        by_any_method: whatever the method was.

    Raises:
        UsageError: there is none, it is no table, or it was made from something else; the text names what differs.
    """
    try:
        table = Table.model_validate_json(path.read_bytes())
    except OSError as cause:
        raise UsageError(f"the table {path} can not be read ({cause.strerror}); leave --table out") from cause
    except ValidationError as cause:
        raise UsageError(f"{path} is no calibration table of this version; leave --table out") from cause
    free = {"method", "parameters"} if by_any_method else set[str]()
    if parts := [part for part in key.differences(table.key) if part not in free]:
        raise UsageError(f"the table {path} was made with another {', '.join(parts)}; leave --table out")
    return table


def _activations(model: onnx.ModelProto, crops: Crops, spec: InputSpec) -> Iterator[dict[str, Tensor]]:
    """Every activation of a graph over a sample, batch by batch."""
    exposed, names = _expose(model)
    session = open_session(exposed.SerializeToString())
    for k in range(0, len(crops), BATCH):
        batch = to_batch(crops[k : k + BATCH], spec)
        values = session.run(names, {spec.name: batch})
        yield {spec.name: batch, **dict(zip(names, values, strict=True))}


def _expose(model: onnx.ModelProto) -> tuple[onnx.ModelProto, list[str]]:
    """A copy of the graph that returns the result of each node that INT8 may carry, and their names."""
    exposed = onnx.ModelProto()
    exposed.CopyFrom(model)
    names: list[str] = []
    behind: set[str] = set()
    for node in model.graph.node:
        if node.op_type in POOLING or behind & set(node.input):
            behind.update(node.output)
        else:
            names += node.output
    del exposed.graph.output[:]
    exposed.graph.output.extend(helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in names)
    return exposed, names
