"""``flask --app app_factory init-db``."""

from __future__ import annotations

import click
from flask import Flask

from library.extensions import db


def init_app(app: Flask) -> None:
    app.cli.add_command(init_db)


@click.command()
def init_db() -> None:
    """Create the tables. Run it once, before the server and the worker."""
    db.create_all()
    click.echo(f"tables created in {db.engine.url!r}")
