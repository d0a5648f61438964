"""Every sentence of the site is there in every language, and what is shipped is what was translated."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from babel.messages.catalog import Catalog
from babel.messages.extract import DEFAULT_KEYWORDS, extract_from_dir
from babel.messages.mofile import read_mo
from babel.messages.pofile import read_po

SITE = Path(__file__).parents[1] / "microblog"
METHODS = [("**.py", "python"), ("templates/**.html", "jinja2"), ("templates/**.txt", "jinja2")]
LANGUAGES = ("es", "uk", "ru")


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_sentence_is_translated(language: str) -> None:
    found = extract_from_dir(SITE, METHODS, keywords=DEFAULT_KEYWORDS)
    sentences = {message if isinstance(message, str) else message[0] for _, _, message, _, _ in found}
    catalog = catalog_of(language)

    assert sentences
    assert sentences == {_singular(message.id) for message in catalog if message.id}
    assert [message.id for message in catalog if message.id and not all(_forms(message.string))] == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_translation_has_the_placeholders_of_the_original(language: str) -> None:
    assert [(message.id, str(errors[0])) for message, errors in catalog_of(language).check()] == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_compiled_file_is_the_translated_one(language: str) -> None:
    with (_folder(language) / "messages.mo").open("rb") as file:
        compiled = _pairs(read_mo(file))

    assert compiled == _pairs(catalog_of(language))


def catalog_of(language: str) -> Catalog:
    with (_folder(language) / "messages.po").open("rb") as file:
        return read_po(file, locale=language)


def _folder(language: str) -> Path:
    return SITE / "translations" / language / "LC_MESSAGES"


def _pairs(catalog: Catalog) -> list[tuple[str, tuple[str, ...]]]:
    return sorted((_singular(message.id), _forms(message.string)) for message in catalog if message.id)


def _singular(id: str | Sequence[str]) -> str:
    return id if isinstance(id, str) else id[0]


def _forms(string: str | Sequence[str]) -> tuple[str, ...]:
    return (string,) if isinstance(string, str) else tuple(string)
