"""How a value is written in a file: words for the reference, and the function that parses what was written.

Every leaf has a form of its own, so that each message says what is wrong, what is allowed and what to do.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Final, TypeAlias

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from smtpproxy.config.near import one_of, suggestion
from smtpproxy.config.problems import shown

MAX_TEXT_CHARACTERS: Final = 255
"""More than any name, path or host of a file needs."""


def refusal(message: str) -> PydanticCustomError:
    """Return the error that a parser raises; its message is shown as it is."""
    return PydanticCustomError("form", "{message}", {"message": message})


def write_plain(value: object) -> str:
    """Write a value as a file would."""
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    return str(value)


@dataclass(frozen=True, slots=True)
class Form:
    """Metadata of a field.

    Args:
        text: says what may be written.
        parse: takes what was written, and raises ``refusal`` for what is not of the form.
        write: the reverse, for defaults.
        schema: JSON Schema of what may be written, as narrow as it can say; the parser has the last word.
    """

    text: str
    parse: Callable[[object], object]
    write: Callable[[Any], str] = write_plain
    schema: JsonSchemaValue = field(default_factory=dict, compare=False)

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Let pydantic call the parser, and nothing else, for the field."""
        return core_schema.no_info_plain_validator_function(self.parse)

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Let pydantic take the form's schema for the field's."""
        return dict(self.schema)


def words(taken: Mapping[str, object], *later: str) -> Form:
    """Return the form of one word out of a few.

    Args:
        taken: what each word means.
        later: words of the contract that are not available yet.
    """

    def parse(value: object) -> object:
        if isinstance(value, str) and value in taken:
            return taken[value]
        if isinstance(value, str) and value in later:
            raise refusal(f"{shown(value)} is not available yet; use {one_of(taken)}")
        near = suggestion(value, [*taken, *later]) if isinstance(value, str) else ""
        raise refusal(f"{shown(value)} is not allowed here; use {one_of(taken)}{near}")

    def write(value: object) -> str:
        return next(word for word, meaning in taken.items() if meaning is value)

    return Form(one_of([f"`{word}`" for word in taken]), parse, write, {"enum": list(taken)})


def caseless(words: Iterable[str]) -> JsonSchemaValue:
    """Return the schema of one word out of a few in any case; editors propose the words as they are."""
    known = sorted(words)
    letters = ("".join(f"[{each}{each.lower()}]" if each.isalpha() else each for each in word) for word in known)
    return {"anyOf": [{"enum": known}, {"type": "string", "pattern": f"^(?:{'|'.join(letters)})$"}]}


def whole_number(lowest: int, highest: int) -> Form:
    """Return the form of a whole number within bounds."""

    def parse(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise refusal(f"{shown(value)} is not a whole number; give {lowest} to {highest}")
        return bounded(value, lowest, highest, str)

    schema = {"type": "integer", "minimum": lowest, "maximum": highest}
    return Form(f"whole number, {lowest} to {highest}", parse, schema=schema)


def bounded(value: int, lowest: int, highest: int, write: Callable[[int], str]) -> int:
    """Return ``value`` if it is within bounds, else refuse it with the bounds as ``write`` writes them."""
    if not lowest <= value <= highest:
        raise refusal(f"{write(value)} is out of range; give {write(lowest)} to {write(highest)}")
    return value


def parse_text(value: object) -> str:
    """Return a line of text; numbers are refused, with the advice to quote them."""
    if not isinstance(value, str):
        hint = f'; write "{value}" in quotes' if isinstance(value, int) else ""
        raise refusal(f"{shown(value)} is not text{hint}")
    if not 0 < len(value) <= MAX_TEXT_CHARACTERS or not value.isprintable():
        raise refusal(f"must be one line of 1 to {MAX_TEXT_CHARACTERS} printable characters")
    return value


TEXT_SCHEMA: Final[JsonSchemaValue] = {
    "type": "string",
    "minLength": 1,
    "maxLength": MAX_TEXT_CHARACTERS,
    "not": {"pattern": "[\\u0000-\\u001f\\u007f-\\u00a0\\u2028\\u2029]"},
}

_MEANT: Final = {"yes": "true", "on": "true", "no": "false", "off": "false"}


def _parse_switch(value: object) -> bool:
    if isinstance(value, bool):
        return value
    meant = _MEANT.get(str(value).lower())
    raise refusal(f"{shown(value)} is neither true nor false" + (f"; write {meant}" if meant else ""))


Switch: TypeAlias = Annotated[bool, Form("`true` or `false`", _parse_switch, schema={"type": "boolean"})]
Text: TypeAlias = Annotated[str, Form("text", parse_text, schema=TEXT_SCHEMA)]
FilePath: TypeAlias = Annotated[str, Form("path", parse_text, schema=TEXT_SCHEMA)]
Port: TypeAlias = Annotated[int, whole_number(1, 65535)]
