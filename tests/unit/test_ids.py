"""Ids of jobs: in the order in which they were made, and never twice, whoever makes them."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

from cherga.client.ids import new_id


def test_an_id_is_a_uuid_of_version_7() -> None:
    id = new_id()

    assert id.version == 7
    assert id.variant == "specified in RFC 4122"


def test_ids_that_threads_make_at_the_same_time_are_different() -> None:
    with ThreadPoolExecutor(8) as threads:
        made = list(threads.map(lambda _: new_id(), range(5000)))

    assert len(set(made)) == 5000


def test_a_forked_child_makes_other_ids_than_its_parent() -> None:
    new_id()
    reading, writing = os.pipe()
    child = os.fork()

    if child == 0:
        os.write(writing, b"".join(new_id().bytes[6:] for _ in range(100)))
        os._exit(0)

    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        told = pipe.read()

    os.waitpid(child, 0)
    theirs = {told[at : at + 10] for at in range(0, len(told), 10)}
    assert len(theirs) == 100
    assert theirs.isdisjoint({new_id().bytes[6:] for _ in range(100)})
