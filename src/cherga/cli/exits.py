"""Exit codes of the command line. Documented in ``docs/reference/exit-codes.md``."""

from __future__ import annotations

from enum import IntEnum

from cherga.words.errors import (
    BrokerError,
    ChergaError,
    ConfigError,
    LoadError,
    MissingExtra,
    ResultTimeout,
    TaskError,
    UnknownBroker,
)


class ExitCode(IntEnum):
    """The codes of all commands; 3 to 7, and 9, mean the same for ``cherga worker``."""

    OK = 0
    """Done; the job that was waited for succeeded; the worker drained."""
    FAILED = 1
    """The job that was waited for failed or was cancelled, or what was asked could not be done."""
    USAGE = 2
    """The command line is wrong: an option, an argument, or a job's arguments."""
    LOAD = 3
    """The application cannot be loaded."""
    BROKER = 4
    """The broker cannot be reached or used."""
    CONFIG = 5
    """A setting is wrong."""
    CRASHED = 6
    """The worker's processes kept dying at the start."""
    STOPPED = 7
    """The worker was stopped while jobs ran; they were given back and will run again."""
    TIMEOUT = 8
    """The wait ended before the job did. The job goes on."""
    UNPROVEN = 9
    """``cherga worker --strict`` found something that speaks against its start."""
    INTERRUPTED = 130
    """Ctrl-C."""
    PIPE_CLOSED = 141
    """The reader of the output went away."""


_BY_ERROR: tuple[tuple[type[ChergaError], ExitCode], ...] = (
    (LoadError, ExitCode.LOAD),
    (BrokerError, ExitCode.BROKER),
    (UnknownBroker, ExitCode.BROKER),
    (MissingExtra, ExitCode.BROKER),
    (ConfigError, ExitCode.CONFIG),
    (TaskError, ExitCode.USAGE),
    (ResultTimeout, ExitCode.TIMEOUT),
)


def exit_code(error: ChergaError) -> ExitCode:
    """The code that a command ends with when it raises ``error``."""
    return next((code for kind, code in _BY_ERROR if isinstance(error, kind)), ExitCode.FAILED)
