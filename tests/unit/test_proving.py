"""What a worker shows before its first claim, whatever the proofs of integrations do."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator

import pytest

from cherga import QueueTasks
from cherga.client.explainers import explain, without_flask
from cherga.client.proving import prove
from cherga.words.proof import Finding, Plan
from cherga.worker.proving import prove_in_time
from tests.conftest import NewApp

PLAN = Plan(threads=2, concurrency=2)


def texts(app: QueueTasks) -> list[str]:
    return [finding.text for finding in prove(app, PLAN)]


def test_an_application_in_order_has_nothing_to_report(app: QueueTasks) -> None:
    app.task(name="work")(lambda: None)
    app.tasks["work"].enqueue()

    assert texts(app) == []


def test_jobs_of_a_task_that_nobody_knows_are_told_with_what_may_have_been_forgotten(app: QueueTasks) -> None:
    app.task(name="work")(lambda: None)

    for _ in range(2):
        app.add_task("shop.tasks.send")

    app.add_task("mail")

    assert texts(app) == [
        (
            "1 job waits for the task 'mail', which no worker knows; import the module that declares it where the application "
            "is made, or list it there with tasks_from(…)"
        ),
        (
            "2 jobs wait for the task 'shop.tasks.send', which no worker knows; where the application is made, call "
            "tasks_from('shop.tasks'), or import the module that declares it"
        ),
    ]


def test_jobs_of_many_unknown_tasks_are_told_in_few_lines(app: QueueTasks) -> None:
    for name in ("a", "b", "c", "d", "e"):
        app.add_task(name)

    assert texts(app)[3:] == ["jobs of 2 more tasks wait that no worker knows; see cherga jobs list"]


def test_a_task_that_another_worker_knows_is_nobodys_trouble(new_app: NewApp) -> None:
    here, there = new_app(), new_app()
    here.task(name="work")(lambda: None)
    there.task(name="mail")(lambda: None)

    with there.worker():
        there.pause(queue="default")
        here.add_task("mail")

        assert texts(here) == []


def test_a_proof_that_fails_is_a_finding_and_no_end_of_the_others(app: QueueTasks) -> None:
    def broken(plan: Plan) -> Iterator[Finding]:
        yield Finding("one", "fine")
        raise LookupError("away")

    app.proofs += [broken, lambda plan: [Finding("two", f"{plan.threads} threads")]]

    assert list(prove(app, PLAN)) == [
        Finding("one", "fine"),
        Finding("proof", "something could not be looked at: LookupError: away", proven=False),
        Finding("two", "2 threads"),
    ]


def test_a_proof_that_does_not_end_holds_up_no_worker(app: QueueTasks) -> None:
    answer = threading.Event()

    def slow(plan: Plan) -> list[Finding]:
        answer.wait(20)
        return []

    app.proofs.append(slow)
    found = prove_in_time(app, PLAN, patience=0.01)
    answer.set()

    assert [finding.text for finding in found] == ["not all could be looked at within 0.01 seconds; going on"]


def test_an_embedded_worker_warns_of_what_it_found(app: QueueTasks, caplog: pytest.LogCaptureFixture) -> None:
    app.task(name="work")(lambda: None)
    app.proofs.append(lambda plan: [Finding("good", "fine"), Finding("bad", "expected a table", proven=False)])

    with caplog.at_level(logging.WARNING, "cherga.worker"), app.worker():
        pass

    assert [record.getMessage() for record in caplog.records] == ["expected a table"]


# --- what explains errors


def test_the_first_explainer_that_knows_is_heard_and_one_that_fails_is_passed_over() -> None:
    def broken(error: BaseException) -> str | None:
        raise ZeroDivisionError

    assert explain([broken, lambda error: None, lambda error: f"because of {error}"], ValueError("x")) == "because of x"
    assert explain([broken], ValueError("x")) is None


def test_a_plain_application_says_what_a_task_that_needs_flask_is_lacking() -> None:
    told = without_flask(RuntimeError("Working outside of application context.\n\nThis typically means …"))

    assert told is not None
    assert "cherga.contrib.flask.Cherga" in told
    assert without_flask(RuntimeError("no")) is None
