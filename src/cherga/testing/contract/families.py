"""Children: whose they are, how they stand, and a wish that goes for all of them."""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec
import pytest

from cherga.doors.broker import Topic
from cherga.testing.contract.stage import SOON, Stage, after, ids, new_job, new_jobs
from cherga.words.inspection import Family, JobFilter
from cherga.words.job import JobState, Progress, Reason
from cherga.words.push import GROUP_TASK, NewJob
from cherga.words.report import Report
from cherga.words.unique import Unique

PAGE = 100


class Parenting:
    """The parent of a job, ``families`` and ``JobFilter.parent``."""

    def test_the_parent_is_kept(self, stage: Stage) -> None:
        parent = new_job()
        child = stage.pushed(parent=parent.id)
        assert stage.row(child).parent == parent.id
        assert stage.row(stage.pushed()).parent is None

    def test_a_parent_keeps_nobody_waiting_and_need_not_be_kept(self, stage: Stage) -> None:
        child = stage.pushed(parent=new_job().id)
        assert ids(stage.claim()) == [child.id]

    def test_children_are_found_newest_first(self, stage: Stage) -> None:
        parent, other = new_jobs(2)
        children = new_jobs(4, parent=parent.id)
        stage.push(*children, parent, *new_jobs(2, parent=other.id))
        assert ids(stage.broker.find(JobFilter(parent=parent.id))) == ids(children)[::-1]
        page = stage.broker.find(JobFilter(parent=parent.id), limit=2)
        assert ids(stage.broker.find(JobFilter(parent=parent.id), before=page[-1].sequence)) == ids(children)[1::-1]

    def test_children_are_found_by_what_else_is_asked(self, stage: Stage) -> None:
        parent = new_job()
        done, mail = new_job(parent=parent.id), new_job("mail", parent=parent.id, owner="user:7", queue="letters")
        stage.push(done)
        stage.write(stage.claim_one())
        stage.push(mail, new_job("mail", owner="user:7"))

        for restriction in (
            JobFilter(parent=parent.id, unfinished=True),
            JobFilter(parent=parent.id, states=frozenset({JobState.READY})),
            JobFilter(parent=parent.id, task="mail"),
            JobFilter(parent=parent.id, queue="letters"),
            JobFilter(parent=parent.id, owner="user:7"),
        ):
            assert ids(stage.broker.find(restriction)) == [mail.id]

    def test_those_that_a_job_waits_for_are_found(self, stage: Stage) -> None:
        first, second = new_jobs(2)
        last = after(first, second)
        stage.push(first, second, last, new_job())
        awaited = JobFilter(awaited_by=last.id)
        assert ids(stage.broker.find(awaited)) == [second.id, first.id]
        assert stage.broker.find(JobFilter(awaited_by=first.id)) == []

        for job in stage.claim(limit=2):
            stage.write(job)

        assert stage.state(last) is JobState.READY
        assert ids(stage.broker.find(awaited)) == [second.id, first.id]

    def test_who_stands_in_for_one_that_is_waited_for_is_found(self, stage: Stage) -> None:
        key = Unique("only one")
        holder, second = stage.pushed(unique=key), new_job(unique=key)
        group = after(second, task=GROUP_TASK)
        stage.push(second, group)
        assert ids(stage.broker.find(JobFilter(awaited_by=group.id))) == [holder.id]
        stage.write(stage.claim_one())
        assert stage.state(group) is JobState.SUCCEEDED
        assert ids(stage.broker.find(JobFilter(awaited_by=group.id))) == [holder.id]

    def test_a_job_without_children_has_an_empty_family(self, stage: Stage) -> None:
        job = stage.pushed()
        assert stage.broker.families([job.id, new_job().id]) == [Family(), Family()]
        assert stage.broker.families([]) == []

    def test_a_family_counts_where_its_children_stand(self, stage: Stage) -> None:
        parent = new_job()
        stage.push(*new_jobs(3, parent=parent.id), *new_jobs(2, parent=parent.id, delay=60), *new_jobs(2))
        first, second, _ = stage.claim(3)
        stage.write(first)
        stage.write(second, JobState.FAILED)
        (family,) = stage.broker.families([parent.id])
        assert family.counts == {
            JobState.SUCCEEDED: 1,
            JobState.FAILED: 1,
            JobState.RUNNING: 1,
            JobState.SCHEDULED: 2,
        }
        assert (family.total, family.done) == (5, 2.0)

    def test_families_come_in_the_order_asked_for(self, stage: Stage) -> None:
        parents = new_jobs(3)

        for number, parent in enumerate(parents):
            stage.push(*new_jobs(number + 1, parent=parent.id))

        asked = [parents[2].id, parents[0].id, parents[2].id, parents[1].id]
        assert [family.total for family in stage.broker.families(asked)] == [3, 1, 3, 2]

    def test_what_runs_counts_by_its_progress(self, stage: Stage) -> None:
        parent = new_job()
        stage.push(*new_jobs(5, parent=parent.id))
        half, over, unknown, ended, _ = stage.claim()
        stage.write(ended)

        for job, progress in ((half, Progress(2, 4)), (over, Progress(9, 3)), (unknown, Progress(7))):
            packed = msgspec.msgpack.encode(progress)
            assert stage.broker.report([Report(job.id, job.sequence, job.token, progress=packed)]) == [True]

        (family,) = stage.broker.families([parent.id])
        assert family.done == pytest.approx(1 + 0.5 + 1)

    def test_what_no_longer_runs_counts_by_its_end_alone(self, stage: Stage) -> None:
        parent = new_job()
        stage.pushed(parent=parent.id)
        job = stage.claim_one()
        stage.write(job, JobState.READY, progress=msgspec.msgpack.encode(Progress(2, 4)))
        assert stage.broker.families([parent.id]) == [Family({JobState.READY: 1})]

    def test_children_that_were_deleted_no_longer_count(self, stage: Stage) -> None:
        parent = new_job()
        stage.push(*new_jobs(2, parent=parent.id))
        first, second = stage.claim()
        stage.write(first, keep=0)
        stage.write(second, keep=10)
        stage.pass_time(11)
        stage.broker.prune()
        assert stage.broker.families([parent.id]) == [Family()]
        assert stage.broker.find(JobFilter(parent=parent.id)) == []

    def test_a_parent_goes_without_its_children(self, stage: Stage) -> None:
        parent = stage.ended(keep=10)
        child = stage.pushed(parent=parent.id)
        stage.pass_time(11)
        assert stage.broker.prune() == 1
        assert stage.row(child).parent == parent.id
        assert stage.broker.families([parent.id])[0].total == 1


