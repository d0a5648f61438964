"""Storing new jobs."""

from __future__ import annotations

from collections import Counter
from uuid import uuid4

import pytest
from msgspec.structs import replace

from cherga.testing.contract.stage import Stage, after, ids, new_job, new_jobs
from cherga.words.errors import BrokerUnusable
from cherga.words.job import JobState
from cherga.words.push import Edge, PushAnswer, PushedJob
from cherga.words.unique import Unique

FULL = {
    "task": "mail",
    "payload": b"\x00\xff\xc1 any bytes \x00",
    "queue": "slow",
    "priority": -7,
    "owner": "user:7",
    "unique": Unique("mail:7"),
    "limit_keys": ("mail", "host:example.org"),
    "head": b"\x81\xabdescription\xa4Mail",
}


class Pushing:
    """``push``, ``get``, ``open`` and ``close``."""

    def test_a_pushed_job_is_ready_and_answered_by_its_id(self, stage: Stage) -> None:
        job = new_job()
        assert stage.broker.push([[job]]) == [PushAnswer((PushedJob(job.id, JobState.READY),))]

    @pytest.mark.parametrize("field", FULL)
    def test_a_job_is_kept_as_it_was_pushed(self, stage: Stage, field: str) -> None:
        job = stage.pushed(**FULL)
        assert getattr(stage.row(job), field) == FULL[field]

    def test_a_new_job_has_not_been_tried(self, stage: Stage) -> None:
        row = stage.row(stage.pushed())
        assert (row.attempt, row.claims, row.crashes, row.interruptions, row.pending) == (0, 0, 0, 0, 0)
        assert (row.session, row.started_at, row.first_started_at, row.finished_at) == (None, None, None, None)
        assert (row.reason, row.result, row.message, row.progress, row.meta) == (None, None, None, None, None)
        assert not row.cancel_requested

    def test_what_a_job_does_not_use_stays_empty(self, stage: Stage) -> None:
        row = stage.row(stage.pushed())
        assert (row.owner, row.head, row.unique, row.limit_keys) == (None, None, None, ())
        assert (row.run_at, row.expires_at, row.prune_at) == (None, None, None)

    def test_a_job_is_dated_by_the_brokers_clock(self, stage: Stage) -> None:
        first = stage.row(stage.pushed())
        stage.pass_time(1000)
        second = stage.row(stage.pushed())
        assert second.enqueued_at - first.enqueued_at == pytest.approx(1000, abs=30)
        assert second.ready_at == pytest.approx(second.enqueued_at)

    def test_every_job_of_a_group_is_answered_in_order(self, stage: Stage) -> None:
        group = new_jobs(20)
        assert [pushed.id for pushed in stage.push(*group).jobs] == ids(group)

    def test_every_group_has_its_own_answer_in_order(self, stage: Stage) -> None:
        groups = [new_jobs(size) for size in (2, 1, 3)]
        answers = stage.broker.push(groups)
        assert [[pushed.id for pushed in answer.jobs] for answer in answers] == [ids(group) for group in groups]

    def test_many_groups_are_pushed_in_one_call(self, stage: Stage) -> None:
        jobs = new_jobs(700)
        stage.push_each(*jobs)
        assert Counter(stage.states(jobs)) == {JobState.READY: 700}

    def test_no_groups_have_no_answers(self, stage: Stage) -> None:
        assert stage.broker.push([]) == []

    def test_an_empty_group_stores_nothing(self, stage: Stage) -> None:
        assert stage.broker.push([[]]) == [PushAnswer()]
        assert stage.broker.counts() == []

    def test_a_refused_group_says_why(self, stage: Stage) -> None:
        (answer,) = stage.broker.push([[after(new_job())]])
        assert answer.refused
        assert answer.jobs == ()

    def test_a_refused_group_stores_none_of_its_jobs(self, stage: Stage) -> None:
        good = new_jobs(3)
        stage.broker.push([[*good, after(new_job())]])
        assert stage.broker.get(ids(good)) == [None] * 3
        assert stage.broker.counts() == []

    def test_a_refused_group_takes_no_unique_key(self, stage: Stage) -> None:
        stage.broker.push([[new_job(unique=Unique("k")), after(new_job())]])
        assert not stage.push(new_job(unique=Unique("k"))).jobs[0].existing

    def test_a_refused_group_harms_no_other(self, stage: Stage) -> None:
        before, behind = new_job(), new_job()
        answers = stage.broker.push([[before], [new_job(), after(new_job())], [behind]])
        assert [answer.refused is None for answer in answers] == [True, False, True]
        assert stage.states([before, behind]) == [JobState.READY] * 2

    def test_a_repeated_id_is_answered_with_the_job_that_is_kept(self, stage: Stage) -> None:
        job = new_job()
        assert stage.push(job).jobs == (PushedJob(job.id, JobState.READY),)
        assert stage.push(replace(job, delay=60)).jobs == (PushedJob(job.id, JobState.READY, existing=True),)
        assert len(stage.claim()) == 1

    def test_an_id_that_stands_twice_in_a_push_is_stored_once(self, stage: Stage) -> None:
        job, tied = new_job(), new_job(unique=Unique("k"))

        for one in (job, tied):
            (group,) = stage.broker.push([[one, one]])
            (again,) = stage.broker.push([[one]])
            assert [pushed.existing for pushed in (*group.jobs, *again.jobs)] == [False, True, True]

    def test_an_id_that_stands_in_two_groups_of_a_push_is_stored_once(self, stage: Stage) -> None:
        for one in (new_job(), new_job(unique=Unique("k"))):
            answers = stage.broker.push([[one], [replace(one, payload=b"other")]])
            assert [pushed.existing for answer in answers for pushed in answer.jobs] == [False, True]
            assert stage.row(one).payload == one.payload

    def test_a_repeated_id_changes_nothing_of_the_job(self, stage: Stage) -> None:
        job = stage.pushed(payload=b"first", priority=5)
        before = stage.row(job)
        stage.push(new_job("mail", id=job.id, payload=b"second", queue="other"))
        assert stage.row(job) == before

    def test_a_repeated_id_of_a_finished_job_does_not_run_again(self, stage: Stage) -> None:
        job = stage.pushed()
        stage.write(stage.claim_one())
        assert [pushed.id for pushed in stage.push(job).jobs] == [job.id]
        assert stage.claim() == []

    def test_a_repeated_group_stores_what_is_missing(self, stage: Stage) -> None:
        first, second = new_jobs(2)
        stage.push(first)
        assert [pushed.existing for pushed in stage.push(first, second).jobs] == [True, False]
        assert len(stage.claim()) == 2

    def test_a_repeated_chain_is_stored_once(self, stage: Stage) -> None:
        parent = new_job()
        child = after(parent)
        stage.push(parent, child)
        stage.push(parent, child)
        stage.write(stage.claim_one())
        assert ids(stage.claim()) == [child.id]

    def test_one_id_twice_in_a_push_is_one_job(self, stage: Stage) -> None:
        job = new_job()
        answers = stage.broker.push([[job], [job]])
        assert [pushed.id for answer in answers for pushed in answer.jobs] == [job.id, job.id]
        assert len(stage.claim()) == 1

    def test_jobs_are_got_in_the_order_asked_for(self, stage: Stage) -> None:
        jobs = new_jobs(5)
        stage.push(*jobs)
        wanted = [jobs[3].id, jobs[0].id, jobs[3].id, jobs[4].id]
        assert [row.id for row in stage.broker.get(wanted) if row] == wanted

    def test_a_job_that_is_not_kept_is_none(self, stage: Stage) -> None:
        job = stage.pushed()
        rows = stage.broker.get([uuid4(), job.id, uuid4()])
        assert [row and row.id for row in rows] == [None, job.id, None]

    def test_getting_nothing_gives_nothing(self, stage: Stage) -> None:
        assert stage.broker.get([]) == []

    def test_sequences_rise_in_the_order_of_pushing(self, stage: Stage) -> None:
        jobs = new_jobs(30)
        stage.push(*jobs[:10])
        stage.push_each(*jobs[10:20])
        stage.push(*jobs[20:])
        sequences = [row.sequence for row in stage.broker.get(ids(jobs)) if row]
        assert sequences == sorted(set(sequences))

    @pytest.mark.parametrize("name", ["черга", "a'b\"c;--", "with space", "x" * 200, "🦀"])
    def test_names_may_hold_any_text(self, stage: Stage, name: str) -> None:
        job = stage.pushed(task=name, queue=name, owner=name, unique=Unique(name))
        claimed = stage.claim_one(tasks=frozenset({name}), queues=(name,))
        assert (claimed.id, claimed.task, claimed.queue, claimed.owner) == (job.id, name, name, name)
        assert claimed.unique_key == name

    @pytest.mark.parametrize("payload", [b"", b"\x00", bytes(range(256)) * 4096])
    def test_a_payload_comes_back_byte_for_byte(self, stage: Stage, payload: bytes) -> None:
        stage.pushed(payload=payload)
        assert stage.claim_one().payload == payload

    @pytest.mark.parametrize("priority", [-100, 0, 100])
    def test_every_priority_is_kept(self, stage: Stage, priority: int) -> None:
        assert stage.row(stage.pushed(priority=priority)).priority == priority

    def test_another_connection_sees_the_job_at_once(self, stage: Stage) -> None:
        other = stage.connect()
        job = stage.pushed()
        assert other.get([job.id]) == stage.broker.get([job.id])

    def test_a_closed_broker_may_be_opened_again(self, stage: Stage) -> None:
        job = stage.pushed()
        stage.broker.close()
        stage.broker.open()
        assert ids(stage.claim()) == [job.id]

    def test_opening_twice_is_opening_once(self, stage: Stage) -> None:
        job = stage.pushed()
        stage.broker.open()
        assert ids(stage.claim()) == [job.id]

    def test_namespaces_never_see_each_others_jobs(self, stage: Stage) -> None:
        job = stage.pushed(unique=Unique("k"))

        try:
            other = stage.connect(namespace="neighbour")
        except BrokerUnusable:
            return  # this store takes one application alone, and says so

        assert other.get([job.id]) == [None]
        assert other.counts() == []

        (answer,) = other.push([[new_job(unique=Unique("k"))]])
        assert not answer.jobs[0].existing
        (answer,) = other.push([[new_job(edges=(Edge(job.id),))]])
        assert answer.refused

    def test_connections_to_one_store_tell_the_same_url(self, stage: Stage) -> None:
        assert stage.broker.url.partition("://")[2]
        assert stage.connect().url == stage.broker.url
