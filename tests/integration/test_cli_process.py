"""The ``cherga`` command as a process: environment, terminals, signals, pipes, and what is wrong from the start."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from cherga import QueueTasks
from tests.cli_shop import COMMAND, FACTORY, Ran, finish, make_app, start


@pytest.fixture
def app(tmp_path: Path) -> Iterator[QueueTasks]:
    with closing(make_app(f"sqlite:///{tmp_path}/cherga.db")) as app:
        app.publish()
        yield app


def call(folder: Path, *args: str, **env: str) -> Ran:
    return finish(start(folder, *args, env=env))


# --- finding the application and the broker


def test_application_and_broker_come_from_the_environment(app: QueueTasks, tmp_path: Path) -> None:
    enqueued = call(tmp_path, "jobs", "enqueue", "add", "1", CHERGA_APP=FACTORY, CHERGA_BROKER_URL="sqlite:///elsewhere.db")
    looked = call(tmp_path, "jobs", "list", CHERGA_BROKER_URL=app.broker_url)

    assert (enqueued.code, enqueued.err) == (0, "")
    assert (tmp_path / "shop.db").exists(), "the application's code names its broker, and that goes before the environment"
    assert (looked.code, looked.out) == (0, "")


def test_in_the_folder_of_a_queue_file_looking_needs_no_option(app: QueueTasks, tmp_path: Path) -> None:
    job = app.add_task("add", 1)

    assert call(tmp_path, "jobs", "list").rows[0][0] == str(job.id)


def test_without_application_and_broker_the_ways_to_name_them_are_told(tmp_path: Path) -> None:
    ran = call(tmp_path, "jobs", "list")

    assert ran.code == 2
    assert ran.err.startswith(
        "cherga: expected an application (-A module:app or CHERGA_APP) or a broker (-u URL or CHERGA_BROKER_URL)"
    )
    assert list(tmp_path.iterdir()) == []


def test_options_may_stand_before_the_command(app: QueueTasks, tmp_path: Path) -> None:
    assert call(tmp_path, "-A", FACTORY, "-u", app.broker_url, "jobs", "enqueue", "add", "1").code == 0
    assert [job.task_name for job in app.jobs()] == ["add"]


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (("jobs", "list", "-u", "sqlite:///missing.db"), 4, "expected a queue file at"),
        (("jobs", "list", "-u", "sqlite:///text.db"), 4, "text.db"),
        (("jobs", "list", "-u", "ftp://host"), 4, "expected a broker URL that begins with one of"),
        (("jobs", "list", "-u", "memory://"), 4, "expected a broker that several processes share, got 'memory://'"),
        (("jobs", "list", "-u", "sqlite:///cherga.db", "-A", "no_such_module"), 3, "expected a module named 'no_such_module'"),
        (("worker", "-A", "broken:app"), 3, "broken.py:1: ZeroDivisionError"),
        (("worker",), 2, "expected an application: -A module:app, or CHERGA_APP"),
        (("worker", "-A", FACTORY, "-q", "a=1,b"), 2, "expected queues as a,b (strict order) or a=3,b=1"),
        (("worker", "-A", FACTORY, "--processes", "0"), 2, "0 is not in the range"),
        (("jbos",), 2, "unknown command 'jbos'; did you mean 'jobs'?"),
        (("jobs", "list", "--stat"), 2, "no such option '--stat'; did you mean --state or --task or --watch?"),
        (("jobs", "--frob"), 2, "no such option '--frob' (see cherga jobs --help)"),
    ],
)
def test_what_is_wrong_from_the_start_is_said_without_a_traceback(
    app: QueueTasks, tmp_path: Path, args: tuple[str, ...], code: int, words: str
) -> None:
    (tmp_path / "text.db").write_text("not a database " * 100, encoding="utf-8")
    (tmp_path / "broken.py").write_text("1 / 0\n", encoding="utf-8")
    ran = call(tmp_path, *args)

    assert ran.code == code
    assert words in ran.err
    assert "Traceback" not in ran.err
    assert ran.out == ""


def test_a_queue_file_tells_whose_it_is_and_another_name_is_refused(app: QueueTasks, tmp_path: Path) -> None:
    app.add_task("add", 1)

    assert call(tmp_path, "jobs", "list", "-u", app.broker_url).code == 0
    wrong = call(tmp_path, "jobs", "list", "-u", app.broker_url, "--namespace", "mill")
    assert wrong.code == 4
    assert "'shop'" in wrong.err


# --- the worker


def test_a_burst_runs_what_is_ready_and_ends_with_0(app: QueueTasks, tmp_path: Path) -> None:
    job = app.add_task("add", 1)
    ran = call(tmp_path, "worker", "--burst", "-A", FACTORY, "-u", app.broker_url, "-q", "default=2,exports=1")

    assert ran.code == 0, ran.err
    assert job.result(1) == 2
    assert "tasks of default, exports" in ran.err


# --- terminals, pipes, signals


def on_a_terminal(folder: Path, *args: str, columns: int = 80, **env: str) -> str:
    """What the command writes to a terminal."""
    master, slave = os.openpty()
    environment = {"COLUMNS": str(columns), "LINES": "40", "TERM": "xterm-256color", **env}
    process = start(folder, *args, stdout=slave, stderr=slave, env=environment)
    os.close(slave)

    with open(master, "rb") as reader:
        written = b"".join(_chunks(reader.fileno()))

    process.wait(30)
    return written.decode()


def _chunks(descriptor: int) -> Iterator[bytes]:
    with suppress(OSError):  # what Linux answers when the other end is closed
        while chunk := os.read(descriptor, 65_536):
            yield chunk


def test_a_terminal_gets_a_table_with_colours_and_a_pipe_gets_neither(app: QueueTasks, tmp_path: Path) -> None:
    app.add_task("add", 1)
    seen, piped = on_a_terminal(tmp_path, "jobs", "list"), call(tmp_path, "jobs", "list").out

    assert "STATE" in seen
    assert "\x1b[" in seen
    assert "STATE" not in piped
    assert "\x1b" not in piped


def test_no_color_is_respected(app: QueueTasks, tmp_path: Path) -> None:
    app.add_task("add", 1)

    assert "\x1b[3" not in on_a_terminal(tmp_path, "jobs", "list", NO_COLOR="1")


def test_a_followed_job_moves_a_bar_on_a_terminal(app: QueueTasks, tmp_path: Path) -> None:
    job = app.add_task("export", 3)

    with app.worker():
        seen = on_a_terminal(tmp_path, "jobs", "watch", str(job.id), PYTHONUTF8="1")

    assert "━" in seen
    assert "page 3" in seen
    assert "succeeded in" in seen


def test_a_reader_that_goes_away_ends_the_command_quietly(app: QueueTasks, tmp_path: Path) -> None:
    app.tasks["add"].enqueue_many([(n,) for n in range(2000)])
    process = start(tmp_path, "jobs", "list", "--limit", "0")
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()

    assert process.wait(30) == 141
    assert process.stderr is not None
    assert process.stderr.read() == ""
    process.stderr.close()


def test_ctrl_c_stops_watching_and_not_the_job(app: QueueTasks, tmp_path: Path) -> None:
    job = app.add_task("add", 1)
    process = start(tmp_path, "jobs", "watch", str(job.id))
    assert process.stdout is not None
    assert process.stdout.readline().startswith("job\t")
    process.send_signal(signal.SIGINT)
    ran = finish(process)

    assert ran.code == 130
    assert "stopped watching; the job goes on" in ran.err
    assert "Traceback" not in ran.err
    assert not job.refresh().status.final


def test_a_question_is_asked_on_a_terminal_and_no_means_no(app: QueueTasks, tmp_path: Path) -> None:
    job = app.add_task("add", 1)
    master, slave = os.openpty()

    process = start(tmp_path, "jobs", "cancel", "--task", "add", stdin=slave)
    os.write(master, b"n\n")
    ran = finish(process)
    os.close(master)
    os.close(slave)

    assert ran.code == 1
    assert "Cancel 1 unfinished job of task add? [y/N]" in ran.err
    assert not job.refresh().status.final


# --- light


def test_help_loads_neither_rich_nor_the_worker_nor_a_broker() -> None:
    script = (
        "import sys; from cherga.cli import main; main(['--help']); main(['jobs', '--help']); "
        "print(sorted({'rich', 'cherga.worker.supervisor', 'cherga.brokers.sqlite'} & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, encoding="utf-8", timeout=30)

    assert ran.stdout.splitlines()[-1] == "[]", ran.stderr


def test_a_pipe_does_not_load_rich(app: QueueTasks, tmp_path: Path) -> None:
    script = "import sys; from cherga.cli import main; main(['jobs', 'list']); print('rich' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, encoding="utf-8", timeout=30)

    assert ran.stdout == "False\n", ran.stderr


def test_the_command_without_arguments_prints_its_help() -> None:
    ran = subprocess.run(COMMAND, capture_output=True, encoding="utf-8", timeout=30)

    assert ran.returncode == 0
    assert ran.stdout.startswith("Usage: cherga ")
    assert ran.stderr == ""
