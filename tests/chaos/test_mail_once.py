"""The page ``docs/howto/once.md`` keeps its word: its code runs in workers that are killed at the worst moments."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.smtp import SMTP, Envelope, Session

from cherga import Job, JobState, QueueTasks
from cherga.testing import wait_until
from tests.docs.pages import ROOT, blocks
from tests.workers import PATH, Worker, Workplace

PAGE = ROOT / "docs" / "howto" / "once.md"
KILLS = int(os.environ.get("MAILS", "4"))
PATIENCE = 30.0 + 10.0 * KILLS
ARRIVES = ("DATA",)
ANY_MOMENT = ("EHLO", "RCPT", "DATA")

pytestmark = pytest.mark.timeout(60 + 12 * KILLS)


HEARD = """
@app.on.failed
def hear(event: Event) -> None:
    with open(os.environ["DIARY"], "a") as diary:
        diary.write(f"heard {event.job_id} {event.attempt} {os.getpid()} 0\\n")
"""
"""A handler behind the page's own: when it has heard of an end, the page has done what it does about that."""


class Shop:
    """The page's code in a folder of its own, and its worker, which is started again when it has been killed."""

    def __init__(self, place: Workplace, folder: Path, more: str = "") -> None:
        self.database = folder / "shop.db"
        code = "\n\n".join(block.text for block in blocks(PAGE, "python")) + more
        code = code.replace("sqlite:///shop.db", f"sqlite:///{self.database}")
        (folder / "shop.py").write_text(code, encoding="utf-8")
        self.client = QueueTasks("shop", place.url)
        self._place = place
        self._environment = {"PYTHONPATH": f"{folder}{os.pathsep}{PATH}"}
        self._worker: Worker | None = None
        self._kills = 0
        assert self.run("shop.Model.metadata.create_all(shop.engine)") == 0

    def run(self, code: str) -> int:
        """Run this in a process of the application that is no worker; gives its exit code."""
        environment = {**self._place.environment, **self._environment}
        return subprocess.run([sys.executable, "-c", f"import shop\n{code}"], env=environment, timeout=50).returncode

    def work(self, **environment: object) -> None:
        """Start a worker."""
        self._environment |= {name: str(value) for name, value in environment.items()}
        self._worker = self._place.worker("--threads", "1", app="shop:app", **self._environment)

    def kill(self) -> None:
        """Kill what runs the job, and every second time the whole worker with it."""
        assert self._worker is not None
        self._kills += 1
        children = self._worker.children()

        for pid in [self._worker.process.pid, *children] if self._kills % 2 else children:
            os.kill(pid, signal.SIGKILL)

    def settled(self) -> bool:
        """True when nothing is left to do; a worker that was killed is replaced meanwhile, as a process manager does it."""
        if self._worker is not None and self._worker.process.poll() is not None:
            self.work()

        return not any(not row.state.final for row in self.client.broker.counts())

    def jobs(self, task: str) -> list[Job[Any]]:
        return list(self.client.jobs(task=task, limit=1000))


@pytest.fixture
def shop(place: Workplace, tmp_path: Path) -> Iterator[Shop]:
    shop = Shop(place, tmp_path, HEARD)
    yield shop
    shop.client.close()


# --- mails


class PostOffice:
    """A mail server that kills its client at the next of the planned moments, and knows afterwards which mails it has taken."""

    def __init__(self, shop: Shop, moments: Iterable[str]) -> None:
        self.mails: Counter[str] = Counter()
        self._shop = shop
        self._plan = deque(moments)

    @property
    def kills_left(self) -> int:
        return len(self._plan)

    def _strike(self, moment: str) -> None:
        if self._plan and self._plan[0] == moment:
            self._plan.popleft()
            self._shop.kill()

    async def handle_EHLO(self, server: SMTP, session: Session, envelope: Envelope, name: str, said: list[str]) -> list[str]:
        session.host_name = name
        self._strike("EHLO")
        return said

    async def handle_RCPT(self, server: SMTP, session: Session, envelope: Envelope, to: str, options: list[str]) -> str:
        envelope.rcpt_tos.append(to)
        self._strike("RCPT")
        return "250 2.1.5 Known"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        lines = bytes(envelope.original_content or b"").decode().splitlines()
        (id,) = [line.partition(": ")[2] for line in lines if line.startswith("Message-ID: ")]
        self.mails[id] += 1
        self._strike("DATA")
        return "250 2.0.0 Kept"


