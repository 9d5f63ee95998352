"""What the keys of a rule name: entries as in lists, lists themselves, and everybody."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final, TypeAlias

from pydantic.json_schema import JsonSchemaValue

from smtpproxy.config.addresses import PREFIX_SCHEMA
from smtpproxy.config.forms import Form, parse_text
from smtpproxy.config.lists import parse_entry
from smtpproxy.config.near import suggestion
from smtpproxy.config.problems import shown
from smtpproxy.policy.entries import EVERYTHING, Entries
from smtpproxy.policy.rules import ANYBODY

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from smtpproxy.config.document import Document, Loc
    from smtpproxy.config.problems import Report

LIST: Final = "@"


def _parse(value: object) -> str:
    text = parse_text(value)
    return text if text == EVERYTHING or text.startswith(LIST) else parse_entry(text)


_SCHEMA: Final[JsonSchemaValue] = {
    "type": "string",
    "anyOf": [
        {"const": EVERYTHING},
        {"pattern": "^@."},
        {"pattern": "^[^@\\s\\u0000-\\u001f]+@[^@\\s\\u0000-\\u001f]+$"},
        {"pattern": r"^(?:[*][.])?(?![0-9.]+$)[^\u0000-,/:-@\[-^`{-\u007f]+$"},
        PREFIX_SCHEMA,
    ],
}

Entry: TypeAlias = Annotated[str, Form("entry, `@list` or `*`", _parse, schema=_SCHEMA)]


def resolve(texts: Sequence[str], lists: Mapping[str, Entries]) -> Entries:
    """Return what ``texts`` name; a list that is missing names nobody, and is told elsewhere."""
    if EVERYTHING in texts:
        return ANYBODY
    named = [lists[text[1:]] for text in texts if text.startswith(LIST) and text[1:] in lists]
    own = [text for text in texts if not text.startswith(LIST)]
    return Entries.union([Entries.of(own), *named]) if named else Entries.of(own)


def check_lists(document: Document, loc: Loc, lists: Mapping[str, Entries], report: Report) -> None:
    """Report every `@list` at ``loc`` that nobody defines."""
    found = document.get(*loc)
    for number, text in enumerate(found if isinstance(found, list) else []):
        name = text[1:] if isinstance(text, str) and text.startswith(LIST) else None
        if name is not None and name not in lists:
            known = ", ".join(sorted(lists)) or "none"
            message = f"there is no list {shown(name)}{suggestion(name, sorted(lists))}; known are {known}"
            report.problem(document.problem((*loc, number), message))
