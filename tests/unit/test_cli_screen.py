"""What a terminal of 80 or 120 columns shows."""

from __future__ import annotations

from contextlib import closing
from io import StringIO
from types import SimpleNamespace
from typing import Any
from unittest.mock import ANY
from uuid import UUID

import pytest
from msgspec.structs import replace
from rich.console import Console

from cherga import Explanation, Obstacle, ObstacleKind, QueueTasks
from cherga.cli import limits, schedules
from cherga.cli.jobs import why
from cherga.cli.jobs.list import make_listing
from cherga.cli.jobs.show import make_page
from cherga.cli.output import Done
from cherga.cli.output.screen import Screen
from cherga.client.handle import Job
from cherga.client.live import LiveUpdate
from cherga.rules.codec import encode
from cherga.testing import FakeClock
from cherga.words.inspection import JobFilter
from cherga.words.job import Attempt, JobError, JobRow, JobState, Progress, Reason
from cherga.words.limits import LimitRule, LimitUse, Overflow, Rate
from cherga.words.push import JobHead

ID = UUID("01970000-0000-7000-8000-000000000001")
NOW = FakeClock().now()
SOURCE: Any = SimpleNamespace(handle_state=None)
"""The pages only read the row of a job that is stored."""

RUNNING = JobRow(
    id=ID,
    sequence=1,
    task="export_posts",
    queue="exports",
    priority=5,
    state=JobState.RUNNING,
    owner="user:7",
    payload=encode({"user_id": 7}),
    head=encode(JobHead(description="Exporting posts…", tags=("nightly",))),
    attempt=2,
    session="box-1.0123456789abcdef",
    enqueued_at=NOW - 90,
    started_at=NOW - 30,
    progress=encode(Progress(340, 1000, "writing page 3")),
    meta=encode({"file": "posts.json"}),
    attempts=encode(
        [Attempt(1, "box-1", NOW - 60, NOW - 58, Reason.ERROR, JobError("ConnectionError", "refused", "Trace…\nlast line"))]
    ),
)
FAILED = replace(RUNNING, state=JobState.FAILED, reason=Reason.ERROR, finished_at=NOW - 5, prune_at=NOW + 86_400 * 30)
SUCCEEDED = replace(RUNNING, state=JobState.SUCCEEDED, finished_at=NOW - 5, result=encode({"posts": 1000}))


def screen(width: int = 80) -> tuple[Screen, StringIO]:
    written = StringIO()
    return Screen(Console(file=written, width=width, height=40, force_terminal=True, color_system=None, _environ={})), written


def job(row: JobRow) -> Job[Any]:
    return Job(row, SOURCE)


def listed(width: int, *rows: JobRow) -> str:
    paper, written = screen(width)
    paper.listing(make_listing([job(row) for row in rows], NOW, JobFilter(), footer="more: …"))
    return written.getvalue()


def shown(row: JobRow, width: int = 80) -> str:
    paper, written = screen(width)
    paper.page(make_page(job(row), NOW))
    return written.getvalue()


@pytest.mark.parametrize("width", [80, 120, 200])
def test_no_line_of_a_listing_is_wider_than_the_terminal(width: int) -> None:
    long = replace(RUNNING, task="a_task_with_quite_a_long_name_indeed" * 5, queue="q" * 30)

    assert max(map(len, listed(width, long, FAILED, SUCCEEDED).splitlines())) <= width


def test_a_narrow_listing_has_short_ids_and_neither_queue_nor_note() -> None:
    narrow, wide = listed(80, RUNNING), listed(120, RUNNING)

    assert f"…{str(ID)[-8:]}  running" in narrow
    assert str(ID) in wide
    assert "for 30 s" in narrow
    assert "exports" not in narrow
    assert "exports" in wide
    assert "34 %  340 of 1,000" in wide


def test_why_a_job_failed_is_shown_however_narrow_the_terminal() -> None:
    assert "NOTE" in listed(80, FAILED, RUNNING)
    assert "ERROR" in listed(80, FAILED)
    assert "ConnectionError: " in listed(80, FAILED)


def test_a_command_that_is_repeated_shows_each_look_until_ctrl_c() -> None:
    looks = iter([RUNNING, SUCCEEDED])
    pauses = iter([None])
    written = StringIO()

    def pause() -> None:
        if next(pauses, "over") == "over":
            raise KeyboardInterrupt

    console = Console(file=written, width=80, height=40, force_terminal=True, color_system=None, _environ={})
    paper = Screen(console, pause)
    paper.repeat(lambda: paper.listing(make_listing([job(next(looks))], NOW, JobFilter())))

    assert written.getvalue().index("running") < written.getvalue().index("succeeded")
    assert next(looks, None) is None


def test_a_listing_without_rows_is_a_sentence() -> None:
    assert listed(80) == "no jobs yet\n"


def test_stored_text_is_neither_markup_nor_orders_to_the_terminal() -> None:
    evil = replace(RUNNING, task="[red]x[/red]", payload=encode({"a": "[bold]\x1b[2J"}), owner="\x1b]0;title\x07")
    page = shown(evil)

    assert "[red]x[/red]" in page
    assert "[bold]\\u001b[2J" in page
    assert r"\x1b]0;title\x07" in page


def test_the_page_of_a_running_job_tells_what_when_and_how_far() -> None:
    page = shown(RUNNING)

    for words in (
        "export_posts  running",
        "exports, priority 5",
        "user:7",
        "nightly",
        "90 s ago",
        "30 s ago",
        "runs for",
        "box-1",
    ):
        assert words in page

    assert "━" in page
    assert "34 %  340 of 1,000  writing page 3" in page
    assert '"posts.json"' in page


def test_the_page_of_a_failed_job_ends_with_the_traceback() -> None:
    page = shown(FAILED)

    assert "ConnectionError: refused" in page
    assert page.rstrip().endswith("last line")


