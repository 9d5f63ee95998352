"""What happens to TLS instead of inspection: the exceptions of a proxy action, as they are written and what they name.

Source: RFC 6066 s3 (the server name stands in the ClientHello); RFC 3207 s4 (which comes behind 220 to STARTTLS).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final, TypeAlias

from pydantic import Field

from smtpproxy.config.entries import DESTINATION_SCHEMA, ENTRY, PLACE_SCHEMA, resolve
from smtpproxy.config.forms import Form, refusal, words
from smtpproxy.config.lists import LIST
from smtpproxy.config.problems import shown
from smtpproxy.config.section import Section
from smtpproxy.policy.entries import EVERYTHING
from smtpproxy.policy.model import TlsAction, TlsException

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from smtpproxy.policy.entries import Entries

MAX_EXCEPTIONS: Final = 1000
"""Each is looked at for each session; thousands of destinations belong into a list."""

ACTIONS: Final = {action.value: action for action in TlsAction}


def _is_network(entry: str) -> bool:
    return "/" in entry or ":" in entry or entry.replace(".", "").isdecimal()


def _parse_entry(value: object, instead: str) -> str:
    entry = str(ENTRY.parse(value))
    if "@" in entry.removeprefix(LIST):
        raise refusal(f"{shown(entry)} is an address of mail, which nobody knows yet; write {instead}")
    return entry


def _parse_place(value: object) -> str:
    return _parse_entry(value, "a server name or a network")


def _parse_destination(value: object) -> str:
    entry = _parse_entry(value, "the IP address or network of the destination")
    if entry == EVERYTHING or entry.startswith(LIST) or _is_network(entry):
        return entry
    raise refusal(
        f"{shown(entry)} is a name, and with STARTTLS the client tells the server's only after the gateway had to "
        "decide; write the IP address or network of the destination"
    )


_PLACE: Final = Form("server name, `*.domain`, network, `@list` or `*`", _parse_place, schema=PLACE_SCHEMA)
_DESTINATION: Final = Form("network, `@list` or `*`", _parse_destination, schema=DESTINATION_SCHEMA)
_Action: TypeAlias = Annotated[TlsAction, words(ACTIONS)]


class TlsExceptionSection(Section):
    """What happens to implicit TLS of some server names and destinations."""

    match: Annotated[tuple[Annotated[str, _PLACE], ...], Field(min_length=1)] = Field(
        description="Server names by the client's SNI: a name (itself only) or `*.domain` (any below it); destinations "
        "by IP address or network: the one that the client dialled, or the upstream's if the policy names that by "
        "address; `@list`, or `*` for all. Without SNI no name matches."
    )
    action: _Action = Field(description="What happens to them, as in `tls.action`.")


class StartTlsExceptionSection(Section):
    """What happens to connections to some destinations, whose STARTTLS is not to be inspected."""

    match: Annotated[tuple[Annotated[str, _DESTINATION], ...], Field(min_length=1)] = Field(
        description="Destinations by IP address or network: the one that the client dialled, or the upstream's if the "
        "policy names that by address; `@list`, of which the networks count, or `*` for all. Names come too late."
    )
    action: _Action = Field(
        description="`inspect`; `allow`: the gateway does no STARTTLS, and the client's own passes untouched; `deny`, "
        "`drop`, `block`: the session is refused, as in `tls.action`."
    )


def make_exceptions(
    sections: Sequence[TlsExceptionSection | StartTlsExceptionSection], lists: Mapping[str, Entries]
) -> tuple[TlsException, ...]:
    """Return exceptions as policy knows them."""
    return tuple(TlsException(resolve(each.match, lists), each.action) for each in sections)
