"""Inheritance between processes: a worker begins with usual signals and open standard streams, whoever started it; so do
the children that its jobs fork; and as process 1 of a container it looks after orphans."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Container
from types import FrameType

Handler = Callable[[int, FrameType | None], None]

IGNORED_BY_PYTHON = {getattr(signal, name) for name in ("SIGPIPE", "SIGXFZ", "SIGXFSZ") if hasattr(signal, name)}
"""``subprocess`` gives these back to what it starts."""

_own_handlers: dict[int, Handler] = {}
_forking = threading.local()


def unblock_signals() -> None:
    """Let every signal in, and learn of the ends of children."""
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    _stop_ignoring(signal.SIGCHLD)


def reset_signals() -> None:
    """Leave nothing blocked or ignored: programs that jobs start would inherit it."""
    unblock_signals()

    for number in signal.valid_signals() - IGNORED_BY_PYTHON:
        _stop_ignoring(number)


def handle_signals(handler: Handler, *numbers: signal.Signals) -> None:
    """Handle these signals in this process alone: a child that it forks has the usual handlers of a Python program."""
    if not _own_handlers:
        os.register_at_fork(before=_hold_signals, after_in_parent=_release_signals, after_in_child=_forget_handlers)

    for number in numbers:
        _own_handlers[number] = handler
        signal.signal(number, handler)


def open_standard_streams() -> None:
    """Streams that were closed lead nowhere: else the next file or socket would be taken for one, here or in a child."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)  # the lowest number that is free
            os.set_inheritable(opened, True)

        if getattr(sys, name) is None:
            setattr(sys, name, open(number, "r" if name == "stdin" else "w", closefd=False))  # noqa: SIM115 (for good)


def reap_orphans(own: Container[int]) -> None:
    """Let ended processes go that were left to this one, which is process 1; its ``own`` children are asked elsewhere."""
    if os.getpid() != 1:
        return

    while (ended := _find_ended()) is not None and ended not in own:
        os.waitpid(ended, os.WNOHANG)


def _find_ended() -> int | None:
    try:
        found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return None

    return found.si_pid if found else None


def _stop_ignoring(number: int) -> None:
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, _usual(number))


def _usual(number: int) -> Handler | signal.Handlers:
    return signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL


def _hold_signals() -> None:
    """Hold signals: one that comes before the child has its handlers waits for them; it would be lost with ours."""
    _forking.mask = signal.pthread_sigmask(signal.SIG_BLOCK, _own_handlers)


def _release_signals() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, _forking.mask)


def _forget_handlers() -> None:
    signal.set_wakeup_fd(-1)

    for number, handler in _own_handlers.items():
        if signal.getsignal(number) is handler:
            signal.signal(number, _usual(number))

    _own_handlers.clear()
    _release_signals()
