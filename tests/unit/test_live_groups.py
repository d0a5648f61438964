"""A group tells nothing of itself: whoever watches it sees how far its members are."""

from __future__ import annotations

import json
import threading
from functools import partial
from typing import Any

from cherga import GroupJob, QueueTasks, group
from cherga.testing import wait_until
from cherga.web.live import Answer, Asked, LiveEndpoint
from cherga.web.settings import LiveSettings
from tests.live_hand import Hand


class Stage:
    """An application with a group of two, and an endpoint about it."""

    def __init__(self) -> None:
        self.app = QueueTasks("staged", "memory://")
        task = self.app.task(name="work")(lambda: None)
        self.group: GroupJob[Any] = group(task.s(), task.s()).enqueue()
        self.hand = Hand(self.app)
        self.endpoint = LiveEndpoint(self.app, LiveSettings(), lambda: ["a secret"])

    def ask(self, if_none_match: str = "") -> Answer:
        token = self.endpoint.issue(self.group.id)
        return self.endpoint.answer(Asked(id=str(self.group.id), token=token, if_none_match=if_none_match))

    def tell(self) -> dict[str, Any]:
        body = self.ask().body
        assert isinstance(body, bytes)
        return dict(json.loads(body))


def test_who_polls_sees_the_sum_of_the_members() -> None:
    stage = Stage()
    stage.hand.claim()
    stage.hand.end()
    stage.hand.claim()
    stage.hand.progress(1, 2)

    told = stage.tell()

    assert told["progress"] == {"done": 1.5, "total": 2, "percent": 75, "note": ""}
    assert (told["state"], told["final"], told["retry_ms"]) == ("blocked", False, 1000)

    stage.hand.end()
    assert stage.tell()["final"]
    assert stage.tell()["progress"]["percent"] == 100


def test_a_members_progress_is_news_about_its_group() -> None:
    stage = Stage()
    tag = stage.ask().headers["ETag"]
    stage.hand.claim()
    assert stage.ask(if_none_match=tag).status == 304

    stage.hand.progress(1, 2)
    assert stage.ask(if_none_match=tag).status == 200


def test_who_watches_a_group_hears_of_the_ends_of_its_members() -> None:
    stage = Stage()
    seen: list[float | None] = []

    def watch() -> None:
        for update in stage.app.watch(stage.group.id):
            seen.append(update.progress.percent if update.progress else None)

    watcher = threading.Thread(target=watch)
    watcher.start()

    for percent in (0.0, 50.0):
        wait_until(partial(seen.count, percent), f"{percent} % are seen", 10.0)
        stage.hand.claim()
        stage.hand.end()

    watcher.join(10.0)
    assert seen[-1] == 100.0
    assert not watcher.is_alive()
