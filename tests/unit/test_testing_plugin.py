"""The pytest plugin, in test runs of its own."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import cherga.testing.kit
import cherga.worker.load  # noqa: F401 (the inner runs forget what they import; they are to find these)
import cherga_pytest

pytest_plugins = ["pytester"]

PYPROJECT = Path(__file__).resolve().parents[2] / "pyproject.toml"
BARE = ("--disable-plugin-autoload", "-p", "no:cacheprovider", "--strict-markers", "-W", "error")

SHOP = """
from cherga import QueueTasks

app = QueueTasks("shop", "sqlite:////nowhere/at/all.db")


@app.task
def double(value: int) -> int:
    return 2 * value
"""


@pytest.fixture
def shop(pytester: pytest.Pytester) -> pytest.Pytester:
    pytester.makepyfile(shop=SHOP)
    return pytester


def run(shop: pytest.Pytester, test: str) -> pytest.RunResult:
    shop.makepyfile(test_shop=test)
    return shop.runpytest_inprocess(*BARE, plugins=[cherga_pytest])


def test_the_entry_point_names_the_plugin() -> None:
    points = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]["entry-points"]

    assert points["pytest11"] == {"cherga": "cherga_pytest"}


def test_a_test_opens_the_kit_of_an_application(shop: pytest.Pytester) -> None:
    ran = run(
        shop,
        """
        from shop import app, double

        def test_drained(cherga_testing):
            with cherga_testing(app) as kit:
                double.enqueue(2)
                kit.assert_enqueued(double, 2)
                assert kit.drain().succeeded == 1

        def test_inline(cherga_testing):
            with cherga_testing(app, inline=True):
                assert double.enqueue(2).result(0) == 4
        """,
    )

    ran.assert_outcomes(passed=2)


def test_a_failed_expectation_ends_at_the_line_of_the_test(shop: pytest.Pytester) -> None:
    ran = run(
        shop,
        """
        from shop import app, double

        def test_missing(cherga_testing):
            with cherga_testing(app) as kit:
                kit.assert_enqueued(double, 2)
        """,
    )

    ran.assert_outcomes(failed=1)
    ran.stdout.fnmatch_lines(
        ["*kit.assert_enqueued(double, 2)", "E *expected a job double(value=2), found none; nothing was enq*"]
    )
    ran.stdout.no_fnmatch_line("*expecting.py*")


def test_a_marker_names_application_and_mode(shop: pytest.Pytester) -> None:
    ran = run(
        shop,
        """
        import pytest
        from shop import app, double

        @pytest.mark.cherga(app)
        def test_manual(cherga_kit):
            double.enqueue(2)
            assert cherga_kit.drain().succeeded == 1

        @pytest.mark.cherga("shop:app", inline=True)
        def test_inline(cherga_kit):
            assert double.enqueue(2).result(0) == 4
            assert len(cherga_kit.enqueued()) == 1
        """,
    )

    ran.assert_outcomes(passed=2)


def test_the_application_may_stand_in_the_configuration(shop: pytest.Pytester) -> None:
    shop.makeini("[pytest]\ncherga_app = shop:app\n")
    ran = run(
        shop,
        """
        import pytest
        from shop import double

        def test_manual(cherga_kit):
            double.enqueue(2)
            cherga_kit.assert_enqueued(double)

        @pytest.mark.cherga(inline="raise")
        def test_inline(cherga_kit):
            assert double.enqueue(2).result(0) == 4
        """,
    )

    ran.assert_outcomes(passed=2)


def test_without_an_application_the_message_says_where_to_name_it(shop: pytest.Pytester) -> None:
    ran = run(shop, "def test_lost(cherga_kit): ...")

    ran.assert_outcomes(errors=1)
    ran.stdout.fnmatch_lines(['*expected to be told the application: @pytest.mark.cherga(app), or cherga_app = "module:app"*'])


def test_a_start_of_pytest_loads_nothing_of_cherga(tmp_path: Path) -> None:
    program = (
        "import sys, cherga_pytest; print([name for name in sys.modules if name.partition('.')[0] in ('cherga', 'msgspec')])"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, check=True, capture_output=True, encoding="utf-8", timeout=30
    )

    assert ran.stdout.strip() == "[]"
