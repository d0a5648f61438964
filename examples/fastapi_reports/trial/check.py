"""What a person would try, tried without one: real HTTP and a real worker. Prints what it saw."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any
from urllib.error import HTTPError

from stage.expecting import expect, run_through, until
from stage.visitor import Page, Visitor

from trial.stack import Stack

PATIENCE = 30.0


def run(stack: Stack) -> bool:
    """Try everything; whether all was as expected."""
    print(f"The site is {stack.url}, the worker process {stack.worker.pid}.", flush=True)
    return run_through(partial(_report, stack), partial(_own_reports_alone, stack))


def _report(stack: Stack) -> None:
    visitor = Visitor(stack.url)
    expect("No reports yet" in visitor.get("/").text, "a new visitor has no reports yet")

    made = visitor.send("/api/reports", {"year": 2024, "column": "book"})
    again = visitor.send("/api/reports", {"year": 2024, "column": "book"})
    expect(made["is_new"], f"a report is ordered: {made['description']}")
    expect((again["id"], again["is_new"]) == (made["id"], False), "a second click orders no second one")

    live = Page(200, "/", made["element"]).progress() or {}
    seen = _follow(visitor, live)
    notes = list(dict.fromkeys(news["progress"]["note"] for news in seen if news["progress"] and news["progress"]["note"]))
    expect(len(notes) > 2, f"its progress is streamed: {', '.join(notes)}")
    expect(seen[-1]["state"] == "succeeded", "it is made")

    report = visitor.json(f"/api/reports/{made['id']}")["result"]
    page = visitor.get(f"/reports/{made['id']}")
    expect(report["lines"][0]["name"] in page.text, f"its page shows what sold best: {report['lines'][0]['name']}")
    table = visitor.download(f"/api/reports/{made['id']}/file").decode().splitlines()
    expect(table[0] == "month,book,copies,cents" and len(table) > 12 * 5, f"its file has {len(table)} lines")
    total = sum(int(line.rsplit(",", 1)[1]) for line in table[1:])
    expect(total == sum(line["cents"] for line in report["lines"]), "and they add up to what the page shows")


def _follow(visitor: Visitor, live: dict[str, str]) -> list[dict[str, Any]]:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(lambda: list(visitor.events(live["src"], live["token"]))).result(PATIENCE)


def _own_reports_alone(stack: Stack) -> None:
    one, other = Visitor(stack.url), Visitor(stack.url)
    one.get("/")
    made = one.send("/api/reports", {"year": 2023, "column": "city"})
    other.get("/")
    expect(other.json("/api/reports") == [], "another visitor does not see it")

    try:
        other.json(f"/api/reports/{made['id']}")
    except HTTPError as error:
        expect(error.code == 404, "nor finds it by its id")
        error.close()

    until(lambda: one.json("/api/reports")[0]["state"], lambda state: state == "succeeded", "who ordered it has it")
