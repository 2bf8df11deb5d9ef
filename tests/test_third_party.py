"""The list of third-party parts is true, and the bill of materials can be made."""

import json
import re
import subprocess
import sys
import tempfile
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parent.parent


def listed() -> dict[str, tuple[str, str]]:
    """By part, the version in which the licence was read, and the licence."""
    rows = re.findall(r"(?m)^\| ([\w.-]+) \| ([\w.]+) \| ([^|]+) \|", (ROOT / "docs/third-party.md").read_text())
    return {name: (version, licence.strip()) for name, version, licence in rows}


def locked() -> dict[str, set[str]]:
    """By part, its versions in the lock: one for each Python, if they differ."""
    versions: dict[str, set[str]] = {}
    for name, version in re.findall(r"(?m)^([\w.-]+)==([^\s;]+)", (ROOT / "constraints.txt").read_text()):
        versions.setdefault(canonicalize_name(name), set()).add(version)
    return versions


def base_install() -> set[str]:
    """Every part that the base dependencies bring on this machine."""
    todo = list(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"])
    found: set[str] = set()
    while todo:
        requirement = Requirement(todo.pop())
        name = canonicalize_name(requirement.name)
        if name not in found and (requirement.marker is None or requirement.marker.evaluate({"extra": ""})):
            found.add(name)
            todo += distribution(name).requires or []
    return found


def licence_of(name: str) -> str:
    """As the part names it: the expression of today, the words of before, or the classifier."""
    said = distribution(name).metadata
    classifiers = [line.rpartition(" :: ")[2] for line in said.get_all("Classifier", []) if line.startswith("License ")]
    return said["License-Expression"] or [*(said["License"] or "").splitlines(), *classifiers][0]


def test_every_part_of_the_base_install_is_listed() -> None:
    assert base_install() <= set(listed())


def test_nothing_is_listed_that_the_base_install_does_not_bring_on_any_python() -> None:
    assert set(listed()) - base_install() <= {"coloredlogs", "humanfriendly", "mpmath", "sympy", "tomli"}


@pytest.mark.parametrize("name", sorted(listed()))
def test_the_licence_was_read_in_a_version_of_the_lock_and_says_what_is_listed(name: str) -> None:
    version, licence = listed()[name]
    assert version in locked()[name], "the lock has another version: read its licence, then correct the list"
    try:
        installed = distribution(name).version
    except PackageNotFoundError:
        return
    if installed == version:
        assert licence_of(name) == licence


@pytest.mark.soak
@pytest.mark.requires_registry
def test_the_bill_of_materials_names_the_listed_parts() -> None:
    """Its own tool validates it against CycloneDX's schema."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "sbom.cdx.json"
        command = ["make", "-C", str(ROOT), "sbom", f"SBOM={file}", f"PYTHON={sys.executable}"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode and re.search(r"No matching distribution|Connection|could not be found", done.stderr):
            pytest.skip(f"no package registry within reach: {done.stderr.splitlines()[-1]}")
        assert done.returncode == 0, done.stderr
        made = json.loads(file.read_text())
    parts = {canonicalize_name(part["name"]): part["version"] for part in made["components"]}
    assert made["metadata"]["component"]["name"] == "microscope-agent"
    assert base_install() == set(parts)
    assert all(parts[name] in locked()[name] for name in parts)
