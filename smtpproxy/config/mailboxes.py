"""The forms of whom a message rule names: mailboxes by entry and by pattern, clients by network and by list."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Final, TypeAlias

from pydantic.json_schema import JsonSchemaValue

from smtpproxy.config.addresses import PREFIX_SCHEMA, parse_network
from smtpproxy.config.entries import ENTRY, resolve
from smtpproxy.config.folder import NAME
from smtpproxy.config.forms import Form, parse_text, refusal
from smtpproxy.config.lists import LIST, parse_entry
from smtpproxy.config.problems import shown
from smtpproxy.policy.entries import WILDCARD, Entries
from smtpproxy.policy.envelopes import Mailboxes
from smtpproxy.policy.wildcards import Wildcard
from smtpproxy.tls.names import ascii_name

_WILD: Final = re.compile(r"[*?]")


def parse_mailbox(value: object) -> str | Wildcard:
    """Return an entry in canonical form, ``*``, ``@list``, or a pattern of a whole address.

    Raises:
        PydanticCustomError: it is none of these.
    """
    text = parse_text(value)
    if text.startswith(LIST) or not _WILD.search(text.removeprefix(WILDCARD)) or text == "*":
        return str(ENTRY.parse(text))
    local, at, domain = text.rpartition("@")
    if not at or not local or not domain or re.search(r"[@\s]", local):
        raise refusal(f"{shown(text)} is no pattern of an address; write one such as '*@*.example'")
    return Wildcard(f"{local}@{'.'.join(_label(label, text) for label in domain.split('.'))}")


def _label(label: str, text: str) -> str:
    """Return a label as domains are compared; one with a wildcard in it cannot be made A-labels of."""
    if label.isascii():
        return label
    name = None if _WILD.search(label) else ascii_name(label)
    if name is None:
        raise refusal(f"{shown(text)}: write {shown(label)} as A-labels (xn--...), in which domains are compared")
    return name


def _write_mailbox(mailbox: str | Wildcard) -> str:
    return mailbox.text if isinstance(mailbox, Wildcard) else mailbox


def parse_client(value: object) -> str:
    """Return an IP address or network in canonical form, or ``@list``.

    Raises:
        PydanticCustomError: it is neither.
    """
    text = parse_text(value)
    if text.startswith(LIST):
        return str(ENTRY.parse(text))
    parse_network(text)
    return parse_entry(text)


def mailboxes(written: Iterable[str | Wildcard], lists: Mapping[str, Entries]) -> Mailboxes:
    """Return whom a rule names; ``lists`` are looked up by name."""
    written = tuple(written)
    entries = resolve([each for each in written if isinstance(each, str)], lists)
    return Mailboxes(entries, tuple(each for each in written if isinstance(each, Wildcard)))


# White space and a second "@" stand in quotes only.
_MAILBOX_SCHEMA: Final[JsonSchemaValue] = {"allOf": [ENTRY.schema, {"not": {"pattern": r'^[^"@]*[\s@][^"]*@'}}]}
_LIST_SCHEMA: Final[JsonSchemaValue] = {"type": "string", "pattern": f"^{LIST}{NAME.pattern}$"}

Mailbox: TypeAlias = Annotated[
    str | Wildcard,
    Form("entry, `@list` or pattern such as `*@*.example`", parse_mailbox, _write_mailbox, _MAILBOX_SCHEMA),
]
ClientEntry: TypeAlias = Annotated[
    str, Form("IP address, network or `@list`", parse_client, schema={"anyOf": [_LIST_SCHEMA, PREFIX_SCHEMA]})
]
