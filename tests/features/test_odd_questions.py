"""Questions about jobs that cannot be meant are answered with a sentence, whichever broker is asked."""

from __future__ import annotations

from typing import Any

import pytest

from cherga import ConfigError, InvalidArguments, QueueTasks

HUGE = 10**400

ODD: list[tuple[dict[str, Any], str]] = [
    ({"limit": -1}, "expected limit to be a whole number, 0 or more, got -1"),
    ({"limit": 2.5}, "expected limit to be a whole number, 0 or more, got 2.5"),
    ({"limit": HUGE}, "expected limit to be 1,000,000,000 at most"),
    ({"owner": 5}, "expected owner to be text, got 5"),
    ({"queue": "\ud800"}, "expected queue to be text that can be encoded"),
    ({"task": object()}, "expected task to be text, got <object"),
    ({"states": 7}, "expected states to be a list of texts, got 7"),
    ({"states": [7]}, "expected each of states to be text, got 7"),
    ({"states": ["gone"]}, "unknown state 'gone'"),
    ({"before": "019"}, "expected before to be a job, got '019'"),
]


@pytest.mark.parametrize(("question", "answer"), ODD, ids=[f"{n} {next(iter(each[0]))}" for n, each in enumerate(ODD)])
def test_a_question_that_cannot_be_meant_is_answered_with_a_sentence(
    app: QueueTasks, question: dict[str, Any], answer: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        app.jobs(**question)

    assert answer in str(caught.value)


@pytest.mark.parametrize("calls", [None, 5, object()], ids=["nothing", "number", "object"])
def test_many_calls_are_a_list(app: QueueTasks, calls: Any) -> None:
    task = app.task(name="work")(lambda n: None)

    with pytest.raises(InvalidArguments, match="expected a list with a tuple of arguments for each job"):
        task.enqueue_many(calls)


@pytest.mark.parametrize("task", [[], {}, 5, "two words"], ids=["list", "mapping", "number", "words"])
def test_the_task_of_a_limit_is_a_name(app: QueueTasks, task: Any) -> None:
    with pytest.raises(ConfigError, match="expected task to be 1 to 200 letters"):
        app.limits.set(task=task, max_running=1)
