"""``flask --app microblog init-db`` and ``seed``."""

from __future__ import annotations

import click
from flask import Flask

from microblog import seeding
from microblog.extensions import db
from microblog.models import utc_now


def init_app(app: Flask) -> None:
    app.cli.add_command(init_db)
    app.cli.add_command(seed)


@click.command()
def init_db() -> None:
    """Create the tables. Run it once, before the server and the worker."""
    db.create_all()
    click.echo(f"tables created in {db.engine.url!r}")


@click.command()
def seed() -> None:
    """Fill the empty tables with authors and posts."""
    for username, count in seeding.plant(utc_now()).items():
        click.echo(f"{username}: {count} posts")
