"""A printed report as PDF, by WeasyPrint (extra `pdf`)."""

from importlib.util import find_spec
from typing import Any

from common.commands import how_to_install
from common.errors import MissingError, UsageError

_LIBRARIES = "its libraries are missing (Debian: apt install libpango-1.0-0 libpangoft2-1.0-0 libharfbuzz-subset0)"

_NOWHERE = "http://nowhere.invalid/"
"""Where a name without an address would lead: it is refused as one with an address is."""


def pdf_of(page: str) -> bytes:
    """A page of HTML that needs no other file, as a PDF of A4 pages.

    Nothing is fetched for it, from the network or from files: what the page does not hold is refused.

    Args:
        page: from ``dashboard.exports.printed.printed_report``, with its style in it.

    Raises:
        MissingError: WeasyPrint, or a library that it needs, is not installed.
        UsageError: the page names what it does not hold.
    """
    weasyprint = _weasyprint()
    fetcher = weasyprint.urls.URLFetcher(allowed_protocols=("data",), fail_on_errors=True)
    try:
        made = weasyprint.HTML(string=page, base_url=_NOWHERE, url_fetcher=fetcher).write_pdf(pdf_tags=True)
    except weasyprint.urls.FatalURLFetchingError as cause:
        raise UsageError(f"the page can not become a PDF: it names what it does not hold ({cause})") from cause
    return bytes(made)


def can_make_pdf() -> bool:
    """Whether WeasyPrint is installed; it is not loaded, which takes a second."""
    try:
        return find_spec("weasyprint") is not None
    except ValueError:  # hidden from this process
        return False


def _weasyprint() -> Any:
    try:
        import weasyprint  # noqa: PLC0415 - an extra, and slow to load
    except ModuleNotFoundError as cause:
        raise MissingError(f"{cause.name} is not installed; {how_to_install('pdf')}") from cause
    except OSError as cause:
        raise MissingError(f"WeasyPrint can not be loaded ({cause}); {_LIBRARIES}") from cause
    return weasyprint
