"""A broker URL never shows its password."""

from __future__ import annotations

import pytest

from cherga import QueueTasks, UnknownBroker
from cherga.rules.urls import masked


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("sqlite:///cherga.db?durability=process", "sqlite:///cherga.db?durability=process"),
        ("memory://", "memory://"),
        ("redis://localhost:6379/0", "redis://localhost:6379/0"),
        ("redis://:secret@localhost/0", "redis://:***@localhost/0"),
        ("postgresql://ann:s3cret@db/shop", "postgresql://ann:***@db/shop"),
        ("postgresql://ann:p@ss:w/rd?#@db/shop?sslmode=require", "postgresql://ann:***@db/shop?sslmode=require"),
        ("postgresql://ann@db/shop", "postgresql://ann@db/shop"),
        (
            "postgresql://db/shop?user=ann&password=secret&sslpassword=x",
            "postgresql://db/shop?user=ann&password=***&sslpassword=***",
        ),
        (
            "redis+sentinel://u:a@b:1,c:2/main?sentinel_password=x#y",
            "redis+sentinel://u:***@b:1,c:2/main?sentinel_password=***#y",
        ),
        ("nonsense", "nonsense"),
        ("", ""),
    ],
)
def test_passwords_are_masked_and_all_else_stays(url: str, shown: str) -> None:
    assert masked(url) == shown


def test_a_refused_url_does_not_show_its_password() -> None:
    app = QueueTasks("shop", "nosuch://ann:s3cret@db/shop")

    with pytest.raises(UnknownBroker, match="nosuch://ann:") as caught:
        app.broker  # noqa: B018 (opened by the look)

    assert "s3cret" not in str(caught.value)
