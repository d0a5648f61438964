"""The tree of errors is the one that its module draws."""

from __future__ import annotations

import re
from uuid import UUID

import pytest

from cherga import ChergaError, EnqueueUnknown, JobCancelled, JobFailed, RetryLater, Snooze, TaskCancelError
from cherga.words import errors

ID = UUID("01890a5d-ac96-774b-bcce-b302099a8057")
KINDS = {name: kind for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, Exception)}


def drawn_parents() -> dict[str, str]:
    """Each error in the drawing with the one it hangs on."""
    parents: dict[str, str] = {}
    above: dict[int, str] = {0: "ChergaError"}

    for line in (errors.__doc__ or "").splitlines():
        if found := re.match(r"([│ ]*)[├└]── (\w+)", line):
            depth = len(found[1]) // 4 + 1
            above[depth] = found[2]
            parents[found[2]] = above[depth - 1]

    return parents


def test_the_drawing_holds_every_error_where_it_hangs() -> None:
    assert drawn_parents() == {name: kind.__bases__[0].__name__ for name, kind in KINDS.items() if kind is not ChergaError}


def test_every_error_of_cherga_is_caught_by_its_root() -> None:
    assert all(issubclass(kind, ChergaError) for kind in KINDS.values())


@pytest.mark.parametrize("wish", [RetryLater(), Snooze(1), TaskCancelError()])
def test_a_wish_is_no_error_of_cherga(wish: Exception) -> None:
    assert not isinstance(wish, ChergaError)


def test_a_failed_job_shows_the_remote_traceback() -> None:
    error = JobFailed(ID, "error", "ValueError", "no such post", "Traceback …\nValueError: no such post")

    assert str(error).startswith(f"job {ID} failed (error): ValueError: no such post\n\nTraceback")
    assert (error.job_id, error.reason, error.type_name) == (ID, "error", "ValueError")
    assert str(JobFailed(ID, "poison", "poison", "", "")) == f"job {ID} failed (poison): poison: "


def test_a_cancelled_job_shows_who_did_it_and_why() -> None:
    assert str(JobCancelled(ID, "asked", "wrong file")) == f"job {ID} was cancelled (asked): wrong file"
    assert str(JobCancelled(ID, "expired")) == f"job {ID} was cancelled (expired)"


def test_an_unknown_enqueue_carries_the_id_to_repeat_it_with() -> None:
    assert EnqueueUnknown("no answer", ID).job_id == ID
