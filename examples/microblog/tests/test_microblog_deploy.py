"""The files in ``deploy/`` do what ``docs/howto/deploy.md`` says of them: each is parsed, and each command of each is run."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from importlib.metadata import requires
from pathlib import Path
from uuid import UUID

import pytest
from demo.mailbox import Mailbox, free_port
from flask import Flask
from microblog.extensions import cherga, db
from microblog.models import Post, User, utc_now
from microblog.tasks import export_posts
from packaging.requirements import Requirement

from cherga import JobState
from cherga.client.app import BROKER_URL
from cherga.rules.settings import Settings
from cherga.testing import wait_until
from cherga.words.job import JobRow
from cherga.worker.options import CLOSING, FAREWELL, LAST_WRITE, Exit
from examples.microblog.tests import deploying
from examples.microblog.tests.deploying import DEPLOY, HOME, PATIENCE, Command

PAGE = HOME.parents[1] / "docs" / "howto" / "deploy.md"
COMMANDS = list(deploying.commands())
ALONE = [command for command in COMMANDS if not command.place.startswith("supervisor")]
"""Those that are run one by one; a real supervisor runs the others."""
PLATFORM_STOPS_AFTER = 30.0
"""Seconds after which platforms that read a Procfile kill what they have asked to stop."""


def stop_times() -> dict[str, float]:
    """How long each process manager waits between SIGTERM and SIGKILL for a worker, by the command that it starts."""
    supervisor = deploying.read_ini(deploying.text_of("supervisor.conf"))
    unit = deploying.read_ini(deploying.text_of("microblog-worker.service"))
    compose = deploying.read_compose()["services"]["worker"]

    return {
        "supervisor program:microblog-worker": float(supervisor["program:microblog-worker"]["stopwaitsecs"]),
        "microblog-worker.service": float(unit["Service"]["TimeoutStopSec"]),
        "compose worker": float(compose["stop_grace_period"].removesuffix("s")),
        "Procfile worker": PLATFORM_STOPS_AFTER,
    }


def test_every_worker_of_every_file_has_more_time_to_stop_than_it_can_use() -> None:
    times = stop_times()
    assert {command.place for command in COMMANDS if command.program == "cherga"} == times.keys()

    for command in COMMANDS:
        if command.program == "cherga":
            words = command.words
            grace = float(words[words.index("--grace") + 1]) if "--grace" in words else Settings().grace
            assert times[command.place] > grace + FAREWELL + CLOSING + LAST_WRITE, command.place


def test_supervisor_and_systemd_start_a_worker_again_for_the_same_exit_codes() -> None:
    supervisor = deploying.read_ini(deploying.text_of("supervisor.conf"))["program:microblog-worker"]
    unit = deploying.read_ini(deploying.text_of("microblog-worker.service"))["Service"]
    left_alone = {int(code) for code in supervisor["exitcodes"].split(",")}

    assert left_alone == {0, *map(int, unit["RestartPreventExitStatus"].split())}
    assert left_alone == {Exit.OK, 2, Exit.LOAD, Exit.CONFIG, Exit.INTERRUPTED}
    assert (supervisor["autorestart"], unit["Restart"]) == ("unexpected", "on-failure")


@pytest.mark.parametrize("name", sorted(path.name for path in DEPLOY.iterdir()))
def test_the_page_shows_the_file_as_it_is(name: str) -> None:
    assert f"```\n{deploying.text_of(name)}```" in re.sub(r"```\w+\n", "```\n", PAGE.read_text(encoding="utf-8"))


def test_all_files_give_their_processes_the_same_settings() -> None:
    wanted = deploying.read_env_file(deploying.text_of("microblog.env"))

    for command in COMMANDS:
        given = {name: value for name, value in command.environment.items() if name != "MICROBLOG_SECRET_KEY"}
        expected = {name: value for name, value in wanted.items() if name != "MICROBLOG_SECRET_KEY"}
        assert given.items() <= expected.items(), command.place
        assert given.keys() >= {BROKER_URL, "MICROBLOG_SQLALCHEMY_DATABASE_URI"}, command.place
        assert "MICROBLOG_SECRET_KEY" in command.environment, command.place


# --- each command


@pytest.mark.parametrize("command", ALONE, ids=lambda command: command.place)
def test_a_command_starts_and_ends_when_it_is_asked_to(command: Command, tmp_path: Path) -> None:
    port = free_port()
    home = image_folder(tmp_path / "image") if command.place.startswith(("compose", "Dockerfile")) else HOME
    here, log = command.in_folder(tmp_path, port), tmp_path / "output.log"

    if command.program == "gunicorn":
        make_tables(here, home)

    with deploying.started(here, tmp_path, home) as process:
        assert LIVELY[command.program](process, port, log), log.read_text(encoding="utf-8")

    assert process.returncode == 0, log.read_text(encoding="utf-8")


def make_tables(command: Command, home: Path) -> None:
    """As the page says: once, before the first start."""
    init = ["flask", "--app", "microblog", "init-db"]
    subprocess.run(init, cwd=home, env=deploying.environment_of(command), check=True, capture_output=True)


def serves(process: subprocess.Popen[bytes], port: int, log: Path) -> bool:
    return "Microblog" in deploying.await_page(port)


def works(process: subprocess.Popen[bytes], port: int, log: Path) -> bool:
    wait_until(lambda: b": ready for" in log.read_bytes() or process.poll() is not None, "the worker is ready", PATIENCE)
    return process.poll() is None


def ends(process: subprocess.Popen[bytes], port: int, log: Path) -> bool:
    process.wait(PATIENCE)
    return b"tables created" in log.read_bytes()


LIVELY: dict[str, Callable[[subprocess.Popen[bytes], int, Path], bool]] = {"gunicorn": serves, "cherga": works, "flask": ends}


# --- systemd


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="there is no systemd-analyze here")
@pytest.mark.parametrize("unit", ["microblog-web.service", "microblog-worker.service"])
def test_systemd_finds_nothing_wrong_with_a_unit(unit: str, tmp_path: Path) -> None:
    text = deploying.moved(deploying.text_of(unit), tmp_path, 8000).replace("User=microblog\n", "")
    (tmp_path / unit).write_text(text, encoding="utf-8")
    (tmp_path / "microblog.env").write_text(deploying.text_of("microblog.env"), encoding="utf-8")
    ran = subprocess.run(["systemd-analyze", "verify", "--man=no", tmp_path / unit], capture_output=True, encoding="utf-8")

    assert unit not in ran.stdout + ran.stderr
    assert ran.returncode == 0, ran.stderr


# --- images


def image_folder(folder: Path) -> Path:
    """What the steps of the Dockerfile copy, in a folder that stands for the image's."""
    folder.mkdir()

    for step, value in deploying.read_dockerfile():
        if step == "COPY":
            source, target = value.split()
            found, place = HOME / source, folder / target
            shutil.copytree(found, place) if found.is_dir() else shutil.copy(found, place)

    return folder


