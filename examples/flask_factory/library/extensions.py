"""The extensions, made without an application; ``create_app`` binds them."""

from __future__ import annotations

from flask_cors import CORS
from flask_sqlalchemy import SQLAlchemy
from flask_talisman import Talisman
from sqlalchemy.orm import DeclarativeBase

from cherga.contrib.flask import Cherga


class Model(DeclarativeBase):
    """What every table's class inherits."""


db = SQLAlchemy(model_class=Model)
cherga = Cherga()
cors = CORS()
talisman = Talisman()
