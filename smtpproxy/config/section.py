"""The base of every mapping in a file, and the messages for what does not fit it.

A key that the product is going to have is told from one that nobody knows.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from pydantic.fields import FieldInfo

from smtpproxy.config.document import Document, Loc
from smtpproxy.config.near import suggestion
from smtpproxy.config.problems import ConfigurationErrors, Problem, shown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic_core import ErrorDetails

S = TypeVar("S", bound="Section")


class Section(BaseModel):
    """A mapping of known keys; one that is empty or null stands for its defaults."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    later: ClassVar[frozenset[str]] = frozenset()
    """Keys of the contract that are not available yet."""

    @model_validator(mode="before")
    @classmethod
    def _null_is_empty(cls, value: object) -> object:
        return {} if value is None else value


def part(section: type[S], document: Document, *loc: str | int) -> S | None:
    """Return the section at ``loc``, ``None`` if there are mistakes in it (which ``problems`` tells)."""
    try:
        return section.model_validate(document.get(*loc))
    except ValidationError:
        return None


def whole(section: type[S], document: Document) -> S:
    """Return the section that a whole file is.

    Raises:
        ConfigurationErrors: every mistake of form in it.
    """
    found = part(section, document)
    if found is None:
        raise ConfigurationErrors(list(problems(section, document)))
    return found


def problems(section: type[Section], document: Document) -> Iterator[Problem]:
    """Yield every mistake of form in a file whose top is ``section``."""
    try:
        section.model_validate(document.value)
    except ValidationError as error:
        for details in error.errors(include_url=False):
            if not _is_echo(details):
                yield _problem(section, document, details)


def _is_echo(details: ErrorDetails) -> bool:
    """Whether a list is called too short only because its entries, told one by one, do not count."""
    entries = details["input"]
    return details["type"] == "too_short" and isinstance(entries, list) and len(entries) >= details["ctx"]["min_length"]


_MESSAGES: Final = {
    "missing": "must be given",
    "tuple_type": "{value} is not a list; write [...] or one '- ...' a line",
    "model_type": "{value} is not a mapping; write 'key: value' lines",
    "too_short": "must have at least {min_length} entry",
    "too_long": "more than {max_length} is not available yet; leave it out",
}


def _problem(section: type[Section], document: Document, details: ErrorDetails) -> Problem:
    loc: Loc = details["loc"]
    if details["type"] == "extra_forbidden":
        return document.problem(loc, _unknown_key(_section_at(section, loc), str(loc[-1])), at_key=True)
    template = _MESSAGES.get(details["type"])
    if template is None:
        return document.problem(loc, details["msg"])
    if details["type"] == "too_long":
        loc = (*loc, details["ctx"]["max_length"])
    values = {"value": shown(details["input"]), **details.get("ctx", {})}
    return document.problem(loc, template.format_map(values))


def _unknown_key(section: type[Section], key: str) -> str:
    if key in section.later:
        return "not available yet; leave it out"
    known = [key_of(name, info) for name, info in section.model_fields.items()]
    near = suggestion(key, [*known, *section.later])
    return f"unknown key{near}" if near else f"unknown key; known here: {', '.join(known)}"


def _section_at(section: type[Section], loc: Loc) -> type[Section]:
    for key in loc[:-1]:
        if isinstance(key, str):
            section = _sections_below(section)[key]
    return section


def key_of(name: str, info: FieldInfo) -> str:
    """Return the key of a field, whose name it is unless that is a word of Python's."""
    return info.alias or name


@cache
def _sections_below(section: type[Section]) -> dict[str, type[Section]]:
    """Return the sections that a section's keys hold, themselves or in a list."""
    found = {}
    for name, info in section.model_fields.items():
        for candidate in flattened(info.annotation):
            if isinstance(candidate, type) and issubclass(candidate, Section):
                found[key_of(name, info)] = candidate
    return found


def flattened(annotation: Any) -> Iterator[Any]:  # noqa: ANN401  # annotations have no common type
    """Yield an annotation and all that it is made of."""
    yield annotation
    for argument in get_args(annotation):
        yield from flattened(argument)
