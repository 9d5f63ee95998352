"""Whom a rule names: everybody, entries of its own, and lists by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final, TypeAlias

from pydantic.json_schema import JsonSchemaValue

from smtpproxy.config.addresses import NAME_SCHEMA, PREFIX_SCHEMA
from smtpproxy.config.folder import NAME
from smtpproxy.config.forms import TEXT_SCHEMA, Form, parse_text, refusal
from smtpproxy.config.lists import LIST, parse_entry
from smtpproxy.config.near import suggestion
from smtpproxy.config.problems import shown
from smtpproxy.policy.entries import ANYBODY, EVERYTHING, Entries
from smtpproxy.tls.names import ascii_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from smtpproxy.config.document import Document, Loc, Value
    from smtpproxy.config.problems import Report

_NOBODY: Final = Entries.of(())


def _parse(value: object) -> str:
    text = parse_text(value)
    if text == EVERYTHING:
        return text
    if text == "any":
        raise refusal(f"'any' would be a domain of that name; for everybody write {EVERYTHING!r} in quotes")
    if not text.startswith(LIST):
        return parse_entry(text)
    if not NAME.fullmatch(text.removeprefix(LIST)):
        raise refusal(f"{shown(text)} is no list; write the name of a file in lists, such as {LIST}partners")
    return text


def check_lists(document: Document, loc: Loc, lists: Mapping[str, Entries], report: Report) -> None:
    """Report each list named at ``loc``, in one text or in several, that is not there."""
    for place, text in _texts(document.get(*loc), loc):
        name = text.removeprefix(LIST)
        if text.startswith(LIST) and NAME.fullmatch(name) and name not in lists:
            report.problem(document.problem(place, _unknown(name, sorted(lists))))


def resolve(texts: Iterable[str], lists: Mapping[str, Entries]) -> Entries:
    """Return whom a rule names; the lists are shared by all that name them.

    Args:
        texts: what was parsed of the rule's key: ``*``, entries in canonical form, ``@list``.
        lists: each list by its name; one that is not there, which ``check_lists`` tells, has nobody.
    """
    own = [text for text in texts if not text.startswith(LIST)]
    if EVERYTHING in own:
        return ANYBODY
    named = [lists.get(text.removeprefix(LIST), _NOBODY) for text in texts if text.startswith(LIST)]
    return Entries.union([*named, Entries.of(own)] if own else named)


def _texts(value: Value, loc: Loc) -> Iterator[tuple[Loc, str]]:
    if isinstance(value, str):
        yield loc, value
    elif isinstance(value, list):
        yield from (((*loc, number), text) for number, text in enumerate(value) if isinstance(text, str))


def _unknown(name: str, known: list[str]) -> str:
    near = suggestion(name, known)
    if not near and "." in name and ascii_name(name):
        near = f"; for the domain write {name}"
    there = f"known are {', '.join(known)}" if known else f"write it as lists/{name}.txt beside the main file"
    return f"there is no list {shown(name)}{near}; {there}"


_PLACES: Final[list[JsonSchemaValue]] = [
    {"const": EVERYTHING},
    {"type": "string", "pattern": f"^{LIST}{NAME.pattern}$"},
    PREFIX_SCHEMA,
]
_NAMES: Final[list[JsonSchemaValue]] = [
    {**NAME_SCHEMA, "not": {"anyOf": [{"const": "any"}, TEXT_SCHEMA["not"]]}},
    {**NAME_SCHEMA, "pattern": NAME_SCHEMA["pattern"].replace("^", r"^\*\.", 1)},
]
DESTINATION_SCHEMA: Final[JsonSchemaValue] = {"anyOf": _PLACES}
"""Of networks, ``@list`` and ``*``."""

PLACE_SCHEMA: Final[JsonSchemaValue] = {"anyOf": [*_PLACES, *_NAMES]}
"""Of those and names."""

_SCHEMA: Final[JsonSchemaValue] = {"anyOf": [*_PLACES, *_NAMES, {**TEXT_SCHEMA, "pattern": "^[^@].*@[^@]+$"}]}

ENTRY: Final = Form("entry, `@list` or `*`", _parse, schema=_SCHEMA)
Entry: TypeAlias = Annotated[str, ENTRY]
