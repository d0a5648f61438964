"""Log lines of a worker: nothing that an application has set up is touched, and no argument can forge a line."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from typing import Any

import pytest

from cherga.worker.logs import JsonLines, TextLines, escape


def record(message: str, *args: object, error: BaseException | None = None, **extra: Any) -> logging.LogRecord:
    made = logging.makeLogRecord({"name": "cherga.job", "levelno": logging.WARNING, "levelname": "WARNING", "msg": message})
    made.args = args
    made.exc_info = (type(error), error, error.__traceback__) if error else None
    vars(made).update(extra)
    return made


def test_a_line_of_text_says_when_who_and_what() -> None:
    line = TextLines().format(record("job %s failed", 7))

    assert line.endswith(f"WARNING [{record('').process}] job 7 failed")


@pytest.mark.parametrize("name", ["one\n12:00:00 ERROR   [1] two", "one\r\x1b[2Jtwo", "one\u2028two"])
def test_an_argument_cannot_forge_a_line(name: str) -> None:
    line = TextLines().format(record("no task %s", name))

    assert line.isprintable()
    assert "two" in line
    assert len(line.splitlines()) == 1


def test_a_traceback_follows_its_line() -> None:
    lines = TextLines().format(record("job failed", error=ValueError("no such post"))).splitlines()

    assert lines[0].endswith("job failed")
    assert lines[-1] == "ValueError: no such post"


def test_json_lines_hold_the_fields_of_the_record() -> None:
    line = JsonLines().format(record("job %s failed", 7, job_id="x", action="job.failed", odd=object))
    fields = json.loads(line)

    assert len(line.splitlines()) == 1
    assert (fields["level"], fields["logger"], fields["message"]) == ("warning", "cherga.job", "job 7 failed")
    assert (fields["job_id"], fields["action"], fields["odd"]) == ("x", "job.failed", "<class 'object'>")
    assert fields["time"].endswith("Z")
    assert "traceback" not in fields


def test_json_lines_hold_the_traceback() -> None:
    line = JsonLines().format(record("job failed", error=ValueError("line one\nline two")))

    assert len(line.splitlines()) == 1
    assert json.loads(line)["traceback"].endswith("ValueError: line one\nline two")


@pytest.mark.parametrize(
    ("text", "shown"), [("plain — ☂", "plain — ☂"), ("a\tb", "a\\tb"), ("\0", "\\x00"), ("\u202e", "\\u202e")]
)
def test_control_characters_are_made_visible(text: str, shown: str) -> None:
    assert escape(text) == shown


SET_UP = """
import logging
from cherga.worker import logs
{before}
logs.set_up("{level}", "{style}")
logs.set_up("{level}", "{style}")
logging.getLogger("cherga.worker").info("ready")
logging.getLogger("cherga.job").debug("detail")
logging.getLogger("shop").info("of the application")
"""


def shown(level: str = "info", style: str = "text", before: str = "") -> str:
    """What a process writes that sets up these log lines."""
    program = SET_UP.format(level=level, style=style, before=before)
    return subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, encoding="utf-8", timeout=30).stderr


def test_without_a_set_up_of_its_own_an_application_sees_our_lines_once() -> None:
    lines = shown().splitlines()

    assert len(lines) == 1
    assert lines[0].endswith("ready")


def test_the_level_and_the_style_can_be_chosen() -> None:
    assert [json.loads(line)["message"] for line in shown("debug", "json").splitlines()] == ["ready", "detail"]
    assert shown("error") == ""


@pytest.mark.parametrize("logger", ["", "cherga"])
def test_a_set_up_of_the_application_is_left_alone(logger: str) -> None:
    before = f"""
handler = logging.StreamHandler()
handler.setFormatter(logging.Formatter("mine: %(message)s"))
logging.getLogger({logger!r}).addHandler(handler)
logging.getLogger({logger!r}).setLevel("INFO")
"""
    ours = [line for line in shown("debug", "json", before).splitlines() if "application" not in line]

    assert ours == ["mine: ready"]
