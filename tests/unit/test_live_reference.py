"""The pages about live data say what the code says."""

from __future__ import annotations

import json
from ast import literal_eval

from cherga import QueueTasks
from cherga.contrib.flask_config import OWN_KEYS
from cherga.web.live import Asked, LiveEndpoint
from cherga.web.settings import LiveSettings
from tests.docs.pages import ROOT, code, rows

REFERENCE = ROOT / "docs" / "reference"


def test_every_live_setting_stands_in_the_reference_with_its_default() -> None:
    keys = {code(row[0]): literal_eval(code(row[1])) for row in rows(REFERENCE / "flask.md") if len(row) == 3}
    defaults = {name: getattr(LiveSettings(), name) for name in LiveSettings.__struct_fields__}

    assert keys == {**OWN_KEYS, **defaults}


def test_every_field_of_an_answer_stands_in_the_reference() -> None:
    app = QueueTasks("told", "memory://")
    job = app.task(name="work")(lambda: None).enqueue()
    endpoint = LiveEndpoint(app, LiveSettings(), lambda: ["secret"])
    body = endpoint.answer(Asked(id=str(job.id), token=endpoint.issue(job.id))).body
    assert isinstance(body, bytes)

    documented = {name.strip("` ") for row in rows(REFERENCE / "live-endpoint.md") for name in row[0].split(",")}

    assert set(json.loads(body)) <= documented
