"""What a worker says of itself when it starts."""

from __future__ import annotations

from cherga.rules.settings import BrokerSettings
from cherga.version import __version__
from cherga.worker.banner import banner
from cherga.worker.options import WorkerOptions
from cherga.worker.wire import Hello


def said(**options: object) -> dict[str, object]:
    hello = Hello("shop", 3, "redis://ann:secret@db/0?password=secret", BrokerSettings(), "here.1", 25.0, 60.0)
    return banner(WorkerOptions(app="shop:app", **options), hello)  # type: ignore[arg-type]


def test_it_says_what_runs_for_whom_and_how_much_at_once() -> None:
    fields = said(processes=2, threads=4, concurrency=1)

    assert (fields["version"], fields["application"], fields["tasks"]) == (__version__, "shop", 3)
    assert (fields["processes"], fields["threads"], fields["concurrency"]) == (2, 4, 1)
    assert fields["facts"]["processes"] == "2, each with 4 threads and 1 coroutine"  # type: ignore[index]


def test_it_never_shows_a_password() -> None:
    assert "secret" not in str(said())
    assert said()["broker"] == "redis://ann:***@db/0?password=***"


def test_it_says_which_queues_come_first() -> None:
    def queues(**options: object) -> object:
        return said(**options)["facts"]["queues"]  # type: ignore[index]

    assert queues() == "all"
    assert queues(queues=("high", "low")) == "high, then low"
    assert queues(queues=("high", "low"), weights=(3, 1)) == "high=3, low=1"


def test_it_names_the_first_tasks() -> None:
    def tasks(number: int, *names: str) -> object:
        hello = Hello("shop", number, "memory://", BrokerSettings(), "here.1", 25.0, 60.0, task_names=names)
        return banner(WorkerOptions(app="shop:app"), hello)["facts"]["tasks"]

    assert tasks(2, "mail", "sort") == "2: mail, sort"
    assert tasks(9, "mail", "sort") == "9: mail, sort, …"
