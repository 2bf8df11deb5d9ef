"""Which files of a folder are its pictures, in which order, and what of it is left out."""

import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path

from contract.pictures import SUFFIXES

SYSTEM = frozenset(
    {"@eadir", "__macosx", "#recycle", "#snapshot", "$recycle.bin", "lost+found", "system volume information"}
)
"""Folders in which systems keep what they made or deleted themselves; those that begin with a dot are left out too."""
NO_PICTURES = frozenset(
    {
        "",
        ".bak",
        ".bat",
        ".bin",
        ".conf",
        ".csv",
        ".dat",
        ".db",
        ".doc",
        ".docx",
        ".exe",
        ".gz",
        ".htm",
        ".html",
        ".ini",
    }
    | {".json", ".jsonl", ".lnk", ".log", ".md", ".npy", ".npz", ".onnx", ".pdf", ".pem", ".pt", ".py", ".rtf", ".sh"}
    | {".sqlite", ".tmp", ".toml", ".tsv", ".txt", ".url", ".xls", ".xlsx", ".xml", ".yaml", ".yml", ".zip"}
)
"""Names of what nobody takes for a picture end so; of these nothing is said."""
NAMED = 12
"""Kinds that are named; of more, only their number is said."""


@dataclass(frozen=True, slots=True)
class Folder:
    """One folder's pictures: names in natural order (`a2` before `a10`), and the folder's own below the root."""

    below: str
    names: tuple[str, ...]


@dataclass(slots=True)
class Listing:
    """The pictures below a root. Names only, and each folder's together, so that a million take little memory.

    Attributes:
        root: the folder, or that of the one picture.
        folders: those that hold pictures; a folder's own come before those of the folders in it.
        left_out: how many files were left out, by their suffix.
        linked: links to folders, which are not followed.
        unread: folders that can not be read, and why.
    """

    root: Path
    folders: list[Folder] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    linked: list[str] = field(default_factory=list)
    unread: list[tuple[str, str]] = field(default_factory=list)

    def __len__(self) -> int:
        return sum(len(folder.names) for folder in self.folders)

    def __iter__(self) -> Iterator[Path]:
        return (self.root / folder.below / name for folder in self.folders for name in folder.names)

    @property
    def words(self) -> str:
        """What was left out that might be a picture; "" if nothing was."""
        said = []
        if count := self.left_out.total():
            kinds = sorted(self.left_out)
            more = f" and {len(kinds) - NAMED} other kinds" if len(kinds) > NAMED else ""
            files = "file that is" if count == 1 else "files that are"
            said.append(f"{count} {files} no picture of a kind that is read ({' '.join(kinds[:NAMED])}{more})")
        if self.linked:
            said.append(f"{len(self.linked)} linked folder{'s' * (len(self.linked) > 1)} ({self.linked[0]} ...)")
        if self.unread:
            below, why = self.unread[0]
            said.append(
                f"{len(self.unread)} folder{'s' * (len(self.unread) > 1)} that can not be read ({below}: {why})"
            )
        return f"left out of {self.root}: {', '.join(said)}" if said else ""


def pictures_below(root: Path) -> Listing:
    """List the pictures of a folder and of those in it, but for hidden ones and those that systems made.

    What a name says is a picture is listed, whatever is there: reading it tells.
    """
    listing, waiting = Listing(root), [""]
    while waiting:
        below = waiting.pop()
        try:
            with os.scandir(root / below) as entries:
                names, inner = _sorted_out(entries, below, listing)
        except OSError as cause:
            listing.unread.append((below or str(root), cause.strerror or "unknown"))
            continue
        if names:
            listing.folders.append(Folder(below, tuple(sorted(names, key=in_natural_order))))
        waiting += [f"{below}/{name}" if below else name for name in sorted(inner, key=in_natural_order, reverse=True)]
    return listing


def in_natural_order(name: str) -> tuple[str, str]:
    """Key to sort names as people count; of equal ones (`a1`, `a01`) the order is fixed."""
    parts = re.split(r"([0-9]+)", name)
    numbers = (
        f"\0{len(part.lstrip('0')):03d}{part.lstrip('0')}" if odd else part
        for part, odd in zip(parts, cycle((False, True)))
    )
    return "".join(numbers), name


def _sorted_out(entries: Iterator[os.DirEntry[str]], below: str, listing: Listing) -> tuple[list[str], list[str]]:
    """The names of a folder's pictures and of the folders in it; the rest is noted."""
    names, inner = [], []
    for entry in entries:
        stem, dot, end = entry.name.rpartition(".")
        suffix = f".{end.lower()}" if stem and dot else ""
        if entry.name.startswith(".") or entry.name.lower() in SYSTEM:
            continue
        if _is_folder(entry):
            inner.append(entry.name)
        elif suffix in SUFFIXES:
            names.append(entry.name)
        elif _is_link(entry) and os.path.isdir(listing.root / below / entry.name):  # noqa: PTH112 - raises nothing
            listing.linked.append(f"{below}/{entry.name}" if below else entry.name)
        elif suffix not in NO_PICTURES:
            listing.left_out[suffix] += 1
    return names, inner


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """Tell a folder; what can not be looked at is taken for a file, and told when it is read."""
    try:
        return entry.is_dir(follow_symlinks=False)
    except OSError:
        return False


def _is_link(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_symlink()
    except OSError:
        return False
