"""A file's keys as they are in force: what was written, and the defaults of all else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from smtpproxy.config.fields import Derived, Missing, default_text, written
from smtpproxy.config.section import Section, key_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydantic.fields import FieldInfo

    from smtpproxy.config.document import Value


@dataclass(frozen=True, slots=True)
class Absent:
    """A key that no file could give the value of.

    Args:
        text: what it means that it is not given.
    """

    text: str


@dataclass(frozen=True, slots=True)
class Entry:
    """The value of a key.

    Args:
        value: what a file has, or has below it.
        is_default: whether it was left to the program.
    """

    value: Node
    is_default: bool


Node: TypeAlias = "bool | int | str | Absent | list[Node] | dict[str, Entry] | None"


def as_node(value: Value) -> Node:
    """Return what was written, and nothing else."""
    if isinstance(value, dict):
        return {key: Entry(as_node(each), is_default=False) for key, each in value.items()}
    return [as_node(each) for each in value] if isinstance(value, list) else value


def effective(section: Section, value: Value, around: Sequence[Section] = ()) -> dict[str, Entry]:
    """Return every key of a section.

    Args:
        section: what was made of the value.
        value: the mapping of the file, null for none.
        around: the sections that it stands in, from the file down.
    """
    given = value if isinstance(value, dict) else {}
    here = (*around, section)
    return {
        key: _entry(info, getattr(section, name), given.get(key), here, is_given=key in given)
        for name, info in type(section).model_fields.items()
        for key in [key_of(name, info)]
    }


def _entry(info: FieldInfo, meant: object, value: Value, here: Sequence[Section], *, is_given: bool) -> Entry:
    derived = next((each for each in info.metadata if isinstance(each, Derived)), None)
    if value is None and meant is None and derived:
        return Entry(derived.derive(here) or _absent(info), is_default=True)
    if isinstance(meant, Section):
        return Entry(effective(meant, value, here), not is_given)
    if isinstance(meant, tuple) and meant and isinstance(meant[0], Section):
        return Entry(_sections(meant, value, here), not is_given)
    if is_given:
        return Entry(as_node(value), is_default=False)
    found = written(info, meant)
    return Entry(_absent(info) if isinstance(found, Missing) else as_node(found), is_default=True)


def _absent(info: FieldInfo) -> Absent:
    return Absent(default_text(info) or "not given")


def _sections(meant: tuple[Section, ...], value: Value, here: Sequence[Section]) -> Node:
    if isinstance(value, dict):  # one, which needs no list
        return effective(meant[0], value, here)
    values = value if isinstance(value, list) else [None] * len(meant)
    return [effective(each, one, here) for each, one in zip(meant, values, strict=True)]
