"""What goes out of the page: tables, the FHIR bundle, the report on paper."""

from collections.abc import Iterator
from datetime import datetime, timezone
from http import HTTPStatus
from typing import IO

from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.responses import HTMLResponse, Response, StreamingResponse
from starlette.routing import Route

from collector.picture_rows import picture
from dashboard.exports.fhir import slide_bundle
from dashboard.exports.pdf import pdf_of
from dashboard.exports.printed import Style, printed_report, stylesheet
from dashboard.exports.review_summary import ReviewSummary
from dashboard.exports.tables import cells_csv
from dashboard.exports.training import zipped
from dashboard.pages.slides import base_of, key_of
from dashboard.pages.visit import Visit, page
from dashboard.records import SlideRecord
from dashboard.reviews.readings import visible
from dashboard.reviews.training_export import NothingLeftError, Reviewed
from dashboard.security.roles import may
from dashboard.texts import LANGUAGES

MOST_ZIPPED = 3000
"""Cells of a slide that is packed while a browser waits; they take 200 MB on the disk, for a moment twice."""
_PIECE_BYTES = 256 * 1024


async def _reviewed(visit: Visit) -> tuple[SlideRecord, ReviewSummary | None] | None:
    record = await visit.web.slide(key_of(visit))
    if record is None:
        return None
    return record, await visit.web.review(record, visit.name, may_review=may(visit.role, "reviewer"))


def _missing(visit: Visit) -> Response:
    return visit.refusal(HTTPStatus.NOT_FOUND, "refusal.no_slide", name=key_of(visit).slide_id)


def _file(visit: Visit, data: bytes | str, media_type: str, suffix: str) -> Response:
    """A file to be saved under the slide's name."""
    headers = {"content-disposition": f'attachment; filename="{_plain(key_of(visit).slide_id)}{suffix}"'}
    return Response(data, media_type=media_type, headers=headers)


def _plain(name: str) -> str:
    return "".join(one if one.isascii() and (one.isalnum() or one in "._-") else "_" for one in name)


@page()
async def cells(visit: Visit) -> Response:
    """The cells of a slide as CSV."""
    found = await _reviewed(visit)
    if found is None:
        return _missing(visit)
    comma = visit.request.query_params.get("decimal") == "comma"
    data = await run_in_threadpool(cells_csv, *found, comma=comma)
    return _file(visit, data, "text/csv; charset=utf-8", "-cells.csv")


@page()
async def fhir(visit: Visit) -> Response:
    """A slide as a FHIR R4 bundle."""
    found = await _reviewed(visit)
    if found is None:
        return _missing(visit)
    record, review = found
    now = datetime.now(timezone.utc)
    text = await run_in_threadpool(lambda: slide_bundle(record, texts=visit.texts, at=now, review=review))
    return _file(visit, text, "application/fhir+json", "-fhir.json")


def _report(visit: Visit, record: SlideRecord, review: ReviewSummary | None, style: Style | None) -> str:
    """The report on paper, with the pictures that the store has."""
    device = record.key.device
    with visit.web.store() as connection:

        def look(cell_id: str) -> bytes | None:
            found = picture(connection, cell_id, device=device)
            return found.data if found else None

        now = datetime.now(timezone.utc)
        return printed_report(record, texts=visit.texts, at=now, review=review, picture=look, style=style)


@page()
async def report(visit: Visit) -> Response:
    """The report, to be printed by the browser."""
    found = await _reviewed(visit)
    if found is None:
        return _missing(visit)
    base = base_of(key_of(visit))
    style = Style(href=f"/report-{visit.texts.language}.css", script="/static/print.js", back=base)
    return HTMLResponse(await run_in_threadpool(_report, visit, *found, style))


@page()
async def pdf(visit: Visit) -> Response:
    """The report as PDF."""
    found = await _reviewed(visit)
    if found is None:
        return _missing(visit)
    async with visit.web.press:
        data = await run_in_threadpool(lambda: pdf_of(_report(visit, *found, None)))
    return _file(visit, data, "application/pdf", ".pdf")


@page("reviewer")
async def training(visit: Visit) -> Response:
    """The signed cells of a slide for a training, as a zip."""
    record = await visit.web.slide(key_of(visit))
    if record is None:
        return _missing(visit)
    if len(record.cells) > MOST_ZIPPED:
        return visit.refusal(HTTPStatus.CONFLICT, "refusal.too_many_cells", most=MOST_ZIPPED)
    whole = await run_in_threadpool(visit.web.reviews.log, record.key)
    seen = Reviewed(record, visible(whole, visit.name, may_review=True))
    try:
        async with visit.web.packing:
            packed = await run_in_threadpool(_packed, visit, seen)
    except NothingLeftError:
        return visit.refusal(HTTPStatus.CONFLICT, "refusal.nothing_signed")
    name = f"{_plain(record.key.slide_id)}-training.zip"
    headers = {"content-disposition": f'attachment; filename="{name}"'}
    return StreamingResponse(
        _pieces(packed), media_type="application/zip", headers=headers, background=BackgroundTask(packed.close)
    )


def _packed(visit: Visit, seen: Reviewed) -> IO[bytes]:
    with visit.web.store() as connection:
        return zipped(connection, seen, visit.web.settings.state_dir)


def _pieces(file: IO[bytes]) -> Iterator[bytes]:
    while piece := file.read(_PIECE_BYTES):
        yield piece


@page(None)
async def style(visit: Visit) -> Response:
    """The style of the report in a language."""
    language = visit.request.path_params["language"]
    if language not in LANGUAGES:
        return visit.refusal(HTTPStatus.NOT_FOUND, "refusal.not_found")
    return Response(stylesheet(visit.web.texts[language]), media_type="text/css")


ROUTES = [
    Route("/slides/{site}/{device}/{slide}/cells.csv", cells),
    Route("/slides/{site}/{device}/{slide}/fhir.json", fhir),
    Route("/slides/{site}/{device}/{slide}/report", report),
    Route("/slides/{site}/{device}/{slide}/report.pdf", pdf),
    Route("/slides/{site}/{device}/{slide}/training.zip", training),
    Route("/report-{language}.css", style),
]
