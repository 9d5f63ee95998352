"""What a message rule asks of a message, as a part of a proxy action's file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Final, TypeAlias

from pydantic import BeforeValidator, ConfigDict, Field, ValidatorFunctionWrapHandler, WrapValidator, model_validator
from pydantic.json_schema import JsonSchemaValue

from smtpproxy.config.entries import resolve
from smtpproxy.config.fields import SchemaOf, no_null
from smtpproxy.config.forms import Form, refusal, words
from smtpproxy.config.header_fields import FieldName, Pattern
from smtpproxy.config.mailboxes import ClientEntry, Mailbox, mailboxes, parse_client, parse_mailbox
from smtpproxy.config.measures import size, write_size
from smtpproxy.config.problems import shown
from smtpproxy.config.section import Section
from smtpproxy.policy import messages
from smtpproxy.policy.entries import Entries
from smtpproxy.policy.envelopes import EnvelopeCondition, MailboxCondition
from smtpproxy.policy.messages import Condition, Fields, HeaderCondition
from smtpproxy.policy.model import Direction

MAX_CONDITIONS: Final = 20
MAX_ENTRIES: Final = 1000
"""Of a rule itself; more belong into a list."""


def _parse_absent(value: object) -> bool:
    if value is True:
        return True
    if value is False:
        raise refusal("false is not allowed here; for a field that must be there leave it out")
    raise refusal(f"{shown(value)} is not allowed here; use true")


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


def not_null(value: object) -> object:
    """Refuse a key with nothing in it: with its conditions commented out, a rule that refuses some would refuse all."""
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


def _one_or_list(schema: JsonSchemaValue) -> JsonSchemaValue:
    entries = next(each for each in schema.get("anyOf", [schema]) if each.get("type") == "array")
    return {"anyOf": [entries["items"], entries]}


def _alone(parse: Callable[[object], object]) -> WrapValidator:
    """Let one entry stand for a list of one; its mistakes are told at the key."""

    def validate(value: object, handler: ValidatorFunctionWrapHandler) -> object:
        return handler(value) if isinstance(value, list) else (parse(not_null(value)),)

    return WrapValidator(validate)


Mailboxes: TypeAlias = Annotated[
    tuple[Mailbox, ...] | None,
    Field(min_length=1, max_length=MAX_ENTRIES),
    _alone(parse_mailbox),
    SchemaOf(_one_or_list),
]
Clients: TypeAlias = Annotated[
    tuple[ClientEntry, ...] | None,
    Field(min_length=1, max_length=MAX_ENTRIES),
    _alone(parse_client),
    SchemaOf(_one_or_list),
]


class MailboxSection(Section):
    """Addresses of the envelope: each key has one entry or a list of them, in any case; both keys must hold.

    An entry is an address, a domain (itself only), `*.domain` (any below it), `@list`, or a pattern of a whole address
    with `*` and `?`. The null sender is matched by `*` alone.
    """

    model_config = ConfigDict(json_schema_extra={"minProperties": 1})

    matches: Mailboxes = Field(
        default=None, description="The sender, or at least one recipient that upstream took, is one of these."
    )
    does_not_match: Mailboxes = Field(
        default=None, description="The sender, or every recipient that upstream took, is none of these."
    )

    @model_validator(mode="after")
    def _asks_something(self) -> MailboxSection:
        if self.matches is None and self.does_not_match is None:
            raise refusal("must have matches or does_not_match, such as {matches: '@partners'}")
        return self

    def condition(self, lists: Mapping[str, Entries]) -> MailboxCondition:
        """Return the condition as policy knows it; ``lists`` are looked up by name."""
        return MailboxCondition(
            None if self.matches is None else mailboxes(self.matches, lists),
            None if self.does_not_match is None else mailboxes(self.does_not_match, lists),
        )


class WhenSection(Section):
    """What must hold for the rule to apply, all of it; without any it always does."""

    direction: Annotated[Direction | None, words({each.value: each for each in Direction})] = Field(
        default=None,
        description="That of the policy; an action of kind `client` has only outbound ones, of kind `server` inbound.",
        json_schema_extra={"default": "either"},
    )
    sender: Annotated[MailboxSection | None, BeforeValidator(not_null), SchemaOf(no_null)] = Field(
        default=None,
        description="The address in MAIL.",
        json_schema_extra={"default": "any sender"},
    )
    recipient: Annotated[MailboxSection | None, BeforeValidator(not_null), SchemaOf(no_null)] = Field(
        default=None,
        description="The addresses in RCPT that upstream took, all taken together: a message has one decision.",
        json_schema_extra={"default": "any recipients"},
    )
    client: Clients = Field(
        default=None,
        description="The client's address is one of these, or one of a list of them.",
        json_schema_extra={"default": "any client"},
    )
    size: Annotated[SizeSection | None, BeforeValidator(not_null), SchemaOf(no_null)] = Field(
        default=None,
        description="The message's size; the whole message is held until it is known.",
        json_schema_extra={"default": "any size"},
    )
    header: Annotated[
        tuple[HeaderSection, ...],
        Field(min_length=1, max_length=MAX_CONDITIONS),
        WrapValidator(_one_or_more),
        SchemaOf(_one_or_list),
    ] = Field(
        default=(),
        description="One section, or a list of them that must all hold; the message is held until its header has come.",
        json_schema_extra={"default": "any header"},
    )

    def condition(self, lists: Mapping[str, Entries]) -> Condition:
        """Return the condition as policy knows it, but for the direction; ``lists`` are looked up by name."""
        bounds = messages.SizeCondition(self.size.over, self.size.under) if self.size else None
        return Condition(bounds, tuple(header.condition() for header in self.header), self._envelope(lists))

    def _envelope(self, lists: Mapping[str, Entries]) -> EnvelopeCondition | None:
        condition = EnvelopeCondition(
            self.sender.condition(lists) if self.sender else None,
            self.recipient.condition(lists) if self.recipient else None,
            None if self.client is None else resolve(self.client, lists),
        )
        return None if condition == EnvelopeCondition() else condition
