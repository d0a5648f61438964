"""Words from elsewhere: options as other systems call them, and our own ones in another place than theirs.

Where they would silently do nothing they are refused, with the word that is meant and the place where it is said.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from msgspec import Struct

from cherga.rules.options import nearest, shown
from cherga.words.errors import ConfigError
from cherga.words.job import JobState
from cherga.words.later import difflib

CLOSE_ENOUGH = 0.75
"""The likeness, from 0 to 1, at which a word is taken for a slip of the pen."""
LIKE_A_FOREIGN_ONE = 0.88
"""The same for words of other systems, which are many."""
SHORTEST_FOREIGN_SLIP = 8
"""Letters."""

Answers = Mapping[str, str]
"""Answers to words of other systems: our word, our word with a part of its value, or a sentence."""


def _answers(words: Mapping[str, str]) -> Answers:
    """Each answer with the words that it answers."""
    return {_plain(word): answer for answer, several in words.items() for word in several.split()}


def _plain(word: str) -> str:
    """``maxRetries``, ``max-retries`` and ``MAX_RETRIES`` are one word."""
    return word.lower().replace("_", "").replace("-", "")


OF_TASKS = _answers(
    {
        "aliases": "alias",
        "batch": "batch_size flush_every max_batch_size",
        "batch_wait": "batch_timeout batch_window flush_interval",
        "catch_up": "coalesce misfire_grace_time",
        "cron": "cron_string crontab periodic schedule",
        "description": "desc",
        "echo": "bind context pass_context",
        "every": "interval run_every",
        "executor": "base on_bound",
        "expires": "max_age",
        "failure_ttl": "store_errors_even_if_ignored",
        "max_running": "concurrency concurrency_limit max_concurrency max_instances",
        "max_time": "job_timeout soft_time_limit task_time_limit task_timeout time_limit timeout",
        "name": "actor_name task_name",
        "on_crash": "acks_late acks_on_failure_or_timeout reject_on_worker_lost",
        "priority": "prio",
        "queue": "queue_name routing_key",
        "rate": "rate_limit",
        "rate_limit": "rate throttle",
        "result_ttl": "ignore_result keep_result keep_result_s result_expires ttl",
        "retry": "attempts max_attempts max_retries max_retry max_tries retries retry_kwargs retry_on_error retry_policy",
        "retry=Retry(backoff=…)": "backoff default_retry_delay max_backoff min_backoff retry_backoff retry_backoff_max"
        " retry_delay retry_intervals",
        "retry=Retry(give_up_on=…)": "abort_on dont_autoretry_for throws",
        "retry=Retry(jitter=…)": "jitter retry_jitter use_jitter",
        "retry_on_exc": "autoretry_for retry_exceptions retry_for retry_on retry_when",
        "run_at": "defer_until eta run_date schedule_at scheduled_at",
        "run_in": "countdown defer_by delay delay_seconds schedule_in",
        "timezone": "tz",
        "unique": "dedup dedupe idempotency_key lock once queueing_lock singleton uniq",
        "unique_for": "debounce lock_ttl lock_timeout",
        "middlewares_before": "middleware",
        "connect a handler with @app.on.succeeded, or make a chain of this task and the next": "on_complete on_success",
        "connect a handler with @app.on.failed": "errback on_error on_failure on_retry_exhausted",
        "connect a handler with @app.on.started": "on_start",
        "connect a handler with @app.on.retried": "on_retry",
        "connect a handler with @app.on.cancelled": "on_stopped",
        "connect a handler with @app.on.started, or give middlewares_before": "before_start",
        "connect a handler with @app.on.succeeded, or give middlewares_after": "after_return",
        "leave it out, for it is always so": "store_results track_started",
        "leave it out: arguments and results are MessagePack": "serializer",
        "give the jobs that hurry a priority: task.using(priority=100).enqueue(…)": "at_front",
    }
)
OF_ONE_JOB = _answers(
    {
        "after": "depends_on",
        "after_policy": "allow_dependency_failures",
        "expires": "ttl",
        "id": "job_id task_id",
        "make a chain: chain(task.s(…), other.s())": "link",
        "use using(after=[job], after_policy='ended') of the other task, or @app.on.failed": "link_error",
    }
)
OF_AN_RQ_JOB = _answers(
    {
        "depends_on": "after",
        "job_id": "id",
        "job_timeout": "max_time timeout time_limit",
        "ttl": "expires",
        "use enqueue_in(delay, …)": "countdown delay run_in",
        "use enqueue_at(moment, …)": "eta run_at",
    }
)
OF_A_SCHEDULE = _answers(
    {
        "cron": "day day_of_week hour minute month second trigger weekday",
        "every": "days hours minutes seconds weeks",
    }
)
OF_AN_APPLICATION = _answers(
    {
        "broker_url": "broker database_url db dsn redis_url url",
        "crash_cap": "max_crashes",
        "grace": "graceful_timeout shutdown_timeout stop_timeout",
        "lease": "visibility_timeout",
        "lookahead": "prefetch prefetch_count prefetch_multiplier",
        "poll_interval": "poll_delay polling_interval",
        "concurrency": "worker_concurrency",
        "give the application's name first, as in QueueTasks('shop', …)": "app_name name namespace",
        "leave it out: the broker keeps the results, too": "backend result_backend",
        "list the modules with app.tasks_from(…)": "imports include",
        "use app.testing(inline=True), which runs each job before its enqueue returns": "always_eager immediate"
        " task_always_eager",
    }
)


STATES = _answers(
    {
        "blocked": "deferred",
        "cancelled": "abandoned aborted canceled revoked stopped",
        "failed": "dead discarded error errored failure",
        "ready": "available enqueued new pending queued waiting",
        "running": "active executing processing progress started",
        "scheduled": "delayed retry retrying retryable",
        "succeeded": "complete completed done finished ok success successful",
    }
)
"""The states of jobs, by what other systems call them."""


def read_state(word: JobState | str) -> JobState:
    """The state of that name. Raises ``ConfigError`` that names the one which is meant."""
    try:
        return JobState(word)
    except ValueError:
        meant = STATES.get(_plain(word)) if isinstance(word, str) else None
        hint = f"; did you mean {meant!r}?" if meant else nearest(str(word), [state.value for state in JobState])
        raise ConfigError(f"unknown state {shown(word)}{hint}") from None


class Place(Struct, frozen=True):
    """The places where words of ours are said, and how those of other systems are answered there."""

    said: str
    words: frozenset[str]
    answers: tuple[Answers, ...] = (OF_TASKS, OF_ONE_JOB)


def _place(said: str, words: str, *answers: Answers) -> Place:
    return Place(said, frozenset(words.split()), answers)


TASK = _place(
    "a task: @app.task({}=…)",
    "name aliases queue priority retry retry_on_exc max_time batch batch_wait unique unique_while unique_for on_conflict"
    " max_running rate_limit key cron every timezone catch_up catch_up_cap result_ttl failure_ttl on_crash tags description"
    " extra echo executor middlewares_before middlewares_after generate_handler decode awaiting",
    OF_TASKS,
    OF_ONE_JOB,
)
JOB = _place(
    "a job: task.using({}=…).enqueue(…)",
    "queue priority run_in run_at expires owner description tags headers id after after_policy unique unique_while unique_for"
    " on_conflict key retry max_time result_ttl failure_ttl on_crash when session",
    OF_ONE_JOB,
    OF_TASKS,
)
RQ_JOB = _place(
    'a job: app.queue("name").enqueue(…, {}=…)',
    "args kwargs job_timeout result_ttl failure_ttl ttl job_id depends_on at_front meta on_success on_failure"
    " description retry",
    OF_AN_RQ_JOB,
    OF_ONE_JOB,
    OF_TASKS,
)
QUEUE = _place("a queue: app.limit(queue=…, {}=…)", "max_running rate max_length overflow", OF_TASKS)
SCHEDULE = _place(
    "a schedule: app.schedule(…, {}=…)", "cron every timezone catch_up catch_up_cap", OF_A_SCHEDULE, OF_TASKS, OF_ONE_JOB
)
APPLICATION = _place(
    "the application: QueueTasks(…, {}=…)",
    "broker_url enqueue_timeout max_payload result_ttl failure_ttl max_time code_version grace report_interval lookahead"
    " claim_limit poll_interval stuck_after stall_limit lease heartbeat sweep crash_cap crash_backoff succeeded_cap failed_cap"
    " busy_timeout",
    OF_AN_APPLICATION,
    OF_TASKS,
)
WORKER = _place("a worker: cherga worker --{} …", "processes threads concurrency")
PLACES = (TASK, JOB, QUEUE, SCHEDULE, APPLICATION, WORKER)


def ours(word: str, here: Place) -> str | None:
    """Our word here for one of another system, or for itself."""
    if word in here.words:
        return word

    return next((answer for answer in _answers_to(word, here) if _fits(answer, here)), None)


def refusal(word: str, here: Place, noun: str = "option", where: str = "") -> ConfigError | None:
    """The error for a word that is none of ours here, but means something; None for one that means nothing to us."""
    hint = _hint(word, here)
    return None if hint is None else ConfigError(f"unknown {noun} {word!r}{where}; {hint}")


def refused(word: str, here: Place, noun: str = "option", where: str = "") -> ConfigError:
    """The error for a word that is none of ours here, where nothing else may be said."""
    return refusal(word, here, noun, where) or ConfigError(f"unknown {noun} {word!r}{where}{nearest(word, here.words)}")


def _hint(word: str, here: Place) -> str | None:
    found = _answers_to(word, here)

    if (fitting := next((answer for answer in found if _fits(answer, here)), None)) is not None:
        return _did_you_mean(fitting)

    if any(word in place.words for place in PLACES):
        return _say_there(word, here)

    if found:
        return found[0] if " " in found[0] else _say_there(found[0], here)

    slip = slip_of(word, here.words)
    return f"did you mean {slip!r}?" if slip else _foreign_slip(word, here)


def _answers_to(word: str, here: Place) -> list[str]:
    return [answers[_plain(word)] for answers in here.answers if _plain(word) in answers]


def slip_of(word: str, known: Iterable[str]) -> str | None:
    """The known word that was meant by one that is nearly the same."""
    words = sorted(known)
    same = next((each for each in words if _is_nearly(_plain(word), _plain(each))), None)
    return same or next(iter(difflib.get_close_matches(word.lower(), words, n=1, cutoff=CLOSE_ENOUGH)), None)


def _is_nearly(one: str, other: str) -> bool:
    """The same word, or with two neighbouring letters swapped."""
    unlike = [at for at, (mine, yours) in enumerate(zip(one, other, strict=False)) if mine != yours]

    if len(one) != len(other) or len(unlike) > 2:
        return False

    return not unlike or (sorted(one) == sorted(other) and unlike[1] - unlike[0] == 1)


def _foreign_slip(word: str, here: Place) -> str | None:
    known = [each for answers in here.answers for each in answers]
    close = [each for each in known if _is_nearly(_plain(word), each)]

    if len(word) >= SHORTEST_FOREIGN_SLIP:
        close += difflib.get_close_matches(_plain(word), known, n=1, cutoff=LIKE_A_FOREIGN_ONE)

    return _hint(close[0], here) if close else None


def _fits(answer: str, here: Place) -> bool:
    name, is_part, _ = answer.partition("=")
    return name in here.words and not (is_part and here is not TASK)


def _did_you_mean(answer: str) -> str:
    name, is_part, _ = answer.partition("=")
    return f"did you mean {name!r}? As in {answer}" if is_part else f"did you mean {name!r}?"


def _say_there(answer: str, here: Place) -> str:
    """The place where a word is said. One that may be said of a task or of a job is said of the job, where one is meant."""
    name, is_part, _ = answer.partition("=")
    places = (JOB, *PLACES) if here in (RQ_JOB, SCHEDULE) and not is_part else PLACES
    said = next(place.said for place in places if name in place.words)
    return f"say it of {said.replace('{}=…', answer) if is_part else said.format(name)}"
