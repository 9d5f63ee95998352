"""Message rules as a part of a proxy action's file, and what policy makes of them.

Source: RFC 5322 s2.2 (names and values of fields).
"""

from __future__ import annotations

import re
from typing import Annotated, ClassVar, Final, TypeAlias

from pydantic import BeforeValidator, ConfigDict, Field, ValidatorFunctionWrapHandler, WrapValidator, model_validator
from pydantic.json_schema import JsonSchemaValue

from smtpproxy.config.fields import SchemaOf, no_null
from smtpproxy.config.forms import TEXT_SCHEMA, Form, Switch, Text, parse_text, refusal, words
from smtpproxy.config.measures import size, write_size
from smtpproxy.config.problems import shown
from smtpproxy.config.section import Section
from smtpproxy.policy import messages
from smtpproxy.policy.message_edits import AddHeader, Edit, RemoveHeader
from smtpproxy.policy.messages import Condition, Fields, HeaderCondition, MessageRule
from smtpproxy.policy.wildcards import Wildcard

MAX_RULES: Final = 100
MAX_CONDITIONS: Final = 20
MAX_EDITS: Final = 20

# field-name = 1*ftext, any printable US-ASCII but ":" ; it begins with a letter or digit, as all that are in use do
_FIELD_NAME: Final = re.compile(r"[A-Za-z0-9][!-9;-~]{0,69}")
_FIELD_VALUE: Final = re.compile(r"[!-~](?:[ -~]*[!-~])?")

_FIELD_NAME_SCHEMA: Final[JsonSchemaValue] = {"type": "string", "pattern": f"^{_FIELD_NAME.pattern}$"}
_NEW_FIELD_SCHEMA: Final[JsonSchemaValue] = {
    "type": "object",
    "minProperties": 1,
    "maxProperties": 1,
    "propertyNames": _FIELD_NAME_SCHEMA,
    "additionalProperties": {**TEXT_SCHEMA, "pattern": f"^{_FIELD_VALUE.pattern}$"},
}


def _parse_field_name(value: object) -> bytes:
    text = parse_text(value)
    if not _FIELD_NAME.fullmatch(text):
        hint = "; leave the colon out" if _FIELD_NAME.fullmatch(text.removesuffix(":")) else ""
        raise refusal(f"{shown(text)} is no field name; give one such as Subject{hint}")
    return text.encode()


def _parse_pattern(value: object) -> Wildcard:
    return Wildcard(parse_text(value))


def _parse_absent(value: object) -> bool:
    if value is True:
        return True
    if value is False:
        raise refusal("false is not allowed here; for a field that must be there leave it out")
    raise refusal(f"{shown(value)} is not allowed here; use true")


def _parse_new_field(value: object) -> AddHeader:
    if not isinstance(value, dict):
        raise refusal(f"{shown(value)} is no field; give one such as {{X-Checked: by the gateway}}")
    if len(value) != 1:
        raise refusal("must be one field; for another write another add_header behind it")
    ((name, text),) = value.items()
    field_name, field_value = _parse_field_name(name), parse_text(text)
    if not _FIELD_VALUE.fullmatch(field_value):
        raise refusal(f"the value of {name} must be ASCII, without white space around it")
    return AddHeader(field_name, field_value.encode())


FieldName: TypeAlias = Annotated[bytes, Form("field name", _parse_field_name, schema=_FIELD_NAME_SCHEMA)]
Pattern: TypeAlias = Annotated[Wildcard | None, Form("text with `*` and `?`", _parse_pattern, schema=TEXT_SCHEMA)]
SizeBound: TypeAlias = Annotated[int | None, size(1, 100 * 10**9)]


