"""A copy of the house, in which a recipe of docs/adding.md is followed."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
ADDED = Path(__file__).with_name("added")
STEP = re.compile(r"^\d\. .*(?:\n {3}.*)*", re.MULTILINE)
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"`([\w.<>/-]+/[\w.<>-]+\.(?:py|sql))`")


def files_of(recipe: str, **names: str) -> set[str]:
    """The files that the steps of a recipe name; what is said below them names files to read.

    Args:
        recipe: its title.
        names: what stands for ``<name>`` and the like.
    """
    text = (ROOT / "docs" / "adding.md").read_text(encoding="utf-8")
    section = text.partition(f"## {recipe}\n")[2].partition("\n## ")[0]
    files = {file for step in STEP.findall(section) for file in FILE.findall(step)}
    assert files, f"docs/adding.md has no recipe {recipe!r}"
    for word, name in names.items():
        files = {file.replace(f"<{word}>", name) for file in files}
    return files


def blocks_of(recipe: str) -> list[str]:
    """The blocks of Python that a recipe shows, in order."""
    text = (ROOT / "docs" / "adding.md").read_text(encoding="utf-8")
    return BLOCK.findall(text.partition(f"## {recipe}\n")[2].partition("\n## ")[0])


class House:
    """The copy; it knows which files were touched or run.

    Args:
        folder: where to put it.
    """

    def __init__(self, folder: Path) -> None:
        self.root, self.used = folder / "house", set[str]()
        self.root.mkdir()
        for entry in ROOT.iterdir():
            if next(entry.glob("*.py"), None):
                shutil.copytree(entry, self.root / entry.name)  # with what is compiled, which stays valid
            elif not entry.name.startswith("."):
                (self.root / entry.name).symlink_to(entry)  # what no recipe touches

    def add(self, file: str, text: str = "") -> None:
        """Add a file; one without a text lies in ``tests/docs/added`` by its name."""
        assert not (self.root / file).exists()
        text = text or (ADDED / Path(file).name).read_text(encoding="utf-8")
        (self.root / file).write_text(text, encoding="utf-8")
        self.used.add(file)

    def put(self, file: str, text: str, *, before: str = "", after: str = "") -> None:
        """Put text into a file, at a place that there is once."""
        self.change(file, before or after, f"{after}{text}{before}")

    def append(self, file: str, text: str) -> None:
        """Put text at the end of a file."""
        (self.root / file).write_text(self.read(file) + text, encoding="utf-8")
        self.used.add(file)

    def change(self, file: str, old: str, new: str) -> None:
        """Replace the only text of a file that reads so."""
        text = self.read(file)
        assert text.count(old) == 1, f"{file}: {old!r} stands there {text.count(old)} times"
        (self.root / file).write_text(text.replace(old, new), encoding="utf-8")
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
