"""The reference pages say what the code says: nothing missing, nothing invented."""

from __future__ import annotations

from ast import literal_eval
from collections.abc import Iterator

from cherga.cli.exits import ExitCode
from cherga.rules.settings import BrokerSettings, Settings
from cherga.words import errors
from cherga.worker.options import Exit
from tests.docs.pages import ROOT, code, rows

REFERENCE = ROOT / "docs" / "reference"


def test_every_setting_stands_in_the_reference_with_its_default() -> None:
    documented = {code(row[0]): literal_eval(code(row[1])) for row in rows(REFERENCE / "settings.md") if len(row) == 3}

    assert documented == dict(_settings())


def test_every_error_stands_in_the_reference_under_its_parent() -> None:
    documented = {code(row[0]): code(row[1]) for row in rows(REFERENCE / "errors.md")}

    assert documented == dict(_errors(errors.ChergaError))


def test_the_tree_drawn_in_the_module_is_the_tree_of_classes() -> None:
    lines = (errors.__doc__ or "").splitlines()
    drawn = [line.lstrip("│├└─ ").split()[0] for line in lines if line.startswith(("Cherga", "│", "├", "└", "   "))]

    assert sorted(drawn) == sorted(name for name, _ in _errors(errors.ChergaError))


def test_every_exit_code_stands_in_the_reference() -> None:
    documented = {code(row[1]): int(code(row[0])) for row in rows(REFERENCE / "exit-codes.md")}

    assert documented == {code.name: code.value for code in ExitCode}


def test_the_worker_and_the_command_line_agree_on_their_codes() -> None:
    shared = {code.value for code in ExitCode} | {Exit.EXHAUSTED}

    assert {code.value for code in Exit} <= shared


def _settings() -> Iterator[tuple[str, object]]:
    for kind, left_out in ((Settings, "broker"), (BrokerSettings, "namespace")):
        for name in kind.__struct_fields__:
            if name != left_out:
                yield name, getattr(kind(), name)


def _errors(kind: type[Exception]) -> Iterator[tuple[str, str]]:
    yield kind.__name__, kind.__bases__[0].__name__

    for child in kind.__subclasses__():
        if child.__module__.startswith("cherga."):
            yield from _errors(child)
