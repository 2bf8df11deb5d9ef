"""A copy of the house, in which a recipe of docs/adding.md is followed."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
COPIED = (
    "common", "contract", "mqttlink", "engines", "devbroker", "rendering", "agent", "evaluation", "calibration",
    "export", "training", "collector", "dashboard", "bench", "docs", "tests",
)  # fmt: skip
ADDED = Path(__file__).with_name("added")
LINKED = ("models", "pyproject.toml", "LICENSE")
"""What no recipe touches."""
FILE = re.compile(r"`([\w.<>/-]+/[\w.<>-]+\.(?:py|sql))`")


def files_of(recipe: str, **names: str) -> set[str]:
    """The files that a recipe names.

    Args:
        recipe: its title.
        names: what stands for ``<name>`` and the like.
    """
    text = (ROOT / "docs" / "adding.md").read_text(encoding="utf-8")
    section = text.partition(f"## {recipe}\n")[2].partition("\n## ")[0]
    files = set(FILE.findall(section))
    assert files, f"docs/adding.md has no recipe {recipe!r}"
    for word, name in names.items():
        files = {file.replace(f"<{word}>", name) for file in files}
    return files


class House:
    """The copy; it knows which files were touched or run.

    Args:
        folder: where to put it.
    """

    def __init__(self, folder: Path) -> None:
        self.root, self.used = folder / "house", set[str]()
        self.root.mkdir()
        for room in COPIED:
            shutil.copytree(ROOT / room, self.root / room)  # with what is compiled, which stays valid
        for name in LINKED:
            (self.root / name).symlink_to(ROOT / name)

    def add(self, file: str) -> None:
        """Add a file, which lies in ``tests/docs/added`` by its name."""
        assert not (self.root / file).exists()
        shutil.copy(ADDED / Path(file).name, self.root / file)
        self.used.add(file)

    def put(self, file: str, text: str, *, before: str = "", after: str = "") -> None:
        """Put text into a file, at a place that there is once."""
        old, place = self.read(file), before or after
        assert old.count(place) == 1, f"{file}: {place!r} stands there {old.count(place)} times"
        (self.root / file).write_text(old.replace(place, f"{after}{text}{before}"), encoding="utf-8")
        self.used.add(file)

    def command(self, *words: str) -> list[str]:
        """A Python command line; run it in ``root`` with ``environment``."""
        return [sys.executable, *words]

    @property
    def environment(self) -> dict[str, str]:
        """Variables with which Python takes the rooms from the copy."""
        return {**os.environ, "PYTHONPATH": str(self.root)}

    def run(self, *words: str) -> str:
        """Run Python in the copy; what it wrote to standard output. It must succeed."""
        done = subprocess.run(
            self.command(*words), cwd=self.root, env=self.environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{' '.join(words)}\n{done.stdout}{done.stderr}"
        return done.stdout

    def test(self, *files: str, only: str) -> str:
        """Run the tests of files whose names match an expression of pytest; returns the last line."""
        self.used.update(files)
        said = self.run("-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", only, *files)
        return said.rstrip().rpartition("\n")[2]

    def make_docs(self) -> None:
        """What `make docs` does to the documents that are made from the code."""
        self.run("docs/generate.py")
        self.run("docs/generate.py", "--check")

    def read(self, file: str) -> str:
        """The text of a file."""
        return (self.root / file).read_text(encoding="utf-8")