class SizeSection(Section):
    """The message's size as `max_message_size` counts it: octets of content as they come in, before any edit."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1})

    over: SizeBound = Field(default=None, description="It has more octets than this.")
    under: SizeBound = Field(default=None, description="It has less octets than this.")

    @model_validator(mode="after")
    def _some_size_fits(self) -> SizeSection:
        if self.over is None and self.under is None:
            raise refusal("must have over or under, such as {over: 10MB}")
        if self.over is not None and self.under is not None and self.over + 1 >= self.under:
            raise refusal(f"no size is over {write_size(self.over)} and under {write_size(self.under)}")
        return self


class HeaderSection(Section):
    """A header field; `name` alone asks that there is such a field."""

    model_config = ConfigDict(json_schema_extra={"maxProperties": 2})

    name: FieldName = Field(description="The field's name, in any case.")
    matches: Pattern = Field(
        default=None,
        description="Some field of the name has this value, in any case; `*` stands for any text, `?` for one "
        "character. Encoded words are decoded.",
    )
    does_not_match: Pattern = Field(
        default=None, description="No field of the name has this value; so it is too if there is no such field."
    )
    absent: Annotated[bool | None, Form("`true`", _parse_absent, schema={"const": True})] = Field(
        default=None, description="There is no field of the name."
    )

    @model_validator(mode="after")
    def _asks_one_thing(self) -> HeaderSection:
        if sum(asked is not None for asked in (self.matches, self.does_not_match, self.absent)) > 1:
            raise refusal("give one of matches, does_not_match and absent; for more write a list of entries")
        return self

    def condition(self) -> HeaderCondition:
        """Return the condition as policy knows it."""
        if self.matches is not None:
            return HeaderCondition(self.name, self.matches)
        if self.does_not_match is not None:
            return HeaderCondition(self.name, self.does_not_match, Fields.NONE)
        return HeaderCondition(self.name, fields=Fields.NONE if self.absent else Fields.SOME)


def _not_null(value: object) -> object:
    """With its conditions commented out, a rule that refuses some mail would refuse all."""
    if value is None:
        raise refusal("has nothing in it; for a rule that does not ask for it leave it out")
    return value


def _one_or_more(value: object, handler: ValidatorFunctionWrapHandler) -> tuple[HeaderSection, ...]:
    if isinstance(value, dict):
        return (HeaderSection.model_validate(value),)
    if not isinstance(value, list):
        raise refusal(f"{shown(value)} is no condition; give one such as {{name: Subject, matches: 'urgent*'}}")
    sections: tuple[HeaderSection, ...] = handler(value)
    return sections


class WhenSection(Section):
    """What must hold for the rule to apply, all of it; without any it always does."""

    later: ClassVar[frozenset[str]] = frozenset({"direction", "sender", "recipient", "client"})

    size: Annotated[SizeSection | None, BeforeValidator(_not_null), SchemaOf(no_null)] = Field(
        default=None,
        description="The message's size; the whole message is held until it is known.",
        json_schema_extra={"default": "any size"},
    )
    header: Annotated[
        tuple[HeaderSection, ...],
        Field(min_length=1, max_length=MAX_CONDITIONS),
        WrapValidator(_one_or_more),
        SchemaOf(lambda schema: {"anyOf": [schema["items"], schema]}),
    ] = Field(
        default=(),
        description="One section, or a list of them that must all hold; the message is held until its header has come.",
        json_schema_extra={"default": "any header"},
    )

    def condition(self) -> Condition:
        """Return the condition as policy knows it."""
        bounds = messages.SizeCondition(self.size.over, self.size.under) if self.size else None
        return Condition(bounds, tuple(header.condition() for header in self.header))


class EditSection(Section):
    """One action on the message: one of these keys."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1, "maxProperties": 1})

    later: ClassVar[frozenset[str]] = frozenset({"replace_header", "set_encryption", "tag_subject"})

    add_header: Annotated[
        AddHeader | None, Form("one field and its value", _parse_new_field, schema=_NEW_FIELD_SCHEMA)
    ] = Field(default=None, description="Puts the field in front of all others; the value is ASCII.")
    remove_header: Annotated[bytes | None, Form("field name", _parse_field_name, schema=_FIELD_NAME_SCHEMA)] = Field(
        default=None,
        description="Takes out every field of the name; DKIM breaks if it was signed.",
    )

    @model_validator(mode="after")
    def _does_one_thing(self) -> EditSection:
        if (self.add_header is None) is (self.remove_header is None):
            raise refusal("must be one action: add_header or remove_header")
        return self

    def edit(self) -> Edit:
        """Return the action as policy knows it."""
        if self.remove_header is not None:
            return RemoveHeader(self.remove_header)
        if self.add_header is None:
            raise AssertionError("an entry with neither is refused")
        return self.add_header


class MessageRuleSection(Section):
    """One message rule; rules are applied from the top, each to the headers as those before it left them."""

    name: Text = Field(description="Named in records; no two rules of the file may share it.")
    enabled: Switch = Field(default=True, description="`false`: the rule is checked, and not looked at.")
    when: Annotated[WhenSection, BeforeValidator(_not_null), SchemaOf(no_null)] = Field(
        default=WhenSection(),
        description="What the rule asks of a message.",
        json_schema_extra={"default": "every message"},
    )
    then: Annotated[tuple[EditSection, ...], Field(max_length=MAX_EDITS)] = Field(
        default=(), description="What it does to it, in order.", json_schema_extra={"default": "nothing"}
    )
    final: Annotated[messages.Final, words({each.value: each for each in messages.Final}, "quarantine")] = Field(
        default=messages.Final.NONE,
        description="What follows: the next rule (`none`), delivery without a look at later rules (`deliver`), or "
        "refusal with 554 (`deny`).",
    )

    def rule(self) -> MessageRule:
        """Return the rule as policy knows it."""
        return MessageRule(self.name, self.when.condition(), tuple(edit.edit() for edit in self.then), self.final)
