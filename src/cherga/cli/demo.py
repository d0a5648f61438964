"""``cherga demo``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import click

from cherga.cli.exits import ExitCode
from cherga.cli.output import note

PLACE = Path("examples", "microblog", "run_demo.py")
PACKAGE = Path(__file__).resolve().parents[1]
HOMES = (PACKAGE, PACKAGE.parents[1])
"""The places where the example may be: inside the installed package, or beside it in a checkout."""

Main = Callable[[Sequence[str]], int]


@click.command("demo", context_settings={"ignore_unknown_options": True})
@click.argument("args", nargs=-1, type=click.UNPROCESSED)
def demo(args: tuple[str, ...]) -> int:
    """Start the example application: a small blog with exports, mail and a live progress bar.

    ARGS go to the example; --check tries it without a person and exits with 0 or 1. It needs the extra: cherga[demo].
    """
    return run_script(find_script(), args)


def find_script() -> Path:
    """The example's script, where there is one."""
    found = [home / PLACE for home in HOMES]
    return next((script for script in found if script.exists()), found[0])


def run_script(script: Path, args: Sequence[str]) -> int:
    """Run the script's ``main``; a sentence where it is not there or lacks a package."""
    if not script.exists():
        note(
            f"expected the example at {script}, but it is not there; install Cherga anew: pip install --force-reinstall cherga"
        )
        return ExitCode.FAILED

    try:
        main = _load_main(script)
    except ModuleNotFoundError as error:
        note(f"the example needs the package {error.name!r}; pip install 'cherga[demo]' (in a checkout ./dev demo does it)")
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
