"""Message rules as a part of a proxy action's file, and what policy makes of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final

from pydantic import BeforeValidator, ConfigDict, Field, model_validator

from smtpproxy.config.fields import SchemaOf, no_null
from smtpproxy.config.forms import Switch, Text, refusal, words
from smtpproxy.config.header_fields import FieldNameOrNone, NewField, Tag
from smtpproxy.config.message_conditions import WhenSection, not_null
from smtpproxy.config.near import one_of
from smtpproxy.config.section import Section
from smtpproxy.policy import messages
from smtpproxy.policy.entries import Entries
from smtpproxy.policy.message_edits import Edit, RemoveHeader, ReplaceHeader, SetEncryption, TagSubject
from smtpproxy.policy.messages import MessageRule
from smtpproxy.policy.model import ActionKind, Direction
from smtpproxy.policy.rules import RecipientEncryption
from smtpproxy.policy.tls_level import TlsLevelHeader

MAX_RULES: Final = 100
MAX_EDITS: Final = 20

DIRECTIONS: Final = {ActionKind.CLIENT: Direction.OUTBOUND, ActionKind.SERVER: Direction.INBOUND}
_LEVELS: Final = {level.value: level for level in RecipientEncryption if level.is_eager}


class EditSection(Section):
    """One action on the message: one of these keys."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1, "maxProperties": 1})

    add_header: NewField = Field(default=None, description="Puts the field in front of all others; the value is ASCII.")
    remove_header: FieldNameOrNone = Field(
        default=None,
        description="Takes out every field of the name; DKIM breaks if it was signed.",
    )
    replace_header: NewField = Field(
        default=None,
        description="Takes out every field of the name and puts this one in front of all others, whether there was one "
        "or not; DKIM breaks if it was signed.",
    )
    set_encryption: Annotated[RecipientEncryption | None, words(_LEVELS)] = Field(
        default=None,
        description="Asks no less of the upstream leg than this, for every recipient, and never lowers what is asked "
        "anyway; mail for which it is not met is refused at its end.",
    )
    tag_subject: Tag = Field(
        default=None,
        description="Puts the text and a space before the subject, unless it begins with the text already, be it "
        "behind `Re:` and the like; DKIM breaks if the subject was signed.",
    )

    @model_validator(mode="after")
    def _does_one_thing(self) -> EditSection:
        if len(self.model_fields_set) != 1:
            raise refusal(f"must be one action: {one_of(type(self).model_fields)}")
        return self

    def edit(self) -> Edit:
        """Return the action as policy knows it."""
        if self.add_header is not None:
            return self.add_header
        if self.remove_header is not None:
            return RemoveHeader(self.remove_header)
        if self.replace_header is not None:
            return ReplaceHeader(self.replace_header.name, self.replace_header.value)
        if self.set_encryption is not None:
            return SetEncryption(self.set_encryption)
        if self.tag_subject is None:
            raise AssertionError("an entry with none is refused")
        return TagSubject(self.tag_subject)


class MessageRuleSection(Section):
    """One message rule; rules are applied from the top, each to the headers as those before it left them."""

    name: Text = Field(description="Named in records; no two rules of the file may share it.")
    enabled: Switch = Field(default=True, description="`false`: the rule is checked, and not looked at.")
    when: Annotated[WhenSection, BeforeValidator(not_null), SchemaOf(no_null)] = Field(
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

    def is_for(self, kind: ActionKind) -> bool:
        """Return whether the rule is on, and for the direction of all mail of a proxy action of ``kind``."""
        return self.enabled and self.when.direction in (None, DIRECTIONS[kind])

    def rule(self, lists: Mapping[str, Entries]) -> MessageRule:
        """Return the rule as policy knows it; ``lists`` are looked up by name."""
        edits = tuple(edit.edit() for edit in self.then)
        return MessageRule(self.name, self.when.condition(lists), edits, self.final)


class TlsLevelSection(Section):
    """The header field `x-TLSLevel`, by which a message asks for encryption of the upstream leg.

    `Require` asks as much as `recipient: required`, `Try` as `preferred`; one that says neither counts as `Require`.
    The first field counts, as the message rules leave them, and it never lowers what is asked anyway.
    """

    honour: Switch = Field(
        default=False,
        description="Whether the field counts; the header of every message is then held, and upstream TLS is begun "
        "wherever it is offered.",
    )
    strip: Switch = Field(default=True, description="Whether the field is taken out where it is honoured.")

    def header(self) -> TlsLevelHeader:
        """Return the section as policy knows it."""
        return TlsLevelHeader(self.honour, self.strip)
