"""Which command, which application, which exit code: what the command line decides before it does anything."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from cherga.cli import main, root
from cherga.cli.exits import ExitCode, exit_code
from cherga.cli.foreign import COMMANDS, WORKER_OPTIONS
from cherga.cli.lazy import LazyGroup
from cherga.cli.namespace import namespace_in, queue_file
from cherga.cli.target import Target, choose_target, read_environment
from cherga.cli.worker import worker
from cherga.words import errors
from cherga.worker.options import Exit


def test_worker_and_command_line_agree_on_the_codes() -> None:
    ours = {code.name: code.value for code in ExitCode}
    renamed = {"STOPPED": Exit.INTERRUPTED.value}
    workers = {code.name: code.value for code in Exit if code not in (Exit.INTERRUPTED, Exit.EXHAUSTED)} | renamed

    assert {name: ours[name] for name in workers} == workers


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.LoadError("x"), ExitCode.LOAD),
        (errors.BrokerUnusable("x"), ExitCode.BROKER),
        (errors.BrokerUnavailable("x"), ExitCode.BROKER),
        (errors.UnknownBroker("x"), ExitCode.BROKER),
        (errors.MissingExtra("x"), ExitCode.BROKER),
        (errors.ConfigError("x"), ExitCode.CONFIG),
        (errors.InvalidArguments("x"), ExitCode.USAGE),
        (errors.UnknownTask("x"), ExitCode.USAGE),
        (errors.ResultTimeout("x"), ExitCode.TIMEOUT),
        (errors.JobNotFound("x"), ExitCode.FAILED),
        (errors.EnqueueRefused("x"), ExitCode.FAILED),
    ],
)
def test_every_kind_of_error_has_its_code(error: errors.ChergaError, code: ExitCode) -> None:
    assert exit_code(error) is code


def test_every_command_can_be_loaded_and_has_the_name_it_is_listed_under() -> None:
    assert list(_misnamed(root, click.Context(root))) == []


def _misnamed(group: LazyGroup, ctx: click.Context) -> list[str]:
    found = [(name, group.get_command(ctx, name)) for name in group.list_commands(ctx)]
    below = [text for _, command in found if isinstance(command, LazyGroup) for text in _misnamed(command, ctx)]
    return [f"{name}: {command}" for name, command in found if command is None or command.name != name] + below


def test_an_unknown_command_offers_the_nearest() -> None:
    with pytest.raises(click.UsageError, match="unknown command 'lst'; did you mean 'list'"):
        root.main(["jobs", "lst"], standalone_mode=False)


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_a_command_of_another_system_is_answered_with_commands_that_exist(name: str) -> None:
    with pytest.raises(click.UsageError, match=re.escape(f"unknown command {name!r}; {COMMANDS[name]}")):
        root.main([name], standalone_mode=False)

    for line in re.findall(r"'cherga ([^']+)'", COMMANDS[name]):
        assert _is_known(line.split()), line


def _is_known(words: list[str]) -> bool:
    group, *below = words

    if below and below[0].isalpha() and below[0].islower():
        found = root.get_command(click.Context(root), group)
        return isinstance(found, LazyGroup) and below[0] in found.entries

    return group in root.entries


@pytest.mark.parametrize("option", sorted(WORKER_OPTIONS))
def test_an_option_of_another_systems_worker_is_answered(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["worker", "-A", "shop:app", option]) == ExitCode.USAGE

    message = capsys.readouterr().err
    assert message == f"cherga: no such option {option!r}; {WORKER_OPTIONS[option]} (see cherga worker --help)\n"
    known = {name for param in worker.params for name in param.opts}
    assert set(re.findall(r"(?<!\S)--?[a-z-]+", WORKER_OPTIONS[option])) <= known


def test_an_argument_that_is_missing_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion"]) == ExitCode.USAGE
    assert capsys.readouterr().err.count("\n") == 1


def test_a_commands_own_target_goes_before_the_one_before_the_command_and_that_before_the_environment() -> None:
    ctx = click.Context(root, obj=Target(app="before", url="sqlite:///before.db"))

    assert choose_target(ctx, Target(url="sqlite:///own.db")) == Target("before", "sqlite:///own.db")
    assert Target(app="own").else_take(Target(app="else", namespace="shop")) == Target("own", None, "shop")


def test_the_environment_names_application_and_namespace_but_leaves_the_url_to_the_application() -> None:
    environment = {"CHERGA_APP": "shop:app", "CHERGA_NAMESPACE": "shop", "CHERGA_BROKER_URL": "sqlite:///x.db"}

    assert read_environment(environment) == Target(app="shop:app", namespace="shop")


def test_only_sqlite_urls_have_a_queue_file() -> None:
    assert queue_file("sqlite:////var/lib/queue%20file.db?durability=process") == Path("/var/lib/queue file.db")
    assert queue_file("sqlite:///here.db") == Path("here.db").absolute()
    assert queue_file("redis://localhost/0") is None
    assert queue_file("sqlite://") is None


def test_what_is_no_queue_file_has_no_namespace(tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text(
        "not a database, but long enough to look like a file with a header of sorts" * 3, encoding="utf-8"
    )

    assert namespace_in(f"sqlite:///{tmp_path}/text.db") is None
    assert namespace_in(f"sqlite:///{tmp_path}/missing.db") is None
    assert namespace_in("redis://localhost/0") is None
    assert not (tmp_path / "missing.db").exists()
