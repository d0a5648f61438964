"""The extensions, made without an application; ``create_app`` binds them."""

from __future__ import annotations

from flask_babel import Babel
from flask_login import LoginManager
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy.orm import DeclarativeBase

from cherga.contrib.flask import Cherga


class Model(DeclarativeBase):
    """What every table's class inherits."""


db = SQLAlchemy(model_class=Model)
login = LoginManager()
babel = Babel()
cherga = Cherga()
