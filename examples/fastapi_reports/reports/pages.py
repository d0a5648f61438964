"""The pages."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter, Request, Response
from starlette.responses import RedirectResponse
from starlette.templating import Jinja2Templates

from reports.sales import COLUMNS, YEARS
from reports.tasks import cherga
from reports.visitors import OwnJob, Visitor, owner_of

router = APIRouter(include_in_schema=False)
templates = Jinja2Templates(Path(__file__).parent / "templates")
templates.env.filters["money"] = lambda cents: f"{cents / 100:,.2f}"
cherga.add_to(templates)


@router.get("/")
async def index(request: Request, response: Response, visitor: Visitor) -> Response:
    """What can be ordered, and the visitor's reports with how far they are."""
    jobs = await cherga.apage_jobs(owner=owner_of(visitor), limit=20)
    page = templates.TemplateResponse(request, "index.html", {"jobs": jobs, "years": YEARS[::-1], "columns": COLUMNS})
    page.headers.raw.extend(item for item in response.headers.raw if item[0] == b"set-cookie")
    return page


@router.get("/reports/{id}")
async def show(request: Request, job: OwnJob) -> Response:
    """One report, as a chart."""
    report = job.as_dict()["result"]

    if not report:
        return RedirectResponse(request.url_for("index"), 303)

    return templates.TemplateResponse(request, "report.html", {"job": job, "report": report})
