"""Jobs of a Flask application leave with the transaction of ``db.session``, and at the latest with their request."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask, abort, render_template_string
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, scoped_session, sessionmaker

from cherga import ConfigError, Job, JobFailed, JobHeld, JobState, group
from cherga.contrib.flask import Cherga
from cherga.contrib.sqlalchemy import follow


class Model(DeclarativeBase):
    """What the tables inherit."""


class Site:
    """The application of the chapter on background jobs, as far as launching one goes."""

    def __init__(self, folder: Path, db_first: bool = True, **options: Any) -> None:
        self.db = SQLAlchemy(model_class=Model, disable_autonaming=True)
        self.cherga = Cherga(name="site", **({"sqlalchemy": self.db} | options))
        self.export = self.cherga.task(name="export_posts")(lambda user: user)
        self.app = Flask("site", instance_path=str(folder))
        self.app.config["SECRET_KEY"] = "secret"
        self.app.config["SQLALCHEMY_DATABASE_URI"] = "sqlite:///site.db"
        self.app.config["CHERGA"] = {"broker_url": f"memory://{folder.parent.name}-{folder.name}"}

        for extension in (self.db, self.cherga) if db_first else (self.cherga, self.db):
            extension.init_app(self.app)

        with self.app.app_context():
            self.db.create_all()

    def launch(self, name: str = "export_posts", user: int = 7) -> Job[Any]:
        """Enqueue, add a row with the job's id, and leave the commit to who called."""
        job = self.cherga.queue("default").enqueue(name, user)
        self.db.session.add(Entry(id=job.get_id()))
        return job

    def view(self, work: Callable[[], object]) -> int:
        """Let a request do this; the status of the answer."""
        self.app.view_functions["page"] = lambda: str(work())

        if "page" not in {rule.endpoint for rule in self.app.url_map.iter_rules()}:
            self.app.add_url_rule("/", "page")

        self.app.config["PROPAGATE_EXCEPTIONS"] = False
        return self.app.test_client().get("/").status_code

    def look(self) -> None:
        """Any query: it leaves a transaction open."""
        self.db.session.execute(sa.text("select 1"))

    @property
    def stored(self) -> list[str]:
        return [str(job.id) for job in self.cherga.jobs()]

    @property
    def committed(self) -> list[str]:
        with self.app.app_context():
            return list(self.db.session.scalars(sa.select(Entry.id)))


class Entry(Model):
    """A row about a job."""

    __tablename__ = "entry"

    id: Mapped[str] = mapped_column(sa.String(36), primary_key=True)


NewSite = Callable[..., Site]


@pytest.fixture
def new_site(tmp_path: Path) -> Iterator[NewSite]:
    made: list[Site] = []

    def new_site(**options: Any) -> Site:
        made.append(Site(tmp_path / f"site{len(made)}", **options))
        return made[-1]

    yield new_site

    for site in made:
        site.cherga.close()

        with site.app.app_context():
            site.db.engine.dispose()


@pytest.fixture
def site(new_site: NewSite) -> Site:
    return new_site()


def test_a_launch_leaves_with_the_commit_of_the_view(site: Site) -> None:
    seen: list[object] = []

    def work() -> None:
        site.look()
        job = site.launch()
        seen.extend((str(job.status), list(site.stored), site.cherga.get(job.id) is job))
        site.db.session.commit()
        seen.extend((str(job.status), site.stored == [str(job.id)]))

    assert site.view(work) == 200
    assert seen == ["held", [], True, "ready", True]
    assert site.stored == site.committed


def test_a_rollback_in_the_view_drops_the_launch(site: Site) -> None:
    def work() -> None:
        site.look()
        site.launch()
        site.db.session.rollback()

    assert site.view(work) == 200
    assert (site.stored, site.committed) == ([], [])