@contextmanager
def delivering(office: PostOffice) -> Iterator[int]:
    """The mail server on a free port of loopback, on a loop and a thread of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    opened = loop.create_server(lambda: SMTP(office, loop=loop), "127.0.0.1", 0)
    server = asyncio.run_coroutine_threadsafe(opened, loop).result(10)

    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        asyncio.run_coroutine_threadsafe(hang_up(server), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def hang_up(server: asyncio.Server) -> None:
    server.close()
    talks = asyncio.all_tasks() - {asyncio.current_task()}

    for talk in talks:
        talk.cancel()

    await asyncio.gather(*talks, return_exceptions=True)


@pytest.mark.parametrize("moments", [ARRIVES, ANY_MOMENT], ids=["as the mail arrives", "at any moment"])
def test_a_worker_is_killed_again_and_again_and_each_mail_is_sent_exactly_once(
    shop: Shop, place: Workplace, moments: tuple[str, ...]
) -> None:
    office = PostOffice(shop, islice(cycle(moments), KILLS))
    orders = [shop.client.add_task("prepare_invoice", number) for number in range(KILLS)]

    with delivering(office) as port, serving(provider(office)) as api:
        shop.work(MAIL_PORT=port, MAIL_API=api)
        wait_until(
            lambda: shop.settled() and len(office.mails) == KILLS, "all mails are sent and all jobs have ended", PATIENCE
        )

    sent = shop.jobs("send_invoice")
    assert office.mails == Counter({f"<{job.id}@shop.example>": 1 for job in sent})
    assert len(sent) == len(orders)
    assert all(job.refresh().is_succeeded for job in orders)


def test_a_mail_that_arrived_as_its_worker_was_killed_is_left_as_failed_for_people_to_see(shop: Shop, place: Workplace) -> None:
    office = PostOffice(shop, ARRIVES)
    shop.client.add_task("prepare_invoice", 1)

    with delivering(office) as port, serving(provider(office)) as api:
        shop.work(MAIL_PORT=port, MAIL_API=api)
        wait_until(lambda: shop.settled() and place.events("heard"), "the page has looked after the mail", PATIENCE)

    (job,) = shop.jobs("send_invoice")
    assert job.status is JobState.FAILED
    assert job.reason in ("crashed", "lost")


# --- what answers over HTTP


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """A server on loopback; gives its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()

    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Quiet(BaseHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def say(self, status: int, **fields: object) -> None:
        body = json.dumps(fields).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def provider(office: PostOffice) -> type[Quiet]:
    """The mail provider's API: which mails it has taken."""

    class Provider(Quiet):
        def do_GET(self) -> None:
            self.say(200 if self.path.rpartition("/")[2] in office.mails else 404)

    return Provider


def test_a_charge_whose_worker_is_killed_as_the_request_arrives_is_made_once(shop: Shop) -> None:
    charges: dict[str, str] = {}

    class Bank(Quiet):
        def do_POST(self) -> None:
            key = str(self.headers["Idempotency-Key"])
            self.rfile.read(int(self.headers["Content-Length"]))

            if key not in charges:
                charges[key] = f"charge {len(charges)}"
                shop.kill()

            with suppress(OSError):  # who asked is dead
                self.say(200, charge=charges[key])

    jobs = [shop.client.add_task("charge", number, 1000) for number in range(2)]

    with serving(Bank) as bank:
        shop.work(BANK=bank)
        wait_until(shop.settled, "all jobs have ended", PATIENCE)

    assert charges.keys() == {str(job.id) for job in jobs}
    assert [job.result(0) for job in jobs] == [charges[str(job.id)] for job in jobs]
    assert all(job.refresh().row.claims == 2 for job in jobs)


# --- the database of the page

DIE_ONCE = """
import signal
from pathlib import Path


@sa.event.listens_for(Session, "after_commit")
def die_once(session):
    if not Path(DIED).exists():
        Path(DIED).touch()
        os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_booking_whose_worker_dies_right_after_its_commit_is_made_once(place: Workplace, tmp_path: Path) -> None:
    died = tmp_path / "died"
    shop = Shop(place, tmp_path, DIE_ONCE.replace("DIED", repr(str(died))))

    with closing(sqlite3.connect(shop.database)) as db:
        db.execute("insert into account values (1, 0)")
        db.commit()

    job = shop.client.add_task("pay_in", 1, 500)
    shop.work()
    wait_until(shop.settled, "the job has ended", PATIENCE)

    with closing(sqlite3.connect(shop.database)) as db:
        assert db.execute("select cents from account").fetchall() == [(500,)]

    assert died.exists()
    assert job.refresh().is_succeeded
    assert job.attempt == 2
    shop.client.close()


PLACE_AND_DIE = """
import os, signal

def die(session):
    os.kill(os.getpid(), signal.SIGKILL)

shop.sa.event.listen(shop.Session, {moment!r}, die, insert=True)
shop.place_order({number})
"""


def test_an_order_whose_process_dies_at_its_commit_has_one_mail_if_it_is_there_and_none_if_not(shop: Shop) -> None:
    moments = ["after_commit", "before_commit"]
    office = PostOffice(shop, ())

    for number, moment in enumerate(moments * 2):
        assert shop.run(PLACE_AND_DIE.format(number=number, moment=moment)) == -signal.SIGKILL

    with delivering(office) as port, serving(provider(office)) as api:
        shop.work(MAIL_PORT=port, MAIL_API=api)
        wait_until(lambda: len(office.mails) >= 2 and shop.settled(), "the mails are sent", PATIENCE)

    with closing(sqlite3.connect(shop.database)) as db:
        assert db.execute("select id from 'order' order by id").fetchall() == [(0,), (2,)]
        assert db.execute("select count(*) from cherga_outbox").fetchall() == [(0,)]

    assert set(office.mails.values()) == {1}
    assert len(office.mails) == 2
