"""Signing up, logging in, logging out."""

from __future__ import annotations

import re
from typing import Any

import sqlalchemy as sa
from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask_babel import gettext
from flask_login import current_user, login_user, logout_user
from werkzeug import Response

from microblog.extensions import db, login
from microblog.languages import current_language
from microblog.models import User
from microblog.pages import safe_path

bp = Blueprint("auth", __name__)

USERNAME = re.compile(r"[a-z0-9_]{2,32}")
EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
SHORTEST_PASSWORD = 8


@bp.get("/login")
def log_in() -> str | Response:
    return _home() if current_user.is_authenticated else render_template("auth/login.html", values={}, errors={})


@bp.post("/login")
def do_log_in() -> str | Response | tuple[str, int]:
    username = request.form.get("username", "").strip().lower()
    user = db.session.scalar(sa.select(User).where(User.username == username))

    if user is None or not user.has_password(request.form.get("password", "")):
        errors = {"password": gettext("Wrong username or password.")}
        return render_template("auth/login.html", values={"username": username}, errors=errors), 422

    login_user(user, remember="remember" in request.form)
    return redirect(safe_path(request.args.get("next")) or url_for("main.index"))


@bp.post("/logout")
def log_out() -> Response:
    logout_user()
    return _home()


@bp.get("/signup")
def sign_up() -> str | Response:
    return _home() if current_user.is_authenticated else render_template("auth/signup.html", values={}, errors={})


@bp.post("/signup")
def do_sign_up() -> str | Response | tuple[str, int]:
    values = {name: request.form.get(name, "").strip() for name in ("username", "email")}
    values["username"] = values["username"].lower()
    password = request.form.get("password", "")
    errors = _faults(**values, password=password)

    if errors:
        return render_template("auth/signup.html", values=values, errors=errors), 422

    login_user(_create(**values, password=password))
    flash(gettext("Welcome, %(name)s!", name=values["username"]))

    return _home()


@login.unauthorized_handler
def ask_to_log_in() -> Response:
    """Send the visitor to the log-in, and from there on to the page wanted; a form that was sent is not repeated."""
    flash(gettext("Please log in first."))
    return redirect(url_for("auth.log_in", next=request.full_path if request.method == "GET" else None))


def _home() -> Response:
    return redirect(url_for("main.index"))


def _faults(username: str, email: str, password: str) -> dict[str, str]:
    faults = {}

    if not USERNAME.fullmatch(username):
        faults["username"] = gettext("Please use 2 to 32 letters a to z, digits or underscores.")
    elif _taken(User.username, username):
        faults["username"] = gettext("This name is taken. Please choose another one.")

    if not EMAIL.fullmatch(email) or len(email) > 254:
        faults["email"] = gettext("This does not look like an e-mail address.")
    elif _taken(User.email, email):
        faults["email"] = gettext("Somebody has signed up with this address already.")

    if len(password) < SHORTEST_PASSWORD:
        faults["password"] = gettext("Please use at least %(count)s characters.", count=SHORTEST_PASSWORD)

    return faults


def _taken(column: Any, value: str) -> bool:
    return db.session.scalar(sa.select(User.id).where(sa.func.lower(column) == value.lower())) is not None


def _create(username: str, email: str, password: str) -> User:
    user = User(username=username, email=email, locale=current_language())
    user.set_password(password)
    db.session.add(user)
    db.session.commit()

    return user
