"""Flask: ``Cherga`` is a ``QueueTasks`` with ``init_app``, and every job runs in an application context of its own."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, cast
from uuid import UUID

from flask import Blueprint, Flask, Response, current_app, has_app_context, request, url_for
from markupsafe import Markup

from cherga.client.app import QueueTasks
from cherga.client.context import current_parent
from cherga.client.handle import Job
from cherga.client.home import importable_name
from cherga.client.role import Role, current_role
from cherga.contrib.flask_births import note
from cherga.contrib.flask_config import FlaskConfig, check_files, queue_file, read_config
from cherga.contrib.flask_context import Journey
from cherga.contrib.flask_proof import FlaskProof
from cherga.contrib.flask_transactions import FlaskDeparture
from cherga.web.helpers import Helpers, PageJobs
from cherga.web.live import LiveEndpoint
from cherga.web.markup import VERSION
from cherga.web.pages import ROUTES, LivePages
from cherga.web.settings import LiveSettings
from cherga.web.wsgi import WSGIFront, read_visit
from cherga.words.errors import BrokerUnusable, ConfigError
from cherga.words.proof import Finding

logger = logging.getLogger("cherga.flask")

EXTENSION = "cherga"


class Cherga(QueueTasks):
    """The tasks of a Flask application.

    Make it at module level, declare tasks with it, and bind it with ``init_app`` when the application is made. Keywords are
    defaults; ``app.config["CHERGA"]`` wins over them. An enqueue while ``db.session`` has an open transaction leaves when that
    commits: ``sqlalchemy`` is the ``db`` (by default Flask-SQLAlchemy's where the application has it; False for none), ``when``
    is ``commit``, ``now`` or ``outbox``. It serves one application at a time: a second ``init_app``, as in test suites, moves
    it to that application, whose broker is opened anew.
    """

    def __init__(
        self,
        app: Flask | None = None,
        *,
        name: str = "cherga",
        broker_url: str | os.PathLike[str] | None = None,
        live: Mapping[str, Any] | None = None,
        base_url: str | None = None,
        carry: Sequence[str] = (),
        sqlalchemy: Any = None,
        when: str | None = None,
        **settings: Any,
    ) -> None:
        if app is not None and not isinstance(app, Flask):
            raise ConfigError(f"expected a Flask application or nothing, got {app!r}; a name is given as name=")

        super().__init__(name, broker_url, **settings)
        self.flask_app: Flask | None = None
        """The application that was bound last."""
        self._given = {"name": name, "broker_url": broker_url, "live": live, "base_url": base_url, "carry": carry, "when": when}
        self._given |= settings
        self._sqlalchemy = sqlalchemy
        self._journey: Journey | None = None
        self.carriers.append(self._pack)
        self.around_job.append(self._enter_app)
        self.on.surround_with(self._enter_app_once)
        proof = FlaskProof(self._bound_app)
        self.proofs.append(proof.prove)
        self.explainers[:] = [proof.explain]

        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """Bind this to the application, read its configuration, and add the live endpoint and the template functions.

        Nothing is opened yet. While a worker runs in this process, its jobs keep the application that they have, and
        another one is only served. Raises ``ConfigError`` that names what is wrong.
        """
        if EXTENSION in app.extensions:
            raise ConfigError(f"expected one Cherga for the application {app.name}, but init_app was called already")

        config = read_config(app, self._given)
        check_files(app, config.broker_url)
        moves = not self._workers
        self._tell_birth(note(app, self, config.name, config.broker_url, moves))

        if moves:
            self._move_to(app, config)

        app.extensions[EXTENSION] = self
        place = 'app.config["SECRET_KEY"] (or CHERGA.live.secret)'
        endpoint = LiveEndpoint(self, config.live, lambda: _secrets(app, config.live), place)
        helpers = Helpers(self, endpoint)
        _add_live(app, helpers, LivePages(endpoint))

        if moves:
            self._helpers = helpers

    def _move_to(self, app: Flask, config: FlaskConfig) -> None:
        """Jobs are those of this application from now on."""
        journey = Journey(app, config.base_url, config.carry)
        self.close()
        self._set_up(config.name, config.broker_url, dict(config.settings))
        self.flask_app, self._journey = app, journey
        # The logger that app.logger is; asking for that here would give it a handler before the application sets up its own.
        self.job_logger = logging.getLogger(app.name)

        if isinstance(self.departure, FlaskDeparture):
            self.departure.disconnect()

        self.departure = FlaskDeparture(self, app, self._sqlalchemy, config.when)

    def _tell_birth(self, said: str | None) -> None:
        """At once; while a worker loads its application, with what else it has found before its first claim."""
        if said is None:
            return

        if current_role() is Role.WORKER and not self._workers:
            self.proofs.append(lambda plan: [Finding("application", said, proven=False)])
        else:
            logger.warning("%s", said, extra={"action": "application.again"})

    def page_jobs(self, **where: Any) -> PageJobs:
        """The jobs that match, as ``jobs`` finds them, for a page that goes on without them.

        While the broker cannot be used the list is empty and its ``unavailable`` true, which the log is told once.
        """
        self._bound_app()
        return self._helpers.jobs(**where)

    def _enter_app(self) -> AbstractContextManager[object]:
        """A context like that of a request, for one job alone: its end removes sessions and gives connections back."""
        self._bound_app()
        return cast(Journey, self._journey).enter(self._brought() or {})

    def _pack(self) -> Mapping[str, str]:
        """The headers that jobs enqueued here take along."""
        return {} if self._journey is None else self._journey.pack(self._brought())

    def _brought(self) -> Mapping[str, str] | None:
        """The headers of the job that runs here; None outside one."""
        job = current_parent(self)
        return None if job is None else job.headers

    def _enter_app_once(self) -> AbstractContextManager[object]:
        """The same where the caller is in no context of this application."""
        is_inside = has_app_context() and cast(Any, current_app)._get_current_object() is self.flask_app
        return nullcontext() if is_inside else self._enter_app()

    def _open(self) -> None:
        app = self._bound_app()
        check_files(app, self.broker_url)
        path = queue_file(self.broker_url)

        if path and os.path.dirname(path) == os.path.abspath(app.instance_path):
            _make_folder(app.instance_path)

        super()._open()

    def _target(self) -> str | None:
        """The Flask application, or the factory in its module: a worker has to have both parts."""
        app = self.flask_app

        if app is None:
            return super()._target()

        module = sys.modules.get(app.import_name)
        factory = f"{app.import_name}:create_app" if hasattr(module, "create_app") else None
        return importable_name((app,), [app.import_name]) or factory or super()._target()

    def _bound_app(self) -> Flask:
        if self.flask_app is None:
            raise ConfigError(
                "expected init_app(app) before the first use of this Cherga; a worker needs the application too, as in "
                "cherga worker -A package:create_app"
            )

        return self.flask_app


def _make_folder(path: str) -> None:
    try:
        os.makedirs(path, exist_ok=True)
    except OSError as error:
        raise BrokerUnusable(f"expected to make the instance folder {path} for the queue file: {error.strerror}") from error


def _secrets(app: Flask, live: LiveSettings) -> Sequence[str | bytes]:
    """The secrets that sign tokens, the newest last; older ones are still accepted, as Flask does for its sessions."""
    if live.secret:
        return [live.secret]

    return [*(app.config.get("SECRET_KEY_FALLBACKS") or ()), app.secret_key] if app.secret_key else []


# --- the live endpoint


def _add_live(app: Flask, helpers: Helpers, pages: LivePages) -> None:
    routes = Blueprint("cherga", __name__, url_prefix=pages.prefix or None)

    for name, path in ROUTES.items():
        route = path.replace("{job_id}", "<job_id>")
        routes.add_url_rule(route, name, _view(pages), methods=["POST" if name == "cancel" else "GET"])

    app.register_blueprint(routes)
    app.jinja_env.globals.update(_template_functions(helpers))

    if not pages.endpoint.settings.hooks:
        app.wsgi_app = WSGIFront(app.wsgi_app, pages)  # type: ignore[method-assign]


def _view(pages: LivePages) -> Callable[..., Response]:
    """The same pages inside the application: for ``hooks``, and for who asks the application itself."""

    def show(**_: str) -> Response:
        path = pages.place(request.path) or request.path
        answer = pages.answer(read_visit(request.environ, path, pages))
        return Response(answer.body, answer.status, answer.headers)

    return show


# --- templates


def _template_functions(helpers: Helpers) -> dict[str, Callable[..., Any]]:
    def cherga_progress(
        job: Job[Any] | UUID | str | None, caller: Callable[[], str] | None = None, cancel: bool = False, **attributes: Any
    ) -> Markup:
        """The element about a job; ``{% call %}`` gives it other content than the usual. Nothing for a job not kept.

        With ``cancel`` the visitor may cancel the job.
        """
        return Markup(helpers.progress(job, _address, attributes, caller() if caller else None, cancel))

    def cherga_script(**attributes: Any) -> Markup:
        """The tags that load the element's script and its usual look."""
        return Markup(helpers.script(_address, attributes))

    return {
        "cherga_token": helpers.token,
        "cherga_progress": cherga_progress,
        "cherga_script": cherga_script,
        "cherga_jobs": helpers.jobs,
    }


def _address(name: str, job_id: str) -> str:
    return url_for(f"cherga.{name}", job_id=job_id) if job_id else url_for(f"cherga.{name}", v=VERSION)
