"""Log lines of a worker: nothing that an application has set up is touched, and no argument can forge a line."""

from __future__ import annotations

import io
import json
import logging
import math
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from cherga.client.mishaps import revive, tell
from cherga.worker.logs import Facts, JsonLines, Lines, TextLines, escape, wants_colour


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


class Hostile:
    """Whoever asks it for a text gets an error."""

    def __str__(self) -> str:
        raise SystemExit(3)

    __repr__ = __str__


class HostileMapping(dict[str, int]):
    def items(self) -> Any:
        raise RuntimeError("no items")


class Proxied(Exception):
    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(name)


def in_a_circle() -> dict[str, Any]:
    circle: dict[str, Any] = {}
    circle["me"] = [circle]
    return circle


def read(line: str) -> Any:
    """The line as a strict reader has it: no NaN, valid UTF-8, one line for everybody."""

    def refuse(constant: str) -> Any:
        raise AssertionError(f"{constant} is not JSON")

    line.encode()
    assert len(line.splitlines()) == 1
    return json.loads(line, parse_constant=refuse)


class TestOddFields:
    @pytest.mark.parametrize(
        ("value", "shown"),
        [
            (math.nan, "nan"),
            (-math.inf, "-inf"),
            ({"a": [math.nan, {"b": math.inf}]}, {"a": ["nan", {"b": "inf"}]}),
            ({(1, 2): 3, None: 4, 1.5: 5}, {"(1, 2)": 3, "None": 4, "1.5": 5}),
            (b"\xff\x00a", "\\xff\0a"),
            ("a\ud800", "a\\ud800"),
            ({"\ud800": "\udfff"}, {"\\ud800": "\\udfff"}),
            ({1}, [1]),
            (10**30, str(10**30)),
            (True, True),
            (None, None),
        ],
    )
    def test_every_value_is_json(self, value: object, shown: object) -> None:
        assert read(JsonLines().format(record("job failed", x=value)))["x"] == shown

    def test_what_cannot_be_had_is_named(self) -> None:
        fields = read(JsonLines().format(record("job failed", x=Hostile(), y=[Hostile()], z={Hostile(): 10**5000})))
        odd = read(JsonLines().format(record("job failed", x=HostileMapping(a=1))))

        assert fields["x"] == "<a value of Hostile cannot be had: SystemExit>"
        assert fields["y"] == [fields["x"]]
        assert fields["z"] == {fields["x"]: "<a value of int cannot be had: ValueError>"}
        assert odd["x"] == "<a value of HostileMapping cannot be had: RuntimeError>"

    def test_circles_and_depths_and_masses_end(self) -> None:
        fields = read(JsonLines().format(record("job failed", circle=in_a_circle(), many=range(5), much=list(range(10**5)))))

        assert "…" in str(fields["circle"])
        assert fields["many"] == "range(0, 5)"
        assert len(fields["much"]) == 1_000

    @pytest.mark.parametrize("name", ["time", "level", "logger", "pid", "traceback"])
    def test_a_field_that_is_called_as_one_of_ours_stands_beside_it(self, name: str) -> None:
        fields = read(JsonLines().format(record("job failed", error=ValueError("no"), **{name: "mine"})))

        assert fields[f"{name}_"] == "mine"
        assert fields[name] != "mine"

    @pytest.mark.parametrize(
        "text", ["a\nb", "a\r\x1b[31m", "a\u2028b\x85c", "a\ud800", "a\0b", "\u202e", "\U000e0001", "є — ☂"]
    )
    def test_every_message_is_one_line_of_json(self, text: str) -> None:
        shown = text.replace("\ud800", "\\ud800")

        assert read(JsonLines().format(record("job %s", text)))["message"] == f"job {shown}"
        assert read(JsonLines(takes_any=False).format(record("job %s", text)))["message"] == f"job {shown}"
        assert JsonLines(takes_any=False).format(record("job %s", text)).isascii()

    @pytest.mark.parametrize("formatter", [JsonLines(), TextLines()])
    @pytest.mark.parametrize(
        ("message", "args", "shown"),
        [
            ("job %d", ("seven",), "job %d ('seven',) (TypeError when these were put together)"),
            ("job %s %s", (7,), "job %s %s (7,) (TypeError when these were put together)"),
        ],
    )
    def test_a_message_that_cannot_be_put_together_is_not_lost(
        self, formatter: logging.Formatter, message: str, args: tuple[object, ...], shown: str
    ) -> None:
        assert shown in formatter.format(record(message, *args))
        assert "job %s <its arguments cannot be had: SystemExit>" in formatter.format(record("job %s", Hostile()))

    @pytest.mark.parametrize("formatter", [JsonLines(), TextLines()])
    def test_a_message_that_is_no_text_and_gives_none_is_named(self, formatter: logging.Formatter) -> None:
        message: Any = Hostile()
        assert "<a message of Hostile cannot be had: SystemExit>" in formatter.format(record(message))

    @pytest.mark.parametrize("formatter", [JsonLines(), TextLines()])
    @pytest.mark.parametrize(
        "odd",
        [{"levelname": None}, {"created": math.nan}, {"exc_text": 5}, {"facts": Facts(a=Hostile())}, {"exc_info": "x"}],
        ids=lambda odd: next(iter(odd)),
    )
    def test_a_record_that_is_odd_in_itself_keeps_its_message(self, formatter: logging.Formatter, odd: dict[str, Any]) -> None:
        stream = io.StringIO()
        handler = Lines(stream)
        handler.setFormatter(formatter)
        handler.handle(record("job %s failed", 7, **odd))
        line = stream.getvalue()

        assert "job 7 failed" in line

        if isinstance(formatter, JsonLines):
            assert "job 7 failed" in read(line)["message"]

    @pytest.mark.parametrize("formatter", [JsonLines(), TextLines()])
    def test_huge_messages_are_cut_in_the_middle(self, formatter: logging.Formatter) -> None:
        line = formatter.format(record("begin %s end", "x" * 10_000_000, error=ValueError("y" * 10_000_000)))

        assert 32_768 < len(line) < 100_000
        assert "begin" in line
        assert "end" in line

    @pytest.mark.parametrize("formatter", [JsonLines(), TextLines()])
    def test_an_error_whose_own_code_raises_has_its_traceback(self, formatter: logging.Formatter) -> None:
        assert "Proxied: no" in formatter.format(record("job failed", error=Proxied("no")))

    def test_no_traceback_forges_a_line(self) -> None:
        error = ValueError("no\n12:00:00 ERROR   [1] forged\x1b[2J\r")
        error.add_note("12:00:00 ERROR   [1] forged too")
        lines = TextLines().format(record("job failed", error=error)).splitlines()

        assert [line for line in lines[1:] if line.startswith("12:00:00")] == []
        assert [line for line in lines if "forged" in line] == [
            "  12:00:00 ERROR   [1] forged\\x1b[2J\\r",
            "  12:00:00 ERROR   [1] forged too",
        ]


