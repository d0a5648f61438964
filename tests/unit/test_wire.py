"""What supervisor and worker process say to each other, over a real socket pair."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from uuid import UUID

import pytest

from cherga import BrokerSettings
from cherga.words.job import Attempt, JobState, Reason
from cherga.words.settlement import Settlement
from cherga.worker.options import WorkerOptions
from cherga.worker.wire import CancelJob, Drain, Hello, LastWord, Lost, Message, NewSession, Start, Stuck, Wire

EVERY_MESSAGE: list[Message] = [
    Start(WorkerOptions(app="shop:app", queues=("a", "b"), weights=(3, 1), grace=2.5), "here", 108),
    Hello("shop", 3, "sqlite:///x.db", BrokerSettings(namespace="shop", crash_backoff=(1.0,)), "here.1", 25.0, 60.0, ("a.py",)),
    NewSession("here.2"),
    Stuck(),
    LastWord(Settlement(UUID(int=7), 1, 2, JobState.FAILED, Reason.TIMEOUT, attempt=Attempt(1, "here", 1.0, 2.0), result=b"x")),
    Drain(5.0),
    CancelJob("here.1", "0" * 32, 2**63 - 1),
    Lost("here.1"),
]


@pytest.fixture
def ends() -> Iterator[tuple[Wire, Wire]]:
    ours, theirs = socket.socketpair()
    ours.settimeout(10)
    theirs.settimeout(10)
    yield Wire(ours), Wire(theirs)
    ours.close()
    theirs.close()


@pytest.mark.parametrize("message", EVERY_MESSAGE, ids=lambda message: type(message).__name__)
def test_a_message_arrives_as_it_was_sent(ends: tuple[Wire, Wire], message: Message) -> None:
    near, far = ends

    assert near.send(message)
    assert far.receive() == [message]


def test_messages_sent_together_arrive_in_their_order(ends: tuple[Wire, Wire]) -> None:
    near, far = ends

    for message in EVERY_MESSAGE:
        near.send(message)

    received: list[Message] = []

    while len(received) < len(EVERY_MESSAGE):
        received += far.receive() or pytest.fail("the other end is gone")

    assert received == EVERY_MESSAGE


def test_a_message_in_pieces_is_put_together(ends: tuple[Wire, Wire]) -> None:
    near, far = ends
    bytes_of = Recorder()
    Wire(bytes_of).send(Drain(5.0))  # type: ignore[arg-type]
    threading.Thread(target=send_slowly, args=(near.socket, bytes_of.data), daemon=True).start()

    assert far.receive() == [Drain(5.0)]


def test_a_long_message_arrives_whole(ends: tuple[Wire, Wire]) -> None:
    near, far = ends
    hello = Hello(
        "shop", 3, "sqlite:///x.db", BrokerSettings(), "s", 1.0, 1.0, tuple(f"/some/where/module_{n}.py" for n in range(20_000))
    )
    threading.Thread(target=near.send, args=(hello,), daemon=True).start()

    assert far.receive() == [hello]


def test_many_threads_may_send_at_once(ends: tuple[Wire, Wire]) -> None:
    near, far = ends
    threads = [threading.Thread(target=lambda n=n: [near.send(NewSession(f"{n}" * 500)) for _ in range(20)]) for n in range(5)]

    for thread in threads:
        thread.start()

    received: list[Message] = []

    while len(received) < 100:
        received += far.receive() or pytest.fail("the other end is gone")

    for thread in threads:
        thread.join(10)

    assert all(isinstance(message, NewSession) and len(set(message.session)) == 1 for message in received)


def test_an_end_that_is_gone_is_noticed_by_both_verbs(ends: tuple[Wire, Wire]) -> None:
    near, far = ends
    far.socket.close()

    assert near.receive() is None
    assert near.send(Stuck()) is False


def test_an_end_that_goes_in_the_middle_of_a_message_is_gone(ends: tuple[Wire, Wire]) -> None:
    near, far = ends
    near.socket.sendall(b"\x64\x00\x00\x00half")
    near.socket.close()

    assert far.receive() is None


class Recorder:
    """Stands for a socket and keeps what is sent."""

    def __init__(self) -> None:
        self.data = b""

    def sendall(self, data: bytes) -> None:
        self.data += data


def send_slowly(end: socket.socket, data: bytes) -> None:
    for index in range(len(data)):
        end.sendall(data[index : index + 1])


def test_an_offer_never_waits_for_an_end_that_does_not_read(ends: tuple[Wire, Wire]) -> None:
    near, far = ends
    taken = 0

    while near.offer(Lost("here.1")):
        taken += 1

    received: list[Message] = []

    while len(received) < taken:
        received += far.receive() or []

    assert received == [Lost("here.1")] * taken
    assert near.offer(Stuck())
    assert far.receive() == [Stuck()]


def test_an_offer_to_an_end_that_is_gone_is_refused(ends: tuple[Wire, Wire]) -> None:
    near, far = ends
    far.socket.close()
    assert not near.offer(Stuck())
    near.socket.close()
    assert not near.offer(Stuck())


def whole(message: Message) -> bytes:
    recorder = Recorder()
    Wire(recorder).send(message)  # type: ignore[arg-type]
    return recorder.data


def test_half_a_message_holds_up_nobody_who_only_takes(ends: tuple[Wire, Wire]) -> None:
    near, far = ends
    far.socket.settimeout(None)  # as the supervisor has it
    data = whole(NewSession("here.2"))

    assert far.take() == []
    near.socket.sendall(data[:7])
    assert far.take() == []
    near.socket.sendall(data[7:] + data[:2])
    assert far.take() == [NewSession("here.2")]
    near.socket.close()
    assert far.take() is None


@pytest.mark.parametrize(
    "noise",
    [b"\x05\x00\x00\x00hello", b"printed by a library\n", b"\xff\xff\xff\xff", b"\x01\x00\x00\x00\xc1", whole(Stuck())[4:]],
    ids=["no MessagePack", "text", "longer than any message", "no value", "a message without its length"],
)
def test_what_is_no_message_is_noticed_and_those_before_it_count(ends: tuple[Wire, Wire], noise: bytes) -> None:
    near, far = ends
    near.socket.sendall(whole(NewSession("here.2")) + noise)

    assert far.take() == [NewSession("here.2")]
    assert far.garbled
    assert far.receive() is None


@pytest.mark.parametrize("held", [False, True], ids=["gone", "held open by a child of it"])
def test_all_that_a_process_said_last_is_heard_after_its_end(ends: tuple[Wire, Wire], held: bool) -> None:
    """More than one reading gives."""
    near, far = ends
    far.socket.settimeout(None)  # as the supervisor has it
    said = [LastWord(Settlement(UUID(int=n), n, n, JobState.SUCCEEDED, result=b"x" * 40_000)) for n in range(2)]

    assert all(near.send(word) for word in said)

    with near.socket.dup() if held else socket.socket():
        near.socket.close()

        assert far.rest() == said
        assert far.rest() == []
