"""The HTML around a job."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest

from cherga import Job, JobState, QueueTasks
from cherga.web.markup import ELEMENT, VERSION, percent_of, write_attributes, write_progress, write_script
from tests.live_hand import Hand

HOSTILE = "</cherga-progress><script>alert(1)</script>\"'&"


class Parts(HTMLParser):
    """The tags of a piece of HTML with their attributes, and all of its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def make_job(description: str = "Exporting posts…") -> tuple[Job[None], Hand]:
    app = QueueTasks("marked", "memory://")
    app.task(name="work")(lambda: None)
    job = app.tasks["work"].using(description=description).enqueue()
    return job, Hand(app)


def test_the_element_shows_the_job_before_any_script_runs() -> None:
    job, hand = make_job()
    hand.claim()
    hand.progress(1, 3, "page 1")

    parts = Parts(write_progress(job.refresh(), "/cherga/live/7", "signed", {}))
    name, attributes = parts.tags[0]

    assert name == "cherga-progress"
    assert attributes == {
        "job": str(job.id), "src": "/cherga/live/7", "token": "signed", "state": "running", "percent": "33", "role": "status",
        "look": "usual",
    }  # fmt: skip
    assert parts.text.split() == ["Exporting", "posts…", "33%", "Running", "1", "/", "3", "page", "1", "Cancel"]
    assert ("progress", {"data-cherga": "bar", "max": "100", "value": "33", "aria-label": "Exporting posts…"}) in parts.tags


def test_nothing_that_a_job_says_can_leave_its_place() -> None:
    job, _ = make_job(HOSTILE)
    parts = Parts(write_progress(job, HOSTILE, HOSTILE, {"title": HOSTILE, "data_text_ready": HOSTILE}))

    assert [name for name, _ in parts.tags] == ["cherga-progress", "span", "span", "progress", "span", "span", "span", "button"]
    assert parts.tags[0][1]["title"] == HOSTILE
    assert parts.text.count(HOSTILE) == 2


def test_own_content_takes_the_place_of_the_usual() -> None:
    job, _ = make_job()

    parts = Parts(write_progress(job, "/", "", {"class": "alert"}, "<b>mine</b>"))

    assert [name for name, _ in parts.tags] == ["cherga-progress", "b"]
    assert parts.tags[0][1]["class"] == "alert"
    assert "role" not in parts.tags[0][1]


def test_the_words_for_a_state_come_from_the_page() -> None:
    job, hand = make_job()
    hand.claim()
    hand.end(JobState.FAILED)

    html = write_progress(job.refresh(), "/", "", {"data_text_failed": "Das ging schief.", "data_text_succeeded": "Fertig."})

    assert "Das ging schief.</span>" in html
    assert "Fertig.</span>" not in html


def bar_of(job: Job[None]) -> dict[str, str | None]:
    (bar,) = [attributes for name, attributes in Parts(write_progress(job, "/", "", {})).tags if name == "progress"]
    return bar


def test_only_a_job_that_runs_without_a_total_has_a_bar_that_moves() -> None:
    job, hand = make_job()
    assert bar_of(job)["value"] == "0"

    hand.claim()
    assert "value" not in bar_of(job.refresh())

    hand.end(JobState.FAILED)
    assert bar_of(job.refresh())["value"] == "0"


@pytest.mark.parametrize(("state", "words"), [(JobState.SUCCEEDED, "Done"), (JobState.FAILED, "Failed")])
def test_how_the_job_ended_is_said_in_words(state: JobState, words: str) -> None:
    job, hand = make_job()
    assert ">Waiting</span>" in write_progress(job, "/", "", {})

    hand.claim()
    hand.end(state)
    assert f">{words}</span>" in write_progress(job.refresh(), "/", "", {})


def test_whoever_cancelled_the_job_is_quoted_unless_the_page_has_words_of_its_own() -> None:
    job, _ = make_job()
    job.cancel("account closed")
    job.refresh()

    assert ">Cancelled: account closed</span>" in write_progress(job, "/", "", {})
    assert ">Abgebrochen.</span>" in write_progress(job, "/", "", {"data_text_cancelled": "Abgebrochen."})


def test_percents_are_rounded_down_and_success_is_always_100() -> None:
    job, hand = make_job()
    assert percent_of(job, job.progress) is None

    hand.claim()
    hand.progress(999, 1000)
    assert percent_of(job.refresh(), job.progress) == 99

    hand.end()
    assert percent_of(job.refresh(), job.progress) == 100


def test_attributes_are_written_as_html_has_them() -> None:
    assert write_attributes({"a": 1, "b": True, "c": False, "d": None, "e": ""}) == ' a="1" b e=""'


@pytest.mark.parametrize("name", ["on click", "a>b", 'x"y', "", "é é"])
def test_what_is_no_name_of_an_attribute_is_refused(name: str) -> None:
    job, _ = make_job()

    with pytest.raises(ValueError, match="HTML attribute"):
        write_progress(job, "/", "", {name: "x"})


def test_script_and_look_are_loaded_and_the_script_does_not_hold_up_the_page() -> None:
    look, (name, attributes) = Parts(write_script("/cherga/element.js?v=1", "/look.css", {"nonce": "abc", "class_": "x"})).tags

    assert look == ("link", {"rel": "stylesheet", "href": "/look.css", "nonce": "abc"})
    assert name == "script"
    assert attributes == {"src": "/cherga/element.js?v=1", "defer": None, "nonce": "abc", "class": "x"}


def test_the_script_is_small_and_needs_no_exception_from_a_content_security_policy() -> None:
    script = ELEMENT.decode()

    assert len(ELEMENT) < 8_500  # a seventh of it lets all tabs of a browser share one connection
    assert '"succeeded":"Done"' in script
    assert len(VERSION) == 12
    assert not [
        word for word in ("eval(", "new Function", "innerHTML", "insertAdjacentHTML", ".style", "import ") if word in script
    ]
