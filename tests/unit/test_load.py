"""Finding the application: every way to name it, and one clear line where that fails."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cherga import LoadError
from cherga.worker.load import load_app

Write = Callable[[str, str], str]


@pytest.fixture
def write(tmp_path: Path) -> Iterator[Write]:
    """Writes a module where it can be imported, and forgets it afterwards."""
    path, known = list(sys.path), set(sys.modules)
    sys.path.insert(0, str(tmp_path))

    def write(name: str, text: str) -> str:
        file = tmp_path / Path(*name.split(".")).with_suffix(".py")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("from cherga import QueueTasks\n" + textwrap.dedent(text), encoding="utf-8")
        return name

    yield write
    sys.path[:] = path

    for name in set(sys.modules) - known:
        del sys.modules[name]


ONE = "queue = QueueTasks('shop', 'memory://')\n"
FLASK = """
import flask
app = flask.Flask("shop")
def create_app():
    return app
"""
CARRIER = "class Site:\n    extensions = {'cherga': QueueTasks('shop', 'memory://')}\n"


@pytest.mark.parametrize(
    ("text", "attribute"),
    [
        (ONE, ""),
        (ONE + "again = queue\n", ""),
        (ONE, ":queue"),
        (ONE + "class Holder:\n    inner = queue\n", ":Holder.inner"),
        (ONE + "def make():\n    return queue\n", ":make"),
        (ONE + "def make():\n    return queue\n", ":make()"),
        (CARRIER + "site = Site()\n", ":site"),
        (CARRIER + "def create_app():\n    return Site()\n", ":create_app"),
        (CARRIER + "def create_app():\n    return Site()\n", ""),
        (CARRIER + "app = Site()\n", ""),
        (CARRIER + "app = Site()\ndef create_app():\n    raise RuntimeError('a second application')\n", ""),
    ],
)
def test_an_application_is_found(write: Write, text: str, attribute: str) -> None:
    write("found_shop", text)

    assert load_app(f"found_shop{attribute}").name == "shop"


def test_a_module_in_a_package_is_found(write: Write) -> None:
    write("found_package.inner", ONE)

    assert load_app("found_package.inner:queue").name == "shop"


@pytest.mark.parametrize(
    ("text", "target", "words"),
    [
        ("", "lost_nowhere:app", "expected a module named 'lost_nowhere' (from 'lost_nowhere:app'), but there is none in"),
        ("", "lost_shop.inner:app", "'lost_shop.inner'"),
        (ONE, "lost_shop:quue", "module 'lost_shop' has no 'quue' (from 'lost_shop:quue'); did you mean 'queue'?"),
        (
            "import not_installed_anywhere",
            "lost_shop",
            "it needs a module named 'not_installed_anywhere', which is not installed",
        ),
        ("1 / 0", "lost_shop", "lost_shop.py:2: ZeroDivisionError: division by zero"),
        ("def broken(", "lost_shop", "importing 'lost_shop' failed: SyntaxError"),
        ("raise SystemExit('no')", "lost_shop", "importing 'lost_shop' ended the interpreter (SystemExit: no)"),
        ("", "lost_shop", "expected one QueueTasks in module 'lost_shop', found none; name it: lost_shop:NAME"),
        (
            ONE + "other = QueueTasks('b', 'memory://')",
            "lost_shop",
            "expected one QueueTasks in module 'lost_shop', found 2 (queue, other); name",
        ),
        ("queue = 7", "lost_shop:queue", "expected 'lost_shop:queue' to be a QueueTasks, a factory of one, or an application"),
        ("def make():\n    return 7", "lost_shop:make", "got 7"),
        ("async def make():\n    return 7", "lost_shop:make", "plain function, but it is async def"),
        (
            "def make(config, *, town, port=1):\n    return 7",
            "lost_shop:make",
            "expected the factory 'lost_shop:make' to need no arguments, but it needs config, town; give them defaults",
        ),
        ("def make():\n    1 / 0", "lost_shop:make", "the factory 'lost_shop:make' failed at "),
        ("def make():\n    1 / 0", "lost_shop:make", "lost_shop.py:3: ZeroDivisionError: division by zero"),
        ("def make(): ...", "lost_shop:make", "to return an application, got None; does it end with return app?"),
        (FLASK, "lost_shop", "expected the Flask application 'lost_shop' to have a Cherga, but it has none; make one"),
        (FLASK, "lost_shop:create_app", "expected the Flask application 'lost_shop:create_app' to have a Cherga"),
        (FLASK, "lost_shop.py:app", "expected the Flask application 'lost_shop.py:app' to have a Cherga"),
        (
            "from lost_shop import later\nlater = 1",
            "lost_shop",
            "modules import each other: import tasks inside the factory, or let the worker do it with cherga.tasks_from(",
        ),
        ("def make():\n    raise SystemExit('no')", "lost_shop:make", "lost_shop:make"),
        ("", "", "importing '' failed"),
        ("", ":queue", "importing '' failed"),
    ],
)
def test_an_application_that_cannot_be_loaded_is_one_clear_line(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, target: str, words: str
) -> None:
    write("lost_shop", text)
    monkeypatch.chdir(tmp_path)

    with pytest.raises(LoadError) as caught:
        load_app(target)

    message = str(caught.value)
    assert words in message
    assert len(message.splitlines()) == 1


def test_the_cause_is_kept_for_those_who_want_the_whole_story(write: Write) -> None:
    write("lost_cause", "1 / 0")

    with pytest.raises(LoadError) as caught:
        load_app("lost_cause")

    assert isinstance(caught.value.__cause__, ZeroDivisionError)


# --- files


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("filed_shop", "{}/filed_shop.py"),
        ("filed_shop", "{}/filed_shop.py:queue"),
        ("filed_shop.__init__", "{}/filed_shop"),
        ("filed_shop.__init__", "{}/filed_shop:queue"),
        ("filed_shop.__init__", "{}/filed_shop/__init__.py"),
    ],
)
def test_a_file_names_its_module(write: Write, tmp_path: Path, name: str, target: str) -> None:
    write(name, ONE)
    sys.path.remove(str(tmp_path))

    assert load_app(target.format(tmp_path)).name == "shop"
    assert "filed_shop" in sys.modules


def test_a_file_is_found_from_the_working_directory(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write("filed_here", ONE)
    monkeypatch.chdir(tmp_path)

    for target in ("filed_here.py", "./filed_here.py", "filed_here.py:queue"):
        assert load_app(target).name == "shop"


def test_a_file_in_a_package_has_the_name_that_others_import_it_by(write: Write, tmp_path: Path) -> None:
    write("filed_package.__init__", "")
    write("filed_package.jobs.__init__", "")
    write("filed_package.jobs.mail", ONE)

    assert load_app(f"{tmp_path}/filed_package/jobs/mail.py").name == "shop"
    assert "filed_package.jobs.mail" in sys.modules


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("./nowhere.py:app", "expected a file nowhere.py (from './nowhere.py:app'), but there is none in"),
        ("{}", "which is no package"),
    ],
)
def test_a_file_that_is_none_is_answered(tmp_path: Path, target: str, words: str) -> None:
    with pytest.raises(LoadError) as caught:
        load_app(target.format(tmp_path))

    assert words in str(caught.value)
