"""``cherga demo``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import click

from cherga.cli.exits import ExitCode
from cherga.cli.output import note

SCRIPT = Path(__file__).resolve().parents[3] / "examples" / "microblog" / "run_demo.py"
"""Beside the package in a checkout; the installed package does not hold it."""

Main = Callable[[Sequence[str]], int]


@click.command("demo", context_settings={"ignore_unknown_options": True})
@click.argument("args", nargs=-1, type=click.UNPROCESSED)
def demo(args: tuple[str, ...]) -> int:
    """Start the example application: a small blog with exports, mail and a live progress bar.

    ARGS go to the example; --check tries it without a person and exits with 0 or 1.
    """
    return run_script(SCRIPT, args)


def run_script(script: Path, args: Sequence[str]) -> int:
    """Run the script's ``main``; a sentence where it is not there or lacks a package."""
    if not script.exists():
        note("the example is part of the source repository, not of the installed package; clone it and run ./dev demo there")
        return ExitCode.FAILED

    try:
        main = _load_main(script)
    except ModuleNotFoundError as error:
        note(f"the example needs the package {error.name!r}; ./dev demo installs what it needs and starts it")
        return ExitCode.FAILED

    return main(args)


def _load_main(script: Path) -> Main:
    spec = spec_from_file_location("run_demo", script)
    assert spec is not None
    assert spec.loader is not None

    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    main: Main = module.main
    return main