def test_the_page_of_a_job_asked_to_stop_says_so() -> None:
    assert "running, asked to stop" in shown(replace(RUNNING, cancel_requested=True))


def test_a_malformed_row_still_has_a_page() -> None:
    broken = replace(RUNNING, payload=b"\xc1", head=b"\xc1", progress=b"\xc1", meta=b"\xc1", attempts=b"\xc1", result=b"\xc1")

    assert str(ID) in shown(broken)


EXPLAINED = Explanation(
    ID,
    "send",
    JobState.READY,
    "it runs once queue mail is resumed",
    (Obstacle(ObstacleKind.PAUSED, "queue mail is paused", "queue mail is resumed", remedy="cherga queues resume mail"),),
)


def test_an_explanation_puts_what_helps_on_a_line_of_its_own() -> None:
    paper, written = screen()
    paper.page(why.make_page(job(replace(RUNNING, task="send", state=JobState.READY)), EXPLAINED))
    lines = [" ".join(line.split()) for line in written.getvalue().splitlines()]

    assert lines == [
        "send ready",
        "",
        f"id {ID}",
        "when it runs once queue mail is resumed",
        "",
        "obstacles",
        "paused queue mail is paused",
        "help cherga queues resume mail",
    ]


USES = [
    LimitUse("task:export", LimitRule(max_running=2, rate=Rate(100, 60)), running=2, again_in=12),
    LimitUse("key:a_task_with_quite_a_long_name_indeed", LimitRule(max_running=2)),
    LimitUse("queue:mail", LimitRule(max_length=1000, overflow=Overflow.DROP_OLDEST)),
]


@pytest.mark.parametrize("width", [80, 120])
def test_limits_fit_the_terminal_and_say_how_they_stand(width: int) -> None:
    paper, written = screen(width)
    paper.listing(limits.make_listing(USES, limits.Standing({"mail": 7}, frozenset({"task:export"}))))
    lines = written.getvalue().splitlines()

    assert max(map(len, lines)) <= width
    assert [line.split()[0:2] for line in lines[1:]] == [["queue", "mail"], ["task", ANY], ["task", "export"]]
    assert "7 of 1,000" in lines[1]
    assert "2 each" in lines[2]
    assert all(words in lines[3] for words in ("2 of 2", "100/m", "in 12 s", "run time"))
    assert ("drops the oldest" in lines[1]) == (width >= 100)


@pytest.mark.parametrize("width", [80, 120])
def test_schedules_fit_the_terminal(width: int) -> None:
    app = QueueTasks("shop", "memory://")
    app.clock = FakeClock()

    with closing(app):
        app.schedule("nightly-report-of-everything", "send_the_report", ["all of it"], cron="0 3 * * *", timezone="Europe/Kyiv")
        app.schedule("quick", "send", [7], every=90).pause()
        paper, written = screen(width)
        paper.listing(schedules.make_listing(app.schedules.all(), NOW))

    lines = written.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    assert "0 3 * * * (Europe/Kyiv)" in lines[1]
    assert "in 60 min" in lines[1]
    assert all(words in lines[2] for words in ("send(7)", "every 90 s", "yes"))
    assert ("run time" in lines[2]) == (width >= 90)


def followed(row: JobRow, **changes: Any) -> str:
    paper, written = screen(80)
    update = LiveUpdate(job_id=ID, position=1, state=row.state, final=False, description="Exporting posts…", **changes)

    with paper.follow() as show:
        show(job(row), update)

    return written.getvalue()


def test_a_followed_job_has_a_bar_with_percent_count_and_note() -> None:
    text = followed(RUNNING, progress=Progress(340, 1000, "writing page 3"), logs=("page 2 is done",))

    for words in (f"export_posts  {ID}", "page 2 is done", "Exporting posts…", "━", "34 %", "340/1,000", "writing page 3"):
        assert words in text


def test_where_no_worker_is_the_command_that_helps_is_shown_whole() -> None:
    words = "no worker is alive; cherga worker -A a_package.with_a_long_name.jobs:application"
    text = followed(replace(RUNNING, state=JobState.READY, attempt=0), unserved=words)

    assert words in " ".join(text.split())
    assert text.count("no worker is alive") >= 2


def test_a_job_that_does_not_run_yet_says_what_it_waits_for() -> None:
    assert "waits for a worker" in followed(replace(RUNNING, state=JobState.READY, attempt=0))
    assert "waits for attempt 3" in followed(replace(RUNNING, state=JobState.SCHEDULED))


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (SUCCEEDED, '✓ export_posts succeeded in 25 s: {"posts": 1000}'),
        (FAILED, "✗ export_posts failed (error) in 25 s: ConnectionError: refused"),
        (
            replace(RUNNING, state=JobState.CANCELLED, reason=Reason.ASKED, message="not today"),
            "- export_posts was cancelled (asked): not today",
        ),
    ],
)
def test_the_end_of_a_followed_job_is_one_sentence(row: JobRow, words: str) -> None:
    paper, written = screen(80)
    paper.ended(job(row))

    assert written.getvalue().splitlines()[0] == words


def test_what_was_done_has_a_mark_and_a_hint() -> None:
    paper, written = screen()
    paper.done(Done("paused queue default", (), {}, hint="cherga queues resume default"))
    paper.done(Done("nothing was retried", (), {}, good=False))

    assert written.getvalue().splitlines() == [
        "✓ paused queue default",
        "  cherga queues resume default",
        "✗ nothing was retried",
    ]


def test_a_long_command_counts_while_it_works() -> None:
    paper, written = screen()

    with paper.counting("cancel", 2000) as advance:
        advance(500)

    assert "500 of 2,000" in written.getvalue()
