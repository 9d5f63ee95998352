"""What the models say of a key beside its type: its form, the section that it holds, its default as a file has it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from pydantic import GetJsonSchemaHandler, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from smtpproxy.config.document import resolve
from smtpproxy.config.forms import Form
from smtpproxy.config.section import Section, flattened

if TYPE_CHECKING:
    from smtpproxy.config.document import Value


class Missing:
    """What stands for a default that no file can give."""


MISSING: Final = Missing()


@dataclass(frozen=True, slots=True)
class Derived:
    """Metadata of a key whose default follows from others.

    Args:
        derive: takes the sections around the key, from the file down to the key's own; returns what a file would
            have, ``None`` where there is nothing.
    """

    derive: Callable[[Sequence[Any]], str | None]


@dataclass(frozen=True, slots=True)
class SchemaOf:
    """Metadata of a key that takes more or less than its type says.

    Args:
        change: makes the key's JSON Schema of its type's.
    """

    change: Callable[[JsonSchemaValue], JsonSchemaValue]

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Let pydantic take the changed schema."""
        return self.change(handler(core))


def no_null(schema: JsonSchemaValue) -> JsonSchemaValue:
    """Take null out of a schema."""
    return {**schema, "not": {"type": "null"}}


def form_of(info: FieldInfo) -> Form:
    """Return the form of a key, or of the entries of its list."""
    return next(each for each in (*info.metadata, *flattened(info.annotation)) if isinstance(each, Form))


def section_of(info: FieldInfo) -> type[Section] | None:
    """Return the section that a key holds, itself or in a list; ``None`` for none."""
    found = (each for each in flattened(info.annotation) if isinstance(each, type) and issubclass(each, Section))
    return next(found, None)


def is_list(info: FieldInfo) -> bool:
    """Return whether a key holds a list."""
    return str(info.annotation).startswith("tuple[")


def default_text(info: FieldInfo) -> str | None:
    """Return what the reference says of a default that is none in itself."""
    extra = info.json_schema_extra
    return str(extra["default"]) if isinstance(extra, dict) and "default" in extra else None


def written(info: FieldInfo, value: object) -> Value | Missing:
    """Return a value that is none of sections as a file has it."""
    if value is None:
        return None if _takes(info, None) else MISSING
    if value == ():
        return [] if _takes(info, []) else MISSING
    write = form_of(info).write
    if isinstance(value, tuple) and is_list(info):
        return [resolve(write(entry)) for entry in value]
    return resolve(write(value))


def _takes(info: FieldInfo, value: object) -> bool:
    try:
        TypeAdapter(info.rebuild_annotation()).validate_python(value)
    except ValidationError:
        return False
    return True