@pytest.mark.parametrize("db_first", [True, False], ids=["db first", "cherga first"])
def test_what_is_held_when_the_request_ends_leaves_then(new_site: NewSite, db_first: bool) -> None:
    site = new_site(db_first=db_first)
    held: list[Job[Any]] = []

    def work() -> None:
        site.look()
        held.append(site.export.enqueue(7))
        assert site.stored == []

    assert site.view(work) == 200
    assert [job.status for job in held] == [JobState.READY]
    assert site.stored == [str(held[0].id)]


def test_a_request_of_a_test_that_has_pushed_a_context_ends_all_the_same(site: Site) -> None:
    def work() -> None:
        site.look()
        site.export.enqueue(7)

    with site.app.app_context():
        site.look()
        mine = site.export.enqueue(1)

        assert site.view(work) == 200
        assert len(site.stored) == 1
        assert mine.status == "held"

    assert len(site.stored) == 2


@pytest.mark.parametrize("hook", ["teardown_request", "teardown_appcontext"])
def test_an_application_that_commits_when_the_request_ends_is_waited_for(site: Site, hook: str) -> None:
    seen: list[object] = []

    def commit(error: BaseException | None) -> None:
        seen.append(list(site.stored))
        site.db.session.commit()

    getattr(site.app, hook)(commit)

    def work() -> None:
        site.look()
        site.launch()

    assert site.view(work) == 200
    assert seen == [[]]
    assert len(site.stored) == 1
    assert site.committed == site.stored


@pytest.mark.parametrize("db_first", [True, False], ids=["db first", "cherga first"])
def test_an_error_that_nobody_handles_drops_what_is_held(new_site: NewSite, db_first: bool) -> None:
    site = new_site(db_first=db_first)
    held: list[Job[Any]] = []

    def work() -> None:
        site.look()
        held.append(site.launch())
        raise ValueError("no")

    assert site.view(work) == 500
    assert [job.status for job in held] == ["dropped"]
    assert site.stored == []


@pytest.mark.parametrize("fails", [False, True], ids=["success", "error"])
def test_what_a_command_holds_leaves_with_its_success_alone(site: Site, fails: bool) -> None:
    @site.app.cli.command("launch")
    def launch() -> None:
        site.look()
        site.export.enqueue(7)

        if fails:
            raise ValueError("no")

    result = site.app.test_cli_runner().invoke(args=["launch"])

    assert isinstance(result.exception, ValueError) == fails
    assert len(site.stored) == (not fails)


def test_a_rollback_after_a_failed_flush_drops_the_launch_though_the_view_goes_on(site: Site) -> None:
    def work() -> None:
        site.look()
        site.launch()
        site.db.session.add_all([Entry(id="same"), Entry(id="same")])

        try:
            site.db.session.commit()
        except sa.exc.IntegrityError:
            site.db.session.rollback()

    assert site.view(work) == 200
    assert site.stored == []


def test_a_session_that_is_closed_in_the_view_leaves_the_launch_to_the_end_of_the_request(site: Site) -> None:
    def work() -> None:
        site.look()
        site.export.enqueue(7)
        site.db.session.close()
        assert site.stored == []

    assert site.view(work) == 200
    assert len(site.stored) == 1


@pytest.mark.parametrize("wrote", [True, False], ids=["wrote", "only read"])
def test_a_view_that_gives_up_without_a_rollback_hears_that_its_job_leaves_and_its_row_does_not(
    site: Site, caplog: pytest.LogCaptureFixture, wrote: bool
) -> None:
    def work() -> None:
        site.look()

        if wrote:
            site.launch()
        else:
            site.export.enqueue(7)

        abort(404)

    assert site.view(work) == 404
    assert len(site.stored) == 1
    assert site.committed == []
    told = [record.getMessage() for record in caplog.records if record.name == "cherga.departure"]
    lost = f"jobs leave although what their session had written was never committed: export_posts {site.stored[0]}; "
    assert told == [lost + "commit it, or roll it back, which drops them"] * wrote


def test_without_a_transaction_a_job_leaves_at_once_and_can_be_waited_for(site: Site) -> None:
    def work() -> object:
        site.look()
        site.db.session.commit()
        return site.export.enqueue(7).result(20)

    with site.cherga.worker():
        assert site.view(work) == 200


