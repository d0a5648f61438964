"""Where a database of SQLAlchemy is, in the words of a worker."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.pool import NullPool

from cherga import JobFailed, QueueTasks
from cherga.contrib.sqlalchemy_tables import Database, file_of, is_in_memory, look_at, prove_tables
from cherga.words.proof import Finding, Plan


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:////var/lib/shop.db", "/var/lib/shop.db"),
        ("sqlite+aiosqlite:////var/lib/shop.db?timeout=5", "/var/lib/shop.db"),
        ("sqlite:////var/lib/../lib/shop.db", "/var/lib/shop.db"),
        ("sqlite:///file:/var/lib/shop.db?uri=true&mode=rw", "/var/lib/shop.db"),
    ],
)
def test_a_file_is_known_by_its_whole_path(url: str, path: str) -> None:
    assert file_of(sa.make_url(url)) == path


def test_a_relative_path_begins_at_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    assert file_of(sa.make_url("sqlite:///shop.db")) == str(tmp_path / "shop.db")


@pytest.mark.parametrize(
    "url", ["sqlite://", "sqlite:///:memory:", "sqlite:///file::memory:?uri=true", "sqlite:///file:shared?mode=memory&uri=true"]
)
def test_what_is_kept_in_memory_is_known(url: str) -> None:
    assert is_in_memory(sa.make_url(url))
    assert not is_in_memory(sa.make_url("postgresql://db/shop"))


@pytest.mark.parametrize(
    ("pool", "is_enough"), [({"pool_size": 0}, True), ({"max_overflow": -1}, True), ({"pool_size": 1}, False)]
)
def test_a_pool_without_a_limit_is_always_enough(tmp_path: Path, pool: dict[str, int], is_enough: bool) -> None:
    engine = sa.create_engine(f"sqlite:///{tmp_path}/shop.db", **pool)
    found = list(look_at([Database(engine, ())], Plan(threads=100, concurrency=1, target="shop")))
    engine.dispose()

    assert ([finding for finding in found if not finding.proven] == []) is is_enough


def test_connections_that_are_not_pooled_are_as_many_as_are_wanted(tmp_path: Path) -> None:
    engine = sa.create_engine(f"sqlite:///{tmp_path}/shop.db", poolclass=NullPool)
    found = list(look_at([Database(engine, ())], Plan(threads=100, concurrency=1, target="shop")))

    assert found == [Finding("database", f"{tmp_path}/shop.db, no file yet"), Finding("tables", "0 verified")]
    assert list(tmp_path.iterdir()) == []


def test_an_application_without_flask_proves_its_tables_too(app: QueueTasks, tmp_path: Path) -> None:
    engine = sa.create_engine(f"sqlite:///{tmp_path}/shop.db", poolclass=NullPool)
    metadata = sa.MetaData()
    sa.Table("user", metadata, sa.Column("id", sa.Integer, primary_key=True))
    prove_tables(app, engine, metadata, "run: shop init")
    words = f"expected the table user in {tmp_path}/shop.db, but there is no such file; run: shop init"

    @app.task
    def count() -> None:
        with engine.connect() as connection:
            connection.execute(sa.text("select * from user"))

    plan = Plan(threads=1, concurrency=1, target="shop")
    assert [finding.text for proof in app.proofs for finding in proof(plan)] == [words]

    with (
        app.worker(),
        pytest.raises(JobFailed, match=f"no such table: user; expected the table user in {tmp_path}/shop.db, but"),
    ):
        count.enqueue().result(10)
