"""The built wheel, in an environment that holds nothing else, works as the checkout does."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "cherga"
EXAMPLE = ROOT / "examples" / "microblog"

pytestmark = pytest.mark.timeout(180)

APPLICATION = """
from cherga import QueueTasks

app = QueueTasks("letters", "sqlite:///letters.db")


@app.task
def write(name: str) -> str:
    return f"Dear {name}"


@app.task
async def sign(name: str) -> str:
    return f"Yours, {name}"
"""

ENQUEUE = "import letters; print(letters.write.enqueue('Ada').id, letters.sign.enqueue('Grace').id)"
READ = "import sys, letters; print([letters.app.get(id).result(timeout=0) for id in sys.argv[1:]])"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    _run(sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", folder, cwd=ROOT)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def programs(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ``bin`` of an environment into which nothing but the wheel was installed."""
    return _install(str(wheel), tmp_path_factory.mktemp("empty environment"))


def _install(what: str, folder: Path) -> Path:
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    _run(sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--retries", "1", what, cwd=folder)
    return python.parent


def test_the_wheel_holds_every_file_of_the_package_and_of_the_example_and_no_other(wheel: Path) -> None:
    folders = (EXAMPLE / "demo", EXAMPLE / "microblog", EXAMPLE.parent / "stage")
    example = [EXAMPLE / "run_demo.py", *(path for folder in folders for path in folder.rglob("*"))]
    kept = [path.relative_to(PACKAGE.parent).as_posix() for path in PACKAGE.parent.rglob("*") if path.is_file()]
    shown = [f"cherga/{path.relative_to(ROOT).as_posix()}" for path in example if path.is_file()]
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}

    assert packed == {name for name in (*kept, *shown) if "__pycache__" not in name}
    assert "cherga/py.typed" in packed
    assert "cherga/examples/microblog/run_demo.py" in packed


def test_the_wheel_carries_its_licence(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()

    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)


def test_a_job_runs_from_the_wheel_alone(programs: Path, tmp_path: Path) -> None:
    (tmp_path / "letters.py").write_text(APPLICATION, encoding="utf-8")
    ids = _run(programs / "python", "-c", ENQUEUE, cwd=tmp_path).split()
    _run(programs / "cherga", "worker", "-A", "letters:app", "--burst", cwd=tmp_path)

    assert _run(programs / "python", "-c", READ, *ids, cwd=tmp_path).strip() == "['Dear Ada', 'Yours, Grace']"


def test_the_demo_works_from_the_wheel(wheel: Path, tmp_path: Path) -> None:
    programs = _install(f"{wheel}[demo]", tmp_path / "with the demo")

    assert "All is well" in _run(programs / "cherga", "demo", "--check", cwd=tmp_path)


def test_the_extra_and_what_a_checkout_installs_for_the_demo_are_the_same() -> None:
    told = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))

    assert told["project"]["optional-dependencies"]["demo"] == told["dependency-groups"]["demo"]


def _run(*command: str | Path, cwd: Path) -> str:
    """What the command printed. The checkout stays out of its sight."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "CHERGA", "VIRTUAL_ENV"))}
    ran = subprocess.run([str(word) for word in command], cwd=cwd, env=kept, capture_output=True, encoding="utf-8", timeout=120)

    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout
