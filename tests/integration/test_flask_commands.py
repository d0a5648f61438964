"""``flask cherga …``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from flask import Flask
from flask.cli import ScriptInfo

from cherga import LoadError
from cherga.contrib.flask_commands import find_target

SHOP = """
from flask import Flask, current_app
from cherga.contrib.flask import Cherga

cherga = Cherga(name="shop")


@cherga.task
def greet(name: str) -> str:
    return f"{current_app.name} greets {name}"


def create_app(town="Kyiv"):
    app = Flask(f"shop in {town}", instance_path=INSTANCE)
    cherga.init_app(app)
    return app
"""


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A folder with an application in it."""
    (tmp_path / "shop.py").write_text(f"INSTANCE = {str(tmp_path / 'instance')!r}\n{SHOP}", encoding="utf-8")
    return tmp_path


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("FLASK_", "CHERGA_"))}
    command = [sys.executable, "-m", "flask", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, encoding="utf-8", timeout=40)


def test_a_worker_runs_jobs_of_the_application_that_flask_finds(shop: Path) -> None:
    app = ("--app", "shop:create_app('Lviv')", "cherga")
    enqueued = run(shop, *app, "jobs", "enqueue", "greet", "Ann")
    worked = run(shop, *app, "worker", "--burst")
    shown = run(shop, *app, "jobs", "show", "--json", enqueued.stdout.strip())

    assert (enqueued.returncode, worked.returncode, shown.returncode) == (0, 0, 0), worked.stderr
    job = json.loads(shown.stdout)
    assert (job["state"], job["result"]) == ("succeeded", "shop in Lviv greets Ann")


def test_help_is_given_without_an_application_and_anything_else_says_what_is_missing(tmp_path: Path) -> None:
    helped = run(tmp_path, "cherga", "--help")
    failed = run(tmp_path, "cherga", "jobs", "list")

    assert helped.returncode == 0
    assert "worker" in helped.stdout
    assert failed.returncode == 3
    assert failed.stderr.startswith("cherga: Flask could not load")
    assert "Traceback" not in failed.stderr


def make_shop() -> Flask:
    return Flask("shop")


def test_worker_processes_are_told_what_flask_was_told() -> None:
    assert find_target(ScriptInfo(app_import_path="shop:create_app('Lviv')")) == "flask:shop:create_app('Lviv')"
    assert find_target(ScriptInfo()) == "flask:"
    assert find_target(ScriptInfo(create_app=make_shop)) == f"{__name__}:make_shop"


def test_a_factory_that_no_other_process_can_import_is_refused_with_the_other_way() -> None:
    with pytest.raises(LoadError, match="use cherga -A package:create_app instead"):
        find_target(ScriptInfo(create_app=lambda: Flask("shop")))


@pytest.mark.parametrize(("made", "target"), [("create_app()", "kiosk:create_app"), ("app = create_app()", "kiosk:app")])
def test_whoever_waits_without_a_worker_is_told_the_flask_application_or_its_factory(
    tmp_path: Path, made: str, target: str
) -> None:
    site = SHOP.replace('Flask(f"shop in {town}", instance_path=INSTANCE)', "Flask(__name__)")
    (tmp_path / "kiosk").mkdir()
    (tmp_path / "kiosk" / "__init__.py").write_text(f"{site}\n\n{made}\n", encoding="utf-8")
    program = "import kiosk; print(kiosk.greet.enqueue('Ada').explain().obstacles[0])"
    ran = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)

    assert ran.stdout.strip() == f"no worker is alive; cherga worker -A {target}", ran.stderr