def test_a_view_that_waits_for_what_it_holds_is_told_to_commit_first(site: Site) -> None:
    errors: list[str] = []

    def work() -> None:
        site.look()

        try:
            site.export.enqueue(7).result(20)
        except JobHeld as error:
            errors.append(str(error))

    assert site.view(work) == 200
    assert ["commit first" in error for error in errors] == [True]


def test_the_page_of_the_same_request_shows_a_held_job_as_one_that_waits(site: Site) -> None:
    def work() -> str:
        site.look()
        job = site.export.using(description="Exporting…").enqueue(7)
        page = render_template_string("{{ cherga_progress(job) }}", job=job)
        assert 'state="held"' in page
        assert "Waiting" in page
        return page

    assert site.view(work) == 200


def test_a_group_that_is_held_is_shown_as_one_that_waits_too(site: Site) -> None:
    def work() -> str:
        site.look()
        page = render_template_string("{{ cherga_progress(job) }}", job=group(site.export.s(7), site.export.s(8)).enqueue())
        assert 'state="held"' in page
        return page

    assert site.view(work) == 200


@pytest.mark.parametrize("db_first", [True, False], ids=["db first", "cherga first"])
def test_the_extension_takes_flask_sqlalchemy_by_itself(new_site: NewSite, db_first: bool) -> None:
    site = new_site(sqlalchemy=None, db_first=db_first)

    with site.app.app_context():
        site.look()
        assert site.export.enqueue(7).status == "held"


def test_it_follows_nothing_where_it_was_told_so(new_site: NewSite) -> None:
    site = new_site(sqlalchemy=False)

    with site.app.app_context():
        site.look()
        assert site.export.enqueue(7).status is JobState.READY

        with pytest.raises(ConfigError, match="expected the application site to have Flask-SQLAlchemy"):
            site.export.using(when="commit").enqueue(7)


def test_an_application_without_a_database_is_told_what_when_needs(tmp_path: Path) -> None:
    app = Flask("bare", instance_path=str(tmp_path))
    app.config["CHERGA"] = {"broker_url": "memory://"}
    cherga = Cherga(app)
    task = cherga.task(name="t")(lambda: None)

    with app.app_context(), pytest.raises(ConfigError, match="expected the application bare to have Flask-SQLAlchemy"):
        task.using(when="commit").enqueue()

    cherga.close()


def test_plain_sessions_can_be_followed_in_flask_too(tmp_path: Path) -> None:
    engine = sa.create_engine(f"sqlite:///{tmp_path}/plain.db")
    sessions = scoped_session(sessionmaker(engine))
    app = Flask("plain", instance_path=str(tmp_path))
    app.config["CHERGA"] = {"broker_url": "memory://"}
    cherga = Cherga(app, sqlalchemy=sessions)
    task = cherga.task(name="t")(lambda: None)

    with app.app_context():
        sessions().execute(sa.text("select 1"))
        job = task.enqueue()
        assert job.status == "held"
        sessions.commit()
        assert job.status is JobState.READY

    sessions.remove()
    engine.dispose()
    cherga.close()


def test_follow_is_not_for_flask() -> None:
    with pytest.raises(ConfigError, match=r"expected Cherga\(app, sqlalchemy=…\) in Flask"):
        follow(Cherga(), sessionmaker())


@pytest.mark.parametrize(("given", "status"), [("now", "ready"), ("commit", "held")], ids=["now", "commit"])
def test_the_default_of_when_stands_in_the_configuration(tmp_path: Path, given: str, status: str) -> None:
    db = SQLAlchemy(model_class=Model, disable_autonaming=True)
    cherga = Cherga(name="configured")
    task = cherga.task(name="t")(lambda: None)
    app = Flask("configured", instance_path=str(tmp_path))
    app.config.update(SQLALCHEMY_DATABASE_URI="sqlite://", CHERGA={"broker_url": "memory://", "when": given})
    db.init_app(app)
    cherga.init_app(app)

    with app.app_context():
        db.session.execute(sa.text("select 1"))
        assert task.enqueue().status == status
        db.session.rollback()
        db.engine.dispose()

    cherga.close()