class CancellingFamilies:
    """``move`` with ``family``."""

    def test_children_are_cancelled_with_their_parent(self, stage: Stage) -> None:
        parent, children = _family(stage, 3)
        assert stage.broker.move([parent.id], JobState.CANCELLED, "enough", family=True) == [parent.id]
        rows = [stage.row(job) for job in (parent, *children)]
        assert {(row.state, row.reason, row.message) for row in rows} == {(JobState.CANCELLED, Reason.ASKED, "enough")}
        assert stage.claim() == []

    def test_without_the_wish_children_are_left_alone(self, stage: Stage) -> None:
        parent, children = _family(stage, 2)
        stage.broker.move([parent.id], JobState.CANCELLED)
        stage.tidy()
        assert stage.states(children) == [JobState.READY] * 2

    def test_every_kind_of_unfinished_child_is_reached(self, stage: Stage) -> None:
        parent = stage.started()
        ready, scheduled = new_job(parent=parent.id), new_job(parent=parent.id, delay=60)
        blocked = after(parent, parent=parent.id)
        stage.push(ready, scheduled, blocked)
        stage.broker.move([parent.id], JobState.CANCELLED, family=True)
        assert stage.states([ready, scheduled, blocked]) == [JobState.CANCELLED] * 3
        assert stage.state(parent) is JobState.RUNNING
        assert [cancel.id for cancel in stage.broker.heartbeat(["worker.1"]).cancels] == [parent.id]

    def test_children_that_run_are_told_to_stop(self, stage: Stage) -> None:
        parent, children = _family(stage, 2, delay=60)
        assert {job.id for job in stage.claim()} == {child.id for child in children}

        with stage.broker.listen([Topic.CANCEL]) as listener:
            stage.broker.move([parent.id], JobState.CANCELLED, family=True)
            assert listener.wait(SOON)

        assert {cancel.id for cancel in stage.broker.heartbeat(["worker.1"]).cancels} == {child.id for child in children}

    def test_children_that_have_ended_stay_as_they_are(self, stage: Stage) -> None:
        parent, children = _family(stage, 2, delay=60)
        first, second = stage.claim()
        stage.write(first)
        stage.write(second, JobState.FAILED)
        before = [stage.row(child) for child in children]
        stage.broker.move([parent.id], JobState.CANCELLED, family=True)
        stage.tidy()
        assert [stage.row(child) for child in children] == before

    def test_children_of_children_are_cancelled_too(self, stage: Stage) -> None:
        line = [new_job()]

        while len(line) < 8:
            line.append(new_job(parent=line[-1].id, delay=60))

        stage.push(*line)
        stage.broker.move([line[0].id], JobState.CANCELLED, "enough", family=True)
        stage.tidy()
        assert stage.states(line) == [JobState.CANCELLED] * 8
        assert {(stage.row(job).reason, stage.row(job).message) for job in line} == {(Reason.ASKED, "enough")}

    def test_children_of_a_child_that_runs_are_cancelled_too(self, stage: Stage) -> None:
        parent, (child,) = _family(stage, 1, delay=60)
        job = stage.claim_one()
        grandchild = stage.pushed(parent=child.id)
        stage.broker.move([parent.id], JobState.CANCELLED, family=True)
        stage.tidy()
        assert (job.id, stage.state(grandchild)) == (child.id, JobState.CANCELLED)

    @pytest.mark.parametrize("end", [JobState.SUCCEEDED, JobState.FAILED])
    def test_a_parent_that_has_ended_does_not_save_its_children(self, stage: Stage, end: JobState) -> None:
        parent = stage.ended(end)
        children = new_jobs(2, parent=parent.id)
        stage.push(*children)
        assert stage.broker.move([parent.id], JobState.CANCELLED, family=True) == []
        stage.tidy()
        assert stage.state(parent) is end
        assert stage.states(children) == [JobState.CANCELLED] * 2

    def test_a_parent_that_is_not_kept_does_not_save_its_children(self, stage: Stage) -> None:
        parent = new_job()
        children = new_jobs(2, parent=parent.id)
        stage.push(*children)
        assert stage.broker.move([parent.id], JobState.CANCELLED, family=True) == []
        stage.tidy()
        assert stage.states(children) == [JobState.CANCELLED] * 2

    def test_a_large_family_goes_in_pages(self, stage: Stage) -> None:
        parent, children = _family(stage, 250)
        stage.broker.move([parent.id], JobState.CANCELLED, family=True)
        assert stage.states(children).count(JobState.CANCELLED) == PAGE
        assert stage.broker.promote(limit=40).next_in == 0.0
        assert PAGE < stage.states(children).count(JobState.CANCELLED) <= PAGE + 40
        stage.tidy()
        assert Counter(stage.states(children)) == {JobState.CANCELLED: 250}
        assert stage.broker.promote().next_in is None

    def test_the_rest_of_a_wish_outlives_the_end_of_the_parent(self, stage: Stage) -> None:
        parent = stage.started()
        children = new_jobs(150, parent=parent.id)
        stage.push(*children)
        stage.broker.move([parent.id], JobState.CANCELLED, family=True)
        stage.write(parent, JobState.CANCELLED, keep=0)
        stage.broker.close()
        stage.broker.open()
        stage.tidy()
        assert Counter(stage.states(children)) == {JobState.CANCELLED: 150}

    def test_a_wish_is_heard_of_by_those_who_tidy(self, stage: Stage) -> None:
        parent, _ = _family(stage, 150)

        with stage.broker.listen([Topic.DUE]) as listener:
            stage.broker.move([parent.id], JobState.CANCELLED, family=True)
            assert listener.wait(SOON)

    def test_a_cancelled_child_is_an_end_for_those_behind_it(self, stage: Stage) -> None:
        parent, (child,) = _family(stage, 1)
        stage.push(behind := after(child))
        stage.broker.move([parent.id], JobState.CANCELLED, family=True)
        stage.tidy()
        assert stage.row(behind).reason is Reason.UPSTREAM

    def test_families_of_several_parents_go_in_one_call(self, stage: Stage) -> None:
        families = [_family(stage, 2) for _ in range(3)]
        parents = [parent.id for parent, _ in families]
        assert set(stage.broker.move(parents, JobState.CANCELLED, family=True)) == set(parents)
        stage.tidy()
        assert [stage.states(children) for _, children in families] == [[JobState.CANCELLED] * 2] * 3

    def test_children_do_not_run_again_with_their_parent(self, stage: Stage) -> None:
        parent, children = _family(stage, 2)
        stage.broker.move([parent.id], JobState.CANCELLED, family=True)
        stage.tidy()
        assert stage.broker.move([parent.id], JobState.READY, family=True) == [parent.id]
        stage.tidy()
        assert stage.states(children) == [JobState.CANCELLED] * 2

    def test_jobs_that_are_each_others_parents_come_to_an_end(self, stage: Stage) -> None:
        first, second = new_jobs(2)
        stage.push(msgspec.structs.replace(first, parent=second.id), msgspec.structs.replace(second, parent=first.id))
        stage.claim()
        stage.broker.move([first.id], JobState.CANCELLED, family=True)
        stage.tidy()
        assert {cancel.id for cancel in stage.broker.heartbeat(["worker.1"]).cancels} == {first.id, second.id}


def _family(stage: Stage, size: int, **parent: Any) -> tuple[NewJob, list[NewJob]]:
    """A parent with these fields and so many ready children."""
    head = new_job(**parent)
    children = new_jobs(size, parent=head.id)
    stage.push(head, *children)
    return head, children
