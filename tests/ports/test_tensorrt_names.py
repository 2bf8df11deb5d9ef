"""Every name of TensorRT that we use exists in every TensorRT that we support: asked of the real bindings.

The names are read from our source: mypy holds engine and builder to the protocols in `engines/trt_protocols.py`, and
these tests hold the protocols to the bindings. What only some versions have must be asked for with a default.
"""

import ast
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
STUB = Path(__file__).with_name("tensorrt_stub.c")
PROTOCOLS = ROOT / "engines/trt_protocols.py"
USERS = [
    ROOT / "engines" / f"{name}.py"
    for name in ("trt", "plan", "build", "trt_build", "trt_layers", "trt_log", "trt_progress")
]
VERSIONS = ["cu12 10.3.0", "cu12 10.13.3.9", "cu12 10.16.1.11", "cu13 11.4.0.106"]
LIBRARIES = ("libnvinfer", "libnvonnxparser", "libnvinfer_plugin")
STANDS_FOR = {
    "TensorRt": "",
    "RuntimeApi": "",
    "BuilderApi": "",
    "Severity": "ILogger.Severity.",
    "InspectableEngine": "ICudaEngine.",
    "InspectingRuntime": "Runtime.",
}
"""What of TensorRT a protocol is that does not bear its name."""
PROBE = """
import inspect, json, logging, sys
import tensorrt_bindings as trt
sys.modules["tensorrt"] = trt
absent = []
for path, parameters in json.loads(sys.argv[1]).items():
    found = trt
    for part in path.split("."):
        found = getattr(found, part, None)
    if found is None and not path.endswith("__version__"):
        absent.append(path)
    text = found.__doc__ or ""
    absent += [f"{path}({p})" for p in parameters if f" {p}:" not in text and f"({p}:" not in text]
def has(path, owner=trt):
    for part in path.split("."):
        owner = getattr(owner, part, None)
    return owner is not None
optional = {path: has(path) for path in json.loads(sys.argv[2])}
from engines.trt import load_tensorrt
from engines.trt_log import Complaints
from engines.trt_progress import Progress
complaints = Complaints(load_tensorrt(), logging.getLogger())
complaints.logger.log(trt.ILogger.ERROR, "as planned")
progress = Progress(trt.IProgressMonitor)
config = type("Config", (), {})()
progress.watch(config)
config.progress_monitor.phase_start("a", None, 2)
alive = config.progress_monitor.step_complete("a", 1)
config.progress_monitor.phase_finish("a")
refused = ""
try:
    trt.Runtime(complaints.logger)
except TypeError as error:
    refused = str(error)
print(json.dumps({"version": trt.__version__, "absent": absent, "optional": optional, "alive": alive,
    "isa": isinstance(complaints.logger, trt.ILogger) and isinstance(config.progress_monitor, trt.IProgressMonitor),
    "error": str(complaints.error("it")), "refused": refused}))
"""


def declared() -> dict[str, list[str]]:
    """Dotted names in our protocols, each with the names of its parameters where we give them by name."""
    names: dict[str, list[str]] = {}
    for kind in _classes():
        for member in kind.body:
            if name := _member(member):
                path = STANDS_FOR.get(kind.name, f"{kind.name}.") + name
                names[path] = sorted(_keywords().get(name, set()))
    return names


def _keywords() -> dict[str, set[str]]:
    """By the name of a method, the parameters that our source gives by name."""
    found: dict[str, set[str]] = {}
    for call in _calls():
        if isinstance(call.func, ast.Attribute):
            found.setdefault(call.func.attr, set()).update(k.arg for k in call.keywords if k.arg)
    return found


def _calls() -> list[ast.Call]:
    return [n for p in USERS for n in ast.walk(ast.parse(p.read_text())) if isinstance(n, ast.Call)]


def _classes() -> Iterator[ast.ClassDef]:
    tree = ast.parse(PROTOCOLS.read_text())
    yield from (n for n in tree.body if isinstance(n, ast.ClassDef) and _is_protocol(n))


def _is_protocol(kind: ast.ClassDef) -> bool:
    return "Protocol" in [ast.unparse(base) for base in kind.bases]