def test_a_wrong_default_of_when_is_named(tmp_path: Path) -> None:
    app = Flask("wrong", instance_path=str(tmp_path))
    app.config["CHERGA"] = {"broker_url": "memory://", "when": "later"}

    with pytest.raises(ConfigError, match="the setting when in CHERGA is wrong: expected when to be one of 'now'"):
        Cherga(app)


def test_sessions_of_its_own_that_a_flask_application_does_not_follow_are_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    engine = sa.create_engine("sqlite://", poolclass=sa.StaticPool)
    Model.metadata.create_all(engine)
    app = Flask("plain", instance_path=str(tmp_path))
    app.config["CHERGA"] = {"broker_url": "memory://"}
    cherga = Cherga(app)
    task = cherga.task(name="t")(lambda: None)

    with app.app_context(), caplog.at_level("WARNING", "cherga.departure"):
        task.enqueue()

        with sessionmaker(engine)() as session:
            session.add(Entry(id="x"))
            task.enqueue()

    assert ["Cherga(app, sqlalchemy=Session)" in record.message for record in caplog.records] == [True]
    engine.dispose()
    cherga.close()


# --- inside a job


def test_a_job_that_launches_another_holds_it_until_it_commits(site: Site) -> None:
    seen: list[str] = []

    @site.cherga.task
    def parent() -> str:
        site.look()
        job = site.launch()
        seen.append(str(job.status))
        site.db.session.commit()
        seen.append(str(job.status))
        return str(job.id)

    with site.cherga.worker():
        child = parent.enqueue().result(20)

    assert seen == ["held", "ready"]
    assert site.committed == [child]


@pytest.mark.parametrize("base_url", [None, "https://shop.example"], ids=["context", "request"])
@pytest.mark.parametrize("fails", [False, True], ids=["success", "error"])
def test_what_a_job_still_holds_leaves_with_its_success_alone(new_site: NewSite, fails: bool, base_url: str | None) -> None:
    site = new_site(base_url=base_url)

    @site.cherga.task
    def parent() -> None:
        site.look()
        site.export.using(queue="other").enqueue(7)

        if fails:
            raise ValueError("no")

    with site.cherga.worker(queues=["default"]):
        job = parent.enqueue()

        if fails:
            with pytest.raises(JobFailed):
                job.result(20)
        else:
            job.result(20)

        assert len(job.children()) == (not fails)


def test_a_job_under_the_testing_kit_leaves_with_the_commit(site: Site) -> None:
    with site.cherga.testing(inline="raise") as kit, site.app.app_context():
        site.look()
        job = site.launch()
        assert kit.enqueued() == []
        site.db.session.commit()

        assert (job.status, job.result(0)) == (JobState.SUCCEEDED, 7)


def test_an_inline_job_that_fails_raises_at_the_commit_which_stands(site: Site) -> None:
    @site.cherga.task
    def fail() -> None:
        raise LookupError("gone")

    with site.cherga.testing(inline="raise"), site.app.app_context():
        site.look()
        site.db.session.add(Entry(id=str(fail.enqueue().id)))

        with pytest.raises(JobFailed, match="LookupError: gone"):
            site.db.session.commit()

        assert len(site.committed) == 1
        assert site.db.session.scalars(sa.select(Entry.id)).all() == site.committed


def test_moving_to_another_application_follows_that_ones_database(new_site: NewSite, tmp_path: Path) -> None:
    site = new_site(sqlalchemy=None)
    other = Flask("other", instance_path=str(tmp_path / "other"))
    other.config.update(SQLALCHEMY_DATABASE_URI="sqlite://", CHERGA={"broker_url": "memory://"})
    site.db.init_app(other)
    site.cherga.init_app(other)

    with other.app_context():
        site.look()
        job = site.export.enqueue(7)
        assert job.status == "held"
        site.db.session.commit()
        assert job.status is JobState.READY
        site.db.engine.dispose()
