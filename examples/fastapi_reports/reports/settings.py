"""Settings, from the environment."""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self


@dataclass(frozen=True)
class Settings:
    """The settings of one site; its server and its worker have the same."""

    folder: Path
    """The folder of the sales, the jobs, and the reports that were made."""
    secret: str = field(default_factory=secrets.token_hex)
    """Signs what is in pages. One that is made up lasts as long as the server."""
    pause: float = 0.0
    """Seconds that a report waits at each month, for show."""

    @property
    def sales(self) -> Path:
        """The database that reports are made of."""
        return self.folder / "sales.db"

    @classmethod
    def from_environment(cls) -> Self:
        """``REPORTS_FOLDER`` (else the working directory), ``REPORTS_SECRET`` and ``REPORTS_PAUSE``."""
        given = os.environ
        own = {"secret": given["REPORTS_SECRET"]} if "REPORTS_SECRET" in given else {}
        return cls(folder=Path(given.get("REPORTS_FOLDER", ".")).resolve(), pause=float(given.get("REPORTS_PAUSE", 0)), **own)