def _member(node: ast.stmt) -> str:
    if isinstance(node, ast.FunctionDef):
        return "" if node.name.startswith("__") else node.name
    return node.target.id if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) else ""


def optional() -> set[str]:
    """Names that our source asks for with a default: `getattr(owner, "NAME", None)`."""
    return {
        f"{ast.unparse(call.args[0])}.{call.args[1].value}".replace("self._trt.", "trt.").removeprefix("trt.")
        for call in _calls()
        if isinstance(call.func, ast.Name) and call.func.id == "getattr" and len(call.args) == 3
        if isinstance(call.args[1], ast.Constant) and isinstance(call.args[1].value, str)
    }


def test_every_declared_name_is_used() -> None:
    """So the protocols hold nothing that nobody needs."""
    trees = [ast.parse(p.read_text()) for p in USERS]
    used = {n.attr for t in trees for n in ast.walk(t) if isinstance(n, ast.Attribute)}
    names = {part for path in declared() for part in path.split(".")[-1:]}
    assert names - used == set()


def test_tensorrt_is_imported_inside_functions_whose_result_is_typed() -> None:
    """So mypy sees no untyped object of TensorRT's."""
    for path in USERS:
        for function in (n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.FunctionDef)):
            imports = [n for n in ast.walk(function) if isinstance(n, ast.Import)]
            if any(alias.name == "tensorrt" for n in imports for alias in n.names):
                assert isinstance(function.returns, ast.Name)
                assert function.returns.id in {"RuntimeApi", "Tools"}


@pytest.fixture(scope="session")
def stub(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with libraries that have TensorRT's names."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler to build the stub of TensorRT's libraries with")
    folder = tmp_path_factory.mktemp("stub")
    for library in (f"{name}.so.{major}" for name in LIBRARIES for major in (10, 11)):
        command = [compiler, "-shared", "-fPIC", f"-Wl,-soname,{library}", "-o", str(folder / library), str(STUB)]
        subprocess.run(command, check=True, capture_output=True)
    return folder


@pytest.fixture(scope="session", params=VERSIONS)
def bindings(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the real bindings of one version; kept in pytest's cache."""
    cuda, version = request.param.split()
    config: pytest.Config = request.config
    cache = getattr(config, "cache", None)  # where pytest keeps none, there is no such thing
    kept = cache.mkdir("tensorrt-bindings") if cache else tmp_path_factory.mktemp("bindings")
    folder = Path(kept) / f"{version}-{sys.version_info.minor}"
    if not folder.is_dir():
        wanted = f"tensorrt_{cuda}_bindings=={version}"
        draft = folder.with_name(f"{folder.name}-{os.getpid()}")
        install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--only-binary=:all:"]
        done = subprocess.run([*install, "--target", str(draft), wanted], capture_output=True, text=True, check=False)
        if done.returncode:
            shutil.rmtree(draft, ignore_errors=True)
            pytest.skip(f"{wanted} is not available: no package registry within reach, or no wheel for this machine")
        draft.rename(folder)
    return folder


@pytest.mark.requires_registry
def test_every_name_that_we_use_is_in_the_real_bindings(bindings: Path, stub: Path) -> None:
    environment = {**os.environ, "LD_LIBRARY_PATH": str(stub), "PYTHONPATH": f"{bindings}{os.pathsep}{ROOT}"}
    command = [sys.executable, "-c", PROBE, json.dumps(declared()), json.dumps(sorted(optional()))]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["absent"] == []
    assert found["isa"]
    assert found["alive"] is True
    assert "as planned" in found["error"]
    assert "nullptr" in found["refused"], "the stub must not be mistaken for a TensorRT that works"
    eleven = found["version"].startswith("11.")
    assert found["optional"] == dict(zip(sorted(optional()), [not eleven, not eleven, True], strict=True))


def test_the_names_are_read_from_the_source() -> None:
    """The reading itself works: some names that must be among them."""
    assert {"IExecutionContext.execute_async_v3", "ILogger.Severity.ERROR", "Builder", "OnnxParser.parse"} <= set(
        declared()
    )
    assert optional() == {"BuilderFlag.FP16", "BuilderFlag.INT8", "IProgressMonitor"}
    assert declared()["IBuilderConfig.set_timing_cache"] == ["ignore_mismatch"]
