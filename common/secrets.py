"""Addresses without what is secret in them: for reports, logs, screens and whatever else is kept or sent."""

import re

MASK = "********"
PIPELINE = " ! "
"""What joins the elements of a GStreamer pipeline."""
_HOST = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+(%[\w.-]+)?\]|[\w.-]+)(:\d{1,5})?")
_QUOTED = re.compile(r"""\\.|"(\\.|[^"\\])*("|$)|'(\\.|[^'\\])*('|$)""", re.DOTALL)
_ELEMENT = re.compile(r"[A-Za-z][\w-]*")
_MAY_HOLD_SECRETS = re.compile(r"[@?]|^\w+:/|(pass|pwd|pw|token|key|secret|auth|cred)[\w-]*\s*=", re.IGNORECASE)
_SCHEME = re.compile(r"[A-Za-z][\w+.-]*")


def masked(address: str) -> str:
    """A camera's address as anybody may read it: what it is and which host, and nothing that can be a secret.

    Cameras take passwords before the host, in the query, as a part of the path and, in a GStreamer pipeline, as a
    property of any name. So of an address the scheme and the host stay, of a pipeline the names of its elements; a
    device stays as it is.
    """
    if PIPELINE in address:
        return PIPELINE.join(_element(part) for part in _QUOTED.sub("", address).split(PIPELINE))
    scheme, mark, rest = address.partition("://")
    if mark:
        return f"{scheme}://{_place(rest)}" if _SCHEME.fullmatch(scheme) else MASK
    return MASK if _MAY_HOLD_SECRETS.search(address) and not address.startswith("/") else address


def masked_addresses(text: str) -> str:
    """Text with every address in it masked, whatever stands around it."""
    return masked(text) if "://" in text else text


def _element(part: str) -> str:
    name = part.split()[:1]
    return name[0] if name and _ELEMENT.fullmatch(name[0]) else MASK


def _place(rest: str) -> str:
    """Host and port; nothing at all where it is not certain which part is the host."""
    authority = re.split(r"[/?#\\]", rest, maxsplit=1)[0]
    _user, mark, host = authority.rpartition("@")
    behind = rest[len(authority) :]
    if not _HOST.fullmatch(host) or (
        not mark and "@" in behind
    ):  # a password with / in it is as likely as a path with @
        return MASK
    return host + (f"/{MASK}" if behind.strip("/") else "")
