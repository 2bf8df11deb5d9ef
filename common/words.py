"""Words that every program needs."""


def counted(count: int, one: str, many: str = "") -> str:
    """`1 frame`, `2 frames`; ``many`` where an s at the end is not enough: `1 report waits`, `2 reports wait`."""
    return f"{count} {one if count == 1 else many or one + 's'}"
