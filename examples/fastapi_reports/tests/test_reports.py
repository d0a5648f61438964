"""Ordering reports, making them, and looking at them."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.error import HTTPError

import pytest
from reports import Settings, cherga
from reports.sales import Ledger, plant
from reports.visitors import owner_of
from stage.visitor import Visitor

ORDER = {"year": 2024, "column": "book"}


def test_a_report_is_made_shown_and_downloaded(visitor: Visitor, settings: Settings) -> None:
    made = visitor.send("/api/reports", ORDER)
    assert (made["state"], made["description"], made["is_new"]) == ("ready", "2024 by book", True)

    with cherga.worker(threads=1):
        cherga.get(made["id"]).result(20)

    (listed,) = visitor.json("/api/reports")
    assert (listed["id"], listed["state"]) == (made["id"], "succeeded")

    report = visitor.json(f"/api/reports/{made['id']}")["result"]
    lines = visitor.download(f"/api/reports/{made['id']}/file").decode().splitlines()
    with closing(sqlite3.connect(settings.sales)) as sales:
        (total,) = sales.execute("SELECT sum(cents) FROM sale WHERE day LIKE '2024-%'").fetchone()

    assert lines[0] == "month,book,copies,cents"
    assert sum(int(line.split(",")[3]) for line in lines[1:]) == sum(line["cents"] for line in report["lines"]) == total
    assert report["lines"][0]["name"] in visitor.get(f"/reports/{made['id']}").text


def test_a_report_that_is_being_made_is_not_begun_again(visitor: Visitor) -> None:
    made, again = (visitor.send("/api/reports", ORDER) for _ in range(2))

    assert (again["id"], again["is_new"]) == (made["id"], False)
    assert visitor.send("/api/reports", {**ORDER, "column": "city"})["is_new"]


def test_a_report_that_is_being_made_can_neither_be_opened_nor_downloaded(visitor: Visitor) -> None:
    made = visitor.send("/api/reports", ORDER)

    assert visitor.get(f"/reports/{made['id']}").url.endswith("/")
    assert _status(visitor, f"/api/reports/{made['id']}/file") == 409


@pytest.mark.parametrize("path", ["/api/reports/{id}", "/api/reports/{id}/file", "/reports/{id}", "/api/reports/nonsense"])
def test_others_do_not_find_it(visitor: Visitor, url: str, path: str) -> None:
    made = visitor.send("/api/reports", ORDER)
    other = Visitor(url)
    other.get("/")

    assert _status(other, path.format(id=made["id"])) == 404


@pytest.mark.parametrize("order", [{"year": 1850}, {"year": 2024, "column": "price"}, {}])
def test_an_order_that_makes_no_sense_is_refused(visitor: Visitor, order: dict[str, object]) -> None:
    with pytest.raises(HTTPError) as refused:
        visitor.send("/api/reports", order)

    with refused.value:
        assert refused.value.code == 422


def test_the_page_shows_the_visitors_reports_with_how_far_they_are(visitor: Visitor) -> None:
    made = visitor.send("/api/reports", ORDER)
    (element,) = visitor.get("/").all("cherga-progress")

    assert (element["job"], element["state"]) == (made["id"], "ready")
    assert visitor.json(element["src"], element["token"])["may_cancel"]


def test_the_page_is_there_when_the_broker_is_not(visitor: Visitor, settings: Settings) -> None:
    cherga.close()
    (settings.folder / "cherga.db").unlink()
    (settings.folder / "cherga.db").mkdir()

    assert "cannot be shown just now" in visitor.get("/").text

    with pytest.raises(HTTPError) as refused:
        visitor.send("/api/reports", ORDER)

    with refused.value:
        assert (refused.value.code, "try again later" in json.load(refused.value)["detail"]) == (503, True)


def test_the_owner_of_a_report_is_its_visitor(visitor: Visitor) -> None:
    made = visitor.send("/api/reports", ORDER)
    job = cherga.get(made["id"])

    assert job.owner == owner_of(job.as_dict()["arguments"]["visitor"])


def test_sales_are_made_once_and_missing_ones_are_named(tmp_path: Path) -> None:
    path = tmp_path / "sales.db"

    with pytest.raises(FileNotFoundError, match="start the server first"):
        Ledger(path)

    plant(path)
    first = path.read_bytes()
    plant(path)

    assert path.read_bytes() == first
    assert [file.name for file in tmp_path.iterdir()] == ["sales.db"]


def _status(visitor: Visitor, path: str) -> int:
    return visitor.get(path).status
