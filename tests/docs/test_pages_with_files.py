"""Pages whose code belongs into several files run as they are written, with a real worker and a real pytest."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.docs.pages import ROOT, blocks

HOWTO = ROOT / "docs" / "howto"


def test_the_page_about_rq_runs_with_a_worker_of_its_own(tmp_path: Path) -> None:
    functions, application, sender, *_ = [block.text for block in blocks(HOWTO / "from-rq.md", "python")]
    write(tmp_path, "app/__init__.py", "")
    write(tmp_path, "app/tasks.py", functions)
    write(tmp_path, "microblog.py", application)
    write(tmp_path, "send.py", f"from microblog import app, queue\n{sender.replace('23', '0')}\nprint(job.get_id())")

    sent = run(tmp_path, "send.py")
    worked = run(tmp_path, "-m", "cherga", "worker", "-A", "microblog:app", "-q", "microblog-tasks", "--burst")
    listed = run(tmp_path, "-m", "cherga", "jobs", "list", "-A", "microblog:app")

    assert f"{sent.strip()} done" in worked
    assert listed.count("\n") == 1, "the worker's import enqueued something"
    assert "succeeded" in listed


def test_the_page_about_testing_runs_under_pytest(tmp_path: Path) -> None:
    application, *_, tests = [block.text for block in blocks(HOWTO / "testing.md", "python")]
    write(tmp_path, "shop.py", application)
    write(tmp_path, "test_shop.py", tests)

    assert "2 passed" in run(tmp_path, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", ".")


def write(folder: Path, name: str, text: str) -> None:
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")


def run(folder: Path, *command: str) -> str:
    """What a Python with these arguments prints."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("CHERGA", "PYTEST"))}
    ran = subprocess.run([sys.executable, *command], cwd=folder, env=kept, capture_output=True, encoding="utf-8", timeout=55)

    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout
