"""Paths of our own addresses, made of names that others have given."""

from urllib.parse import quote


def path_of(*words: str) -> str:
    """A path of words, each of which may hold what means something in an address, such as `?` or `%`."""
    return "".join(f"/{quote(word, safe='')}" for word in words)
