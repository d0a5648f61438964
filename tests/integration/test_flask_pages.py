"""What templates can call."""

from __future__ import annotations

import re

import pytest
from flask import Flask, render_template_string

from cherga import ConfigError
from cherga.contrib.flask import Cherga
from tests.flask_site import Site


def test_the_element_leads_to_the_job_with_a_token_that_admits() -> None:
    site = Site(prefix="jobs/")
    html = site.render("{{ cherga_progress(job, class='alert') }}")
    src, token = (re.search(rf' {name}="([^"]+)"', html) for name in ("src", "token"))
    assert src
    assert token

    assert src[1] == f"/jobs/live/{site.job.id}"
    assert site.app.test_client().get(f"{src[1]}?token={token[1]}").status_code == 200


def test_a_template_gives_the_element_content_of_its_own() -> None:
    html = Site().render("{% call cherga_progress(job) %}<b>{{ '<' }}</b>{% endcall %}")

    assert html.endswith("><b>&lt;</b></cherga-progress>")


def test_what_a_template_passes_is_escaped() -> None:
    html = Site().render("{{ cherga_progress(job, title=hostile) }}", hostile='"><script>')

    assert "<script>" not in html


def test_a_job_that_is_not_kept_leaves_nothing_on_the_page() -> None:
    assert Site().render("({{ cherga_progress(none) }})") == "()"


def test_addresses_follow_the_place_where_the_application_is_mounted() -> None:
    site = Site()

    with site.app.test_request_context(environ_overrides={"SCRIPT_NAME": "/blog"}):
        html = render_template_string("{{ cherga_progress(job) }}{{ cherga_script(nonce='n') }}", job=site.job)

    assert f'src="/blog/cherga/live/{site.job.id}"' in html
    assert re.search(r'<script src="/blog/cherga/element\.js\?v=\w+" defer nonce="n"></script>', html)


def test_without_a_secret_key_the_first_use_says_what_is_missing() -> None:
    site = Site()
    site.app.secret_key = None

    with pytest.raises(ConfigError, match="SECRET_KEY"):
        site.render("{{ cherga_progress(job) }}")

    assert site.app.test_client().get(f"/cherga/live/{site.job.id}?token=x").status_code == 403


def test_a_secret_of_its_own_and_older_secret_keys_are_accepted() -> None:
    site = Site()
    old = site.address()
    site.app.config.update(SECRET_KEY="new", SECRET_KEY_FALLBACKS=["secret"])
    assert site.app.test_client().get(old).status_code == 200

    own = Site(secret="own")
    own.app.secret_key = None

    assert own.app.test_client().get(own.address()).status_code == 200


def test_two_applications_do_not_accept_each_others_tokens() -> None:
    cherga = Cherga(name="shared", broker_url="memory://shared")
    cherga.task(name="work")(lambda: None)
    one, two = Flask("one"), Flask("two")

    for app in (one, two):
        app.secret_key = app.name
        cherga.init_app(app)

    job = cherga.tasks["work"].enqueue()
    answers = {}

    for app in (one, two):
        with app.test_request_context():
            token = render_template_string("{{ cherga_token(job) }}", job=job)

        answers[app.name] = [
            other.test_client().get(f"/cherga/live/{job.id}?token={token}").status_code for other in (one, two)
        ]

    assert answers == {"one": [200, 403], "two": [403, 200]}
