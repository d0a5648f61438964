"""Settings with their defaults and limits. Durations are seconds; every interval works down to 0.05."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
from msgspec import Struct

from cherga.rules.elsewhere import APPLICATION, refused
from cherga.rules.options import LONGEST, shown
from cherga.rules.times import read_span
from cherga.words.errors import ConfigError

SHORTEST_INTERVAL = 0.05


class BrokerSettings(Struct, frozen=True, kw_only=True):
    """The facts that a broker needs beside its URL."""

    namespace: str = "cherga"
    """The application's name. Two namespaces never see each other's jobs."""
    lease: float = 30.0
    """The time for which a session is taken to be alive after its last heartbeat."""
    heartbeat: float = 5.0
    """The interval at which a session is renewed."""
    sweep: float = 5.0
    """The interval at which dead sessions are looked for."""
    crash_cap: int = 3
    """A job whose process died this often, the last time while it ran alone, fails (reason ``poison``)."""
    crash_backoff: tuple[float, ...] = (0.0, 10.0, 60.0)
    """Wait after the first, second, … crash; the last one repeats."""
    result_ttl: float = 86_400.0
    """The time for which a succeeded job and its result are kept."""
    failure_ttl: float = 30 * 86_400.0
    """The time for which failed and cancelled jobs are kept."""
    succeeded_cap: int = 100_000
    """Succeeded jobs kept at most."""
    failed_cap: int = 100_000
    """Failed and cancelled jobs kept at most."""
    busy_timeout: float = 5.0
    """The time that a call waits for a broker that is held by another process before ``BrokerUnavailable``."""
    enqueue_timeout: float = 5.0
    """The time that an enqueue waits for it at most."""


class Settings(Struct, frozen=True, kw_only=True):
    """The settings of an application; each field has a keyword of the same name in ``QueueTasks(...)``."""

    enqueue_timeout: float = 5.0
    """After this long an enqueue raises ``EnqueueUnknown``."""
    max_payload: int = 1 << 20
    """Bytes of encoded arguments, and of an encoded result, at most."""
    max_time: float | None = 3600.0
    """Limit of one run for tasks that set none; None: no limit."""
    code_version: int = 0
    """Number of the code that declares tasks, schedules and limits, such as a deploy's; a lower one changes nothing back."""
    grace: float = 25.0
    """The time that a stopping worker gives running jobs to finish."""
    report_interval: float = 0.1
    """Least time between two stored progress values of one job."""
    lookahead: float = 0.05
    """A worker claims what will start within about this long."""
    claim_limit: int = 1000
    """Jobs in one claim at most."""
    poll_interval: float = 5.0
    """The interval at which an idle worker looks at the broker without being woken."""
    stuck_after: float = 10.0
    """The time that a thread may go on after its time-out or cancellation before its worker process is replaced."""
    stall_limit: float = 60.0
    """The time that the engine of a worker process may stand still before its supervisor kills it."""
    broker: BrokerSettings = BrokerSettings()

    @property
    def result_ttl(self) -> float:
        """Set for the broker too, which ends jobs by itself."""
        return self.broker.result_ttl

    @property
    def failure_ttl(self) -> float:
        """The same for failed and cancelled jobs."""
        return self.broker.failure_ttl


def _plain(value: Any) -> Any:
    """A duration as seconds, anything else as it is."""
    if isinstance(value, timedelta):
        return value.total_seconds()

    span = read_span(value) if isinstance(value, str) and value.rstrip()[-1:].isalpha() else None
    return value if span is None else span


def make_settings(name: str, given: dict[str, Any]) -> Settings:
    """Settings from keywords. Raises ``ConfigError`` for an unknown one or one out of its limits."""
    given = {key: _plain(value) for key, value in given.items()}
    inner = {key: value for key, value in given.items() if key in BrokerSettings.__struct_fields__ and key != "namespace"}
    outer = {key: value for key, value in given.items() if key in Settings.__struct_fields__ and key != "broker"}

    if unknown := set(given) - set(inner) - set(outer):
        raise refused(min(unknown), APPLICATION, "setting")

    try:
        settings = msgspec.convert({**outer, "broker": {**inner, "namespace": name}}, Settings)
    except msgspec.ValidationError as error:
        raise ConfigError(f"a setting is wrong: {error}") from error
    except (ValueError, OverflowError) as error:  # a number of thousands of digits
        raise ConfigError(f"a setting is wrong: expected numbers up to {MOST:,}, got one that cannot be shown") from error

    check(settings)
    return settings


def check(settings: Settings) -> None:
    """Raise ``ConfigError`` that names every setting out of its limits."""
    faults = [*_faults(settings), *_faults(settings.broker)]

    if settings.broker.heartbeat * 2 > settings.broker.lease:
        faults.append(
            f"expected lease to be at least twice heartbeat, got {settings.broker.lease} and {settings.broker.heartbeat}"
        )

    if faults:
        raise ConfigError("; ".join(faults))


_INTERVALS = frozenset(
    {
        "lease",
        "heartbeat",
        "sweep",
        "busy_timeout",
        "enqueue_timeout",
        "poll_interval",
        "report_interval",
        "lookahead",
        "stuck_after",
        "stall_limit",
    }
)
_AT_LEAST_ONE = frozenset({"claim_limit", "max_payload", "crash_cap"})


def _faults(settings: Settings | BrokerSettings) -> list[str]:
    return [
        f"expected {name} to {expected}, got {shown(value)}{' seconds' if expected == _TOO_LONG else ''}"
        for name in settings.__struct_fields__
        if (expected := _expected(name, value := getattr(settings, name)))
    ]


def _expected(name: str, value: object) -> str | None:
    """The value that the setting was to be; None when it is right."""
    if name == "crash_backoff":
        waits = value if isinstance(value, tuple) else ()
        return None if waits and all(0 <= wait <= LONGEST for wait in waits) else _WAITS

    if not isinstance(value, int | float):
        return None

    if name == "max_time" and value == 0:
        return "be more than 0 seconds, or None for no limit"

    if name in _INTERVALS and not value >= SHORTEST_INTERVAL:
        return f"be at least {SHORTEST_INTERVAL} seconds"

    if not value >= (least := int(name in _AT_LEAST_ONE)):
        return "be 1 or more" if least else "be a number, 0 or more"

    if isinstance(value, float):
        return None if value <= LONGEST else _TOO_LONG

    return None if value <= MOST else f"be at most {MOST:,}"


MOST = 2**63 - 1
"""The numbers that every broker can store: those of code may be made of dates."""
_TOO_LONG = "be a hundred years at most"
_WAITS = "hold at least one wait, none of them negative or longer than a hundred years"
