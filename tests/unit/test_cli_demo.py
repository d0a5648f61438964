"""``cherga demo`` finds its script, or says how to get it."""

from __future__ import annotations

from pathlib import Path

import pytest

from cherga.cli.demo import find_script, run_script
from tests.docs.pages import ROOT


def test_in_a_checkout_the_script_is_the_example() -> None:
    assert find_script() == ROOT / "examples" / "microblog" / "run_demo.py"
    assert find_script().exists()


def test_the_script_gets_the_arguments_and_gives_the_code(tmp_path: Path) -> None:
    script = tmp_path / "run.py"
    script.write_text("def main(argv):\n    return 7 if list(argv) == ['--check'] else 0\n", encoding="utf-8")

    assert run_script(script, ["--check"]) == 7


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "but it is not there; install Cherga anew"),
        ("import no_such_package\n", "the example needs the package 'no_such_package'; pip install 'cherga[demo]'"),
    ],
)
def test_what_is_missing_is_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str | None, words: str
) -> None:
    script = tmp_path / "run.py"

    if text is not None:
        script.write_text(text, encoding="utf-8")

    assert run_script(script, []) == 1
    assert words in capsys.readouterr().err