def test_the_image_runs_as_a_user_of_its_own_who_owns_the_folder_of_the_queue() -> None:
    steps = deploying.read_dockerfile()
    (user,) = (value for name, value in steps if name == "USER")
    (volume,) = (value for name, value in steps if name == "VOLUME")

    assert user != "root"
    assert any(f"useradd --uid 1000 {user}" in value and f"-o {user} -g {user} {volume}" in value for _, value in steps)
    assert deploying.image_environment()[BROKER_URL] == f"sqlite:///{volume}/jobs.db"


def test_what_the_image_installs_is_what_the_tests_run_with() -> None:
    extras = {Requirement(line).name for line in requires("cherga") or ()}
    wanted = [Requirement(line) for line in deploying.text_of("requirements.txt").split()]

    assert {need.name for need in wanted} == {"cherga", "gunicorn"}
    assert wanted[0].extras == {"demo"}
    assert {"flask", "aiosmtpd"} <= extras


def test_the_services_share_one_image_and_one_volume_for_both_databases() -> None:
    compose = deploying.read_compose()
    (volume,) = (value for name, value in deploying.read_dockerfile() if name == "VOLUME")
    services = compose["services"]

    assert {service["image"] for service in services.values()} == {"microblog"}
    assert all(service["volumes"] == [f"data:{volume}"] for service in services.values())
    assert "data" in compose["volumes"]
    assert (DEPLOY / services["web"]["build"]["context"]).resolve() == HOME
    assert (HOME / services["web"]["build"]["dockerfile"]).samefile(DEPLOY / "Dockerfile")
    assert all(isinstance(service.get("command", []), list) for service in services.values())
    assert all(
        services[name]["depends_on"] == {"tables": {"condition": "service_completed_successfully"}}
        for name in ("web", "worker")
    )


# --- supervisor, for real

SUPERVISOR = """
[supervisord]
nodaemon=true
logfile={folder}/supervisord.log
pidfile={folder}/supervisord.pid

[unix_http_server]
file={socket}

[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface

[supervisorctl]
serverurl=unix://{socket}

[include]
files={folder}/programs.conf
"""
JOBS, POSTS, RESTARTS, PROCESSES = 24, 4, 2, 2
LENGTH = 4.0
"""Seconds that a job takes: longer than supervisor takes to see that the time to stop is over."""


class Supervisor:
    """A supervisord of its own that was given the file."""

    def __init__(self, configuration: Path, port: int) -> None:
        self._configuration = configuration
        self.port = port
        """The port of the pages."""

    def ask(self, *words: str) -> str:
        """What ``supervisorctl`` answers."""
        ctl = [sys.executable, "-m", "supervisor.supervisorctl", "-c", self._configuration, *words]
        return subprocess.run(ctl, capture_output=True, encoding="utf-8", timeout=50).stdout

    def kills(self) -> int:
        """How often it has lost its patience with the worker."""
        return (self._configuration.parent / "supervisord.log").read_text(encoding="utf-8").count("killing 'microblog-worker'")

    def await_status(self, program: str, status: str) -> None:
        wait_until(lambda: status in self.ask("status", program), f"{program} is {status}", PATIENCE)


@pytest.fixture
def supervise(app: Flask, tmp_path: Path) -> Iterator[Callable[..., Supervisor]]:
    """Starts a supervisor with the file, its worker running; ``stopwaitsecs`` may be another than the file's."""
    with ExitStack() as stack:

        def supervise(stopwaitsecs: int = 40) -> Supervisor:
            port = free_port()
            text = deploying.moved(deploying.text_of("supervisor.conf"), tmp_path, port)
            text = re.sub("^user=.*\n", "", text, flags=re.MULTILINE).replace("stopwaitsecs=40", f"stopwaitsecs={stopwaitsecs}")
            (tmp_path / "programs.conf").write_text(
                text.replace(f"{tmp_path}/jobs.db", f"{tmp_path}/cherga.db"), encoding="utf-8"
            )

            # Sockets have short names: the folder of a test may be too long a one.
            socket = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sv-"))) / "s"
            configuration = tmp_path / "supervisord.conf"
            configuration.write_text(SUPERVISOR.format(folder=tmp_path, socket=socket), encoding="utf-8")
            command = [sys.executable, "-m", "supervisor.supervisord", "-c", str(configuration)]
            extra = {"MICROBLOG_MAIL_PORT": str(app.config["MAIL_PORT"]), "MICROBLOG_EXPORT_DELAY": str(LENGTH / POSTS)}
            stack.enter_context(deploying.started(Command("supervisord", command, extra), tmp_path))

            supervisor = Supervisor(configuration, port)
            supervisor.await_status("microblog-worker", "RUNNING")
            return supervisor

        yield supervise


def readers(app: Flask) -> list[int]:
    """Users with a few posts each."""
    with app.app_context():
        users = [User(username=f"u{n}", email=f"u{n}@example.org", locale="en", password_hash="none") for n in range(JOBS)]
        db.session.add_all(users)
        db.session.add_all(Post(body=f"Post {n}.", author=user, created_at=utc_now()) for user in users for n in range(POSTS))
        db.session.commit()
        return [user.id for user in users]


def states(ids: list[UUID]) -> list[JobState]:
    return [row.state for row in cherga.broker.get(ids) if row is not None]


def restart_under_load(app: Flask, supervisor: Supervisor) -> list[JobRow]:
    """Restart the worker twice while jobs run; the rows of all jobs when they have ended."""
    ids: list[UUID] = []
    users = readers(app)

    for round in range(RESTARTS):
        some = [job.id for job in export_posts.enqueue_many([(user,) for user in users[round::RESTARTS]])]
        wait_until(lambda some=some: JobState.RUNNING in states(some), "jobs of this round run", PATIENCE)
        assert "microblog-worker: started" in supervisor.ask("restart", "microblog-worker")
        ids += some

    wait_until(lambda: all(state.final for state in states(ids)), "all jobs have ended", 2 * PATIENCE)
    return [row for row in cherga.broker.get(ids) if row is not None]


@pytest.mark.timeout(180)
def test_supervisor_restarts_a_worker_under_load_and_kills_nothing_and_every_job_runs_once(
    app: Flask, supervise: Callable[..., Supervisor], mailbox: Mailbox
) -> None:
    supervisor = supervise()
    assert "Microblog" in deploying.await_page(supervisor.port)
    rows = restart_under_load(app, supervisor)

    assert supervisor.kills() == 0
    assert {(row.state, row.claims - row.interruptions, row.crashes) for row in rows} == {(JobState.SUCCEEDED, 1, 0)}
    assert sorted(mail.to for mail in mailbox.all()) == sorted(f"u{n}@example.org" for n in range(JOBS))


@pytest.mark.timeout(180)
def test_processes_whose_supervisor_is_killed_too_early_let_their_jobs_end(
    app: Flask, supervise: Callable[..., Supervisor]
) -> None:
    supervisor = supervise(stopwaitsecs=1)
    rows = restart_under_load(app, supervisor)
    wait_until(lambda: len(cherga.broker.workers()) == PROCESSES, "those that were left behind are gone", PATIENCE)

    assert supervisor.kills() == RESTARTS
    assert {(row.state, row.claims - row.interruptions, row.crashes) for row in rows} == {(JobState.SUCCEEDED, 1, 0)}


@pytest.mark.timeout(120)
def test_supervisor_leaves_a_stopped_worker_alone_and_starts_a_killed_one_again(supervise: Callable[..., Supervisor]) -> None:
    supervisor = supervise()
    supervisor.ask("stop", "microblog-worker")
    assert "STOPPED" in supervisor.ask("status", "microblog-worker")

    supervisor.ask("start", "microblog-worker")
    first = supervisor.ask("pid", "microblog-worker").strip()
    subprocess.run(["kill", "-9", first], check=True)
    supervisor.await_status("microblog-worker", "RUNNING")

    wait_until(
        lambda: supervisor.ask("pid", "microblog-worker").strip() not in {first, "0"}, "there is another worker", PATIENCE
    )
