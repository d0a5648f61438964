"""The tasks of ``tests.launch_site``, which are named by where they stand."""

from __future__ import annotations


def export_posts(user: int) -> int:
    """Needs the row that its launch has added."""
    from tests.launch_site import note_run  # noqa: PLC0415 # the site names this module, and this one the site

    note_run()
    return user
