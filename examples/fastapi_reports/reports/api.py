"""The API, for the page's own script and for other programs; ``/docs`` shows it."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, HTTPException, Request
from pydantic import BaseModel, Field
from starlette.responses import FileResponse

from cherga import BrokerError, Job
from reports.sales import YEARS
from reports.tasks import Column, cherga, make_report
from reports.visitors import OwnJob, Visitor, owner_of

router = APIRouter(prefix="/api/reports", tags=["reports"])


class Wish(BaseModel):
    """The report that is wanted."""

    year: int = Field(ge=YEARS[0], le=YEARS[-1])
    column: Column = "book"


class Made(BaseModel):
    """A report that is being made, or was."""

    id: str
    state: str
    description: str | None
    progress: dict[str, Any] | None
    is_new: bool
    element: str
    """The element that follows it, ready to be put into a page."""


@router.post("", status_code=202)
async def order(wish: Wish, request: Request, visitor: Visitor) -> Made:
    """Have a report made. One that is being made already is not begun a second time."""
    description = f"{wish.year} by {wish.column}"

    try:
        job = await make_report.using(owner=owner_of(visitor), description=description).aenqueue(
            visitor, wish.year, wish.column
        )
    except BrokerError:
        raise HTTPException(503, "no report can be ordered just now; please try again later") from None

    return _made(job, request)


@router.get("")
async def listing(request: Request, visitor: Visitor) -> list[Made]:
    """The visitor's reports, newest first."""
    return [_made(job, request) for job in await cherga.apage_jobs(owner=owner_of(visitor), limit=20)]


@router.get("/{id}")
async def show(job: OwnJob) -> dict[str, Any]:
    """All that is known of a report, with its result."""
    known = job.as_dict()
    return {name: known[name] for name in ("id", "state", "description", "progress", "finished_at", "result")}


@router.get("/{id}/file")
async def download(job: OwnJob) -> FileResponse:
    """The file, once it is there."""
    if not job.status.final:
        raise HTTPException(409, "this report is still being made")

    report = (await job.arefresh()).as_dict()["result"]

    if not report:
        raise HTTPException(410, "this report was not made, or is not kept any more")

    return FileResponse(report["file"], media_type="text/csv", filename=f"{report['year']}-by-{report['column']}.csv")


def _made(job: Job[Any], request: Request) -> Made:
    known = job.as_dict()
    element = cherga.progress(request, job, cancel=True, **{"class": "report"})
    return Made(
        id=known["id"],
        state=known["state"],
        description=known["description"],
        progress=known["progress"],
        is_new=not job.existing,
        element=element,
    )
