"""What visitors are answered."""

from __future__ import annotations

import json
import time
from typing import Any
from uuid import UUID, uuid4

import pytest
from itsdangerous import TimestampSigner, URLSafeTimedSerializer

from cherga import BrokerUnavailable, QueueTasks
from cherga.client.waiters import EVENTS
from cherga.web.frames import Stream
from cherga.web.live import Answer, Asked, LiveEndpoint
from cherga.web.settings import LiveSettings
from tests.live_hand import Hand

SECRET = "a secret that nobody knows"
STREAM = "text/event-stream"


class Stage:
    """An application with one job, and an endpoint about it."""

    def __init__(self, *secrets: str | bytes, **settings: Any) -> None:
        self.app = QueueTasks("staged", "memory://")
        self.app.task(name="work")(lambda: None)
        self.job = self.app.tasks["work"].using(description="Working…").enqueue()
        self.hand = Hand(self.app)
        self.secrets: list[str | bytes] = [*secrets] or [SECRET]
        self.endpoint = LiveEndpoint(self.app, LiveSettings(**settings), lambda: self.secrets)
        self.token = self.endpoint.issue(self.job.id)

    def ask(self, **asked: Any) -> Answer:
        return self.endpoint.answer(Asked(**{"id": str(self.job.id), "token": self.token} | asked))

    def cancel(self, token: str, **asked: Any) -> Answer:
        return self.endpoint.cancel(Asked(**{"id": str(self.job.id), "token": token} | asked))

    def tell(self, **asked: Any) -> dict[str, Any]:
        answer = self.ask(**asked)
        assert answer.status == 200
        return body(answer)


def body(answer: Answer) -> dict[str, Any]:
    assert isinstance(answer.body, bytes)
    return dict(json.loads(answer.body))


def test_a_visitor_with_a_token_sees_how_the_job_stands() -> None:
    stage = Stage()
    stage.hand.claim()
    stage.hand.progress(3, 4, "almost")

    answer = stage.ask()

    assert answer.status == 200
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    told = body(answer)
    assert told["progress"] == {"done": 3, "total": 4, "percent": 75, "note": "almost"}
    assert (told["state"], told["description"], told["final"], told["mode"]) == ("running", "Working…", False, "poll")


def test_arguments_and_tracebacks_are_never_told() -> None:
    assert set(Stage().tell()) == {
        "job", "position", "state", "final", "reason", "progress", "description", "message", "meta", "logs", "values", "mode",
        "retry_ms", "stopping", "may_cancel",
    }  # fmt: skip


@pytest.mark.parametrize("token", ["", "x", "é", "a.b.c", "." * 5000, "\ud800"])
def test_a_token_that_is_not_ours_is_refused(token: str) -> None:
    answer = Stage().ask(token=token)

    assert answer.status == 403
    assert answer.headers["Cache-Control"] == "no-store"


def test_a_token_for_another_job_is_refused() -> None:
    stage = Stage()
    other = stage.app.tasks["work"].enqueue()

    assert stage.ask(id=str(other.id)).status == 403


def test_without_a_token_a_kept_job_and_an_unknown_one_are_answered_alike() -> None:
    stage = Stage()

    assert stage.ask(token="guess") == stage.ask(token="guess", id=str(uuid4()))


def test_a_token_that_is_too_old_is_refused() -> None:
    class OldSigner(TimestampSigner):
        def get_timestamp(self) -> int:
            return int(time.time()) - 90_000

    stage = Stage(token_max_age=86_400)
    old = URLSafeTimedSerializer(SECRET, salt="cherga.live", signer=OldSigner).dumps(stage.job.id.hex)

    assert stage.ask().status == 200
    assert stage.ask(token=old).status == 403


def test_a_token_of_an_older_secret_is_still_accepted_and_of_a_lost_one_is_not() -> None:
    stage = Stage("older")
    stage.secrets = ["older", "newer"]
    assert stage.ask().status == 200
    assert stage.ask(token=stage.endpoint.issue(stage.job.id)).status == 200

    stage.secrets = ["newer"]

    assert stage.ask().status == 403


def test_without_a_secret_nobody_is_admitted() -> None:
    stage = Stage()
    stage.secrets = []

    assert stage.ask().status == 403


def test_an_unknown_job_is_not_found_even_with_a_token() -> None:
    stage = Stage()
    id = uuid4()

    assert stage.ask(id=str(id), token=stage.endpoint.issue(id)).status == 404


@pytest.mark.parametrize("id", ["", "no-uuid", "../../etc/passwd", "0" * 33])
def test_what_is_no_id_is_not_found(id: str) -> None:
    assert Stage().ask(id=id).status == 404


def test_a_broker_that_cannot_be_reached_is_said_so_that_the_client_comes_back() -> None:
    stage = Stage()
    stage.endpoint = LiveEndpoint(Unreachable(stage.app), LiveSettings(), lambda: stage.secrets)

    answer = stage.ask()

    assert answer.status == 503
    assert answer.headers["Retry-After"] == "2"


