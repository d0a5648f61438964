"""Flask: ``Cherga`` is a ``QueueTasks`` with ``init_app``, and every job runs in an application context of its own."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, cast

from flask import Blueprint, Flask, Response, current_app, has_app_context, request, url_for
from markupsafe import Markup
from werkzeug import Response as BaseResponse

from cherga.client.app import QueueTasks
from cherga.client.handle import Job
from cherga.contrib.flask_config import check_files, queue_file, read_config
from cherga.web.live import TOKEN_HEADER, Asked, LiveEndpoint
from cherga.web.markup import ELEMENT, LOOK, VERSION, write_progress, write_script
from cherga.web.settings import LiveSettings, count_streams
from cherga.words.errors import ConfigError

EXTENSION = "cherga"
ONE_YEAR = 31_536_000


class Cherga(QueueTasks):
    """The tasks of a Flask application.

    Make it at module level, declare tasks with it, and bind it with ``init_app`` when the application is made. Keywords are
    defaults; ``app.config["CHERGA"]`` wins over them. It serves one application at a time: a second ``init_app``, as in
    test suites, moves it to that application, whose broker is opened anew.
    """

    def __init__(
        self,
        app: Flask | None = None,
        *,
        name: str = "cherga",
        broker_url: str | os.PathLike[str] | None = None,
        live: Mapping[str, Any] | None = None,
        **settings: Any,
    ) -> None:
        if app is not None and not isinstance(app, Flask):
            raise ConfigError(f"expected a Flask application or nothing, got {app!r}; a name is given as name=")

        super().__init__(name, broker_url, **settings)
        self.flask_app: Flask | None = None
        """The application that was bound last."""
        self._given = {"name": name, "broker_url": broker_url, "live": live, **settings}
        self.around_job.append(self._enter_app)
        self.on.surround_with(self._enter_app_once)

        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """Bind this to the application, read its configuration, and add the live endpoint and the template functions.

        Nothing is opened yet. Raises ``ConfigError`` that names what is wrong.
        """
        if EXTENSION in app.extensions:
            raise ConfigError(f"expected one Cherga for the application {app.name}, but init_app was called already")

        config = read_config(app, self._given)
        check_files(app, config.broker_url)
        self.close()
        self.configure(config.name, config.broker_url, **config.settings)
        self.flask_app = app
        # The logger that app.logger is; asking for that here would give it a handler before the application sets up its own.
        self.job_logger = logging.getLogger(app.name)
        app.extensions[EXTENSION] = self
        _add_live(app, LiveEndpoint(self, config.live, lambda: _secrets(app, config.live)))

    def _enter_app(self) -> AbstractContextManager[object]:
        """A context like that of a request, for one job alone: its end removes sessions and gives connections back."""
        return self._bound_app().app_context()

    def _enter_app_once(self) -> AbstractContextManager[object]:
        """The same where the caller is in no context of this application."""
        is_inside = has_app_context() and cast(Any, current_app)._get_current_object() is self.flask_app
        return nullcontext() if is_inside else self._enter_app()

    def _open(self) -> None:
        app = self._bound_app()
        check_files(app, self.broker_url)
        path = queue_file(self.broker_url)

        if path and os.path.dirname(path) == os.path.abspath(app.instance_path):
            os.makedirs(app.instance_path, exist_ok=True)

        super()._open()

    def _bound_app(self) -> Flask:
        if self.flask_app is None:
            raise ConfigError(
                "expected init_app(app) before the first use of this Cherga; a worker needs the application too, as in "
                "cherga worker -A package:create_app"
            )

        return self.flask_app


def _secrets(app: Flask, live: LiveSettings) -> Sequence[str | bytes]:
    """The secrets that sign tokens, the newest last; older ones are still accepted, as Flask does for its sessions."""
    if live.secret:
        return [live.secret]

    return [*(app.config.get("SECRET_KEY_FALLBACKS") or ()), app.secret_key] if app.secret_key else []


# --- the live endpoint


def _add_live(app: Flask, endpoint: LiveEndpoint) -> None:
    pages = Blueprint("cherga", __name__, url_prefix=_as_path(endpoint.settings.prefix))
    pages.add_url_rule("/live/<job_id>", "live", _show_job(endpoint))
    pages.add_url_rule("/live/<job_id>/cancel", "cancel", _cancel_job(endpoint), methods=["POST"])
    pages.add_url_rule("/element.js", "element", _show_file(ELEMENT, "text/javascript"))
    pages.add_url_rule("/element.css", "look", _show_file(LOOK, "text/css"))
    app.register_blueprint(pages)
    app.jinja_env.globals.update(_template_functions(app, endpoint))


def _as_path(prefix: str) -> str | None:
    path = prefix.strip("/")
    return f"/{path}" if path else None


def _show_job(endpoint: LiveEndpoint) -> Callable[[str], Response]:
    def show_job(job_id: str) -> Response:
        asked = Asked(
            id=job_id,
            token=request.headers.get(TOKEN_HEADER) or request.args.get("token", ""),
            after=request.args.get("after", ""),
            accept=request.headers.get("Accept", ""),
            last_event_id=request.headers.get("Last-Event-ID", ""),
            if_none_match=request.headers.get("If-None-Match", ""),
            max_streams=count_streams(endpoint.settings, request.environ),
        )
        answer = endpoint.answer(asked)
        return Response(answer.body, answer.status, answer.headers)

    return show_job


def _cancel_job(endpoint: LiveEndpoint) -> Callable[[str], Response]:
    def cancel_job(job_id: str) -> Response:
        # The header alone: no other site can make a browser send it, and so no form of another site cancels anything.
        answer = endpoint.cancel(Asked(id=job_id, token=request.headers.get(TOKEN_HEADER, "")))
        return Response(answer.body, answer.status, answer.headers)

    return cancel_job


def _show_file(content: bytes, kind: str) -> Callable[[], BaseResponse]:
    def show_file() -> BaseResponse:
        response = Response(content, content_type=f"{kind}; charset=utf-8", headers={"X-Content-Type-Options": "nosniff"})
        response.cache_control.public = True
        response.cache_control.max_age = ONE_YEAR if request.args.get("v") == VERSION else 300
        response.set_etag(VERSION)
        return response.make_conditional(request)

    return show_file


# --- templates


def _template_functions(app: Flask, endpoint: LiveEndpoint) -> dict[str, Callable[..., Any]]:
    def cherga_token(job: Job[Any], cancel: bool = False) -> str:
        """A token that admits whoever holds it to the progress of this job, and with ``cancel`` lets them cancel it."""
        if not _secrets(app, endpoint.settings):
            raise ConfigError('expected app.config["SECRET_KEY"] (or CHERGA.live.secret) to sign tokens with; there is none')

        return endpoint.issue(job.id, cancel)

    def cherga_progress(
        job: Job[Any] | None, caller: Callable[[], str] | None = None, cancel: bool = False, **attributes: Any
    ) -> Markup:
        """The element about a job; ``{% call %}`` gives it other content than the usual. Nothing for a job not kept.

        With ``cancel`` the visitor may cancel the job.
        """
        if job is None:
            return Markup()

        src = url_for("cherga.live", job_id=job.id)
        return Markup(write_progress(job, src, cherga_token(job, cancel), attributes, caller() if caller else None))

    def cherga_script(**attributes: Any) -> Markup:
        """The tags that load the element's script and its usual look."""
        script, look = (url_for(f"cherga.{name}", v=VERSION) for name in ("element", "look"))
        return Markup(write_script(script, look, attributes))

    return {"cherga_token": cherga_token, "cherga_progress": cherga_progress, "cherga_script": cherga_script}