class Gone(io.StringIO):
    """As a pipe whose reader has left."""

    def write(self, text: str) -> int:
        raise BrokenPipeError


class TestStreams:
    def write(self, stream: Any, formatter: logging.Formatter) -> None:
        handler = Lines(stream)
        handler.setFormatter(formatter)
        handler.handle(record("job %s failed ☂", 7))

    @pytest.mark.parametrize("formatter", [JsonLines(), TextLines()])
    def test_a_stream_that_is_closed_gone_or_was_never_there_is_no_trouble(
        self, formatter: logging.Formatter, capsys: pytest.CaptureFixture[str]
    ) -> None:
        closed = io.StringIO()
        closed.close()

        for stream in (closed, Gone()):
            self.write(stream, formatter)

        assert capsys.readouterr() == ("", "")

    def test_a_stream_that_takes_only_some_characters_gets_these(self) -> None:
        stream = io.TextIOWrapper(io.BytesIO(), "ascii", "strict")
        self.write(stream, TextLines())
        stream.seek(0)

        assert stream.read().endswith("job 7 failed \\u2602\n")


class Collected(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


class TestSilencedLoggers:
    """``dictConfig`` switches off all loggers that there are, unless it is told not to."""

    @pytest.fixture
    def collected(self) -> Iterator[Collected]:
        handler = Collected()
        logging.getLogger().addHandler(handler)
        yield handler
        logging.getLogger().removeHandler(handler)
        revive()

    def test_ours_speak_again(self, collected: Collected) -> None:
        for name in ("cherga", "cherga.job", "cherga.worker"):
            logging.getLogger(name).disabled = True

        revive()
        logging.getLogger("cherga.worker").error("ready")

        assert collected.lines == ["ready"]

    def test_an_error_is_told_in_any_case(self, collected: Collected, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("cherga.job", "shop"):
            logger = logging.getLogger(name)
            monkeypatch.setattr(logger, "disabled", True)
            tell(logger, "job %s failed", 7, error=Proxied("no"), extra={"job_id": "7"})

        assert logging.getLogger("shop").disabled
        assert [line.splitlines()[0] for line in collected.lines] == ["job 7 failed"] * 2
        assert all("Proxied: no" in line for line in collected.lines)

    def test_a_line_says_where_it_was_told(self, collected: Collected) -> None:
        collected.setFormatter(logging.Formatter("%(filename)s %(funcName)s %(message)s"))
        tell(logging.getLogger("cherga.job"), "failed", error=None, extra={})

        assert collected.lines == ["test_logs.py test_a_line_says_where_it_was_told failed"]


def test_without_a_terminal_there_is_no_colour() -> None:
    assert not wants_colour(io.StringIO(), {"TERM": "xterm"})
    assert not wants_colour(None, {"TERM": "xterm"})


@pytest.mark.parametrize(
    ("environment", "colour"),
    [
        ({"TERM": "xterm"}, True),
        ({"TERM": "dumb"}, False),
        ({"NO_COLOR": "1", "TERM": "xterm"}, False),
        ({"NO_COLOR": "", "TERM": "xterm"}, True),
        ({"NO_COLOR": "1", "FORCE_COLOR": "1"}, False),
    ],
)
def test_a_terminal_has_colour_unless_somebody_objects(environment: dict[str, str], colour: bool) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    assert wants_colour(Terminal(), environment) is colour


def test_a_pipe_has_colour_where_it_is_forced() -> None:
    assert wants_colour(io.StringIO(), {"FORCE_COLOR": "1"})


def test_colour_changes_no_word_and_lets_no_argument_paint() -> None:
    made = record("job %s (%s) failed: %s", 7, "export", "\x1b[31mred", task_name="export")
    plain, painted = TextLines().format(made), TextLines(colour=True).format(made)

    assert "\x1b[1mexport\x1b[0m" in painted
    assert "\\x1b[31mred" in painted
    assert re.sub(r"\x1b\[[\d;]*m", "", painted) == plain


def test_facts_stand_below_a_line_of_text_and_are_no_field_of_a_json_line() -> None:
    made = record("cherga runs shop", tasks=3, facts=Facts(broker="sqlite:///a\nb.db", tasks=3))
    lines = TextLines().format(made).splitlines()

    assert [line.split() for line in lines[1:]] == [["broker", "sqlite:///a\\nb.db"], ["tasks", "3"]]
    assert json.loads(JsonLines().format(made))["tasks"] == 3
    assert "facts" not in json.loads(JsonLines().format(made))