class Unreachable:
    """An application whose broker is down."""

    def __init__(self, app: QueueTasks) -> None:
        self.clock = app.clock
        self.submitter = app.submitter
        self.lookout = app.lookout
        self.on = app.on
        self.home = app.home

    @property
    def broker(self) -> Any:
        raise BrokerUnavailable("nobody answers")

    handle_state = None

    def handle(self, row: Any) -> Any:
        raise BrokerUnavailable("nobody answers")

    def held(self, id: UUID) -> None:
        """Nothing is held here."""

    def results_of(self, task: str) -> Any:
        raise BrokerUnavailable("nobody answers")

    def stream(self, id: UUID, after: int) -> Any:
        raise BrokerUnavailable("nobody answers")


def test_a_client_that_has_seen_everything_is_told_that_nothing_changed() -> None:
    stage = Stage()
    tag = stage.ask().headers["ETag"]
    unchanged = stage.ask(if_none_match=tag)

    stage.hand.claim()
    changed = stage.ask(if_none_match=tag)

    assert (unchanged.status, unchanged.body) == (304, b"")
    assert changed.status == 200


def test_another_mode_is_news_too() -> None:
    stage = Stage()
    tag = stage.ask(max_streams=0).headers["ETag"]

    assert stage.ask(if_none_match=tag, max_streams=0).status == 304
    assert stage.ask(if_none_match=tag, max_streams=1).status == 200


def test_lines_are_told_once_and_page_by_page_before_the_job_is_final() -> None:
    stage = Stage()
    stage.hand.claim()
    stage.hand.log(*[f"line {number}" for number in range(EVENTS + 5)])
    stage.hand.end()

    first = stage.tell()
    second = stage.tell(after=str(first["position"]))
    third = stage.tell(after=str(second["position"]))

    assert len(first["logs"]) == EVENTS
    assert (first["final"], first["retry_ms"]) == (False, 0)
    assert second["logs"] == [f"line {number}" for number in range(EVENTS, EVENTS + 5)]
    assert (second["final"], third["final"], third["logs"]) == (True, True, [])


@pytest.mark.parametrize("after", ["-1", "9" * 30, "9" * 5000, "x", "", "1.5"])
def test_a_position_that_cannot_be_is_taken_for_the_beginning(after: str) -> None:
    stage = Stage()
    stage.hand.claim()
    stage.hand.log("first")

    assert stage.tell(after=after)["logs"] == ["first"]


def test_the_position_of_a_browser_that_reconnects_counts_more_than_its_address() -> None:
    stage = Stage()
    stage.hand.claim()
    stage.hand.log("first")
    seen = stage.tell()["position"]
    stage.hand.log("second")

    assert stage.tell(after="0", last_event_id=str(seen))["logs"] == ["second"]


def test_a_client_waits_longer_while_nothing_can_happen() -> None:
    stage = Stage()
    later = stage.app.tasks["work"].using(run_in=60).enqueue()
    waiting = stage.tell(id=str(later.id), token=stage.endpoint.issue(later.id))
    stage.hand.claim()
    first = stage.tell()
    next_one = stage.tell(after=str(first["position"]))

    assert 0 < first["retry_ms"] < next_one["retry_ms"] < waiting["retry_ms"]


def test_a_stream_is_given_to_those_who_ask_for_one_while_seats_last() -> None:
    stage = Stage()
    answers = [stage.ask(accept=STREAM, max_streams=2) for _ in range(3)]

    assert [isinstance(answer.body, Stream) for answer in answers] == [True, True, False]
    assert [answer.headers["Content-Type"] for answer in answers] == [STREAM, STREAM, "application/json"]
    assert "no-transform" in answers[0].headers["Cache-Control"]
    assert answers[0].headers["X-Accel-Buffering"] == "no"
    assert body(answers[2])["mode"] == "poll"


def test_a_free_seat_is_announced_and_a_taken_one_is_not() -> None:
    stage = Stage()
    before = stage.tell(max_streams=1)["mode"]
    taken = stage.ask(accept=STREAM, max_streams=1)
    during = stage.tell(max_streams=1)["mode"]
    assert isinstance(taken.body, Stream)

    taken.body.close()

    assert (before, during, stage.tell(max_streams=1)["mode"]) == ("stream", "poll", "stream")


def test_a_refused_visitor_takes_no_seat() -> None:
    stage = Stage()
    stage.ask(accept=STREAM, max_streams=1, token="wrong")
    id = UUID(int=5)
    stage.ask(accept=STREAM, max_streams=1, id=str(id), token=stage.endpoint.issue(id))

    assert len(stage.endpoint.seats) == 0


def test_a_server_that_bears_no_streams_polls() -> None:
    answer = Stage().ask(accept=STREAM, max_streams=0)

    assert body(answer)["mode"] == "poll"
