"""Decide what happens to the TLS of a connection: inspected, tunnelled, or refused; by exceptions, else by the action.

A server name is the client's word: who may pass uninspected to a name may pass so to any server that the client dials
under that name, and is connected there and nowhere else.

Source: RFC 6066 s3 (server name).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

from smtpproxy.policy.entries import Entries
from smtpproxy.policy.model import TlsAction, TlsException
from smtpproxy.policy.selection import Address


@dataclass(frozen=True, slots=True)
class TlsQuestion:
    """What exceptions look at.

    Args:
        destinations: the address that the client dialled, and the one that is dialled for it if that is known.
        server_name: the client's SNI, ``None`` if it sent none, or has not sent it yet.
    """

    destinations: tuple[Address, ...]
    server_name: str | None = None


@dataclass(frozen=True, slots=True)
class TlsDecision:
    """What happens, and the number of the exception that says so, from 1; ``None`` if none matches."""

    action: TlsAction
    exception: int | None = None


def decide_tls(action: TlsAction, exceptions: Sequence[TlsException], question: TlsQuestion) -> TlsDecision:
    """Return what the first exception that matches says, or ``action``.

    Without a server name no exception matches by one: whoever hides the name is treated as all are that have no
    exception.
    """
    for number, exception in enumerate(exceptions, 1):
        if _matches(exception.match, question):
            return TlsDecision(exception.action, number)
    return TlsDecision(action)


class Unknown(Enum):
    """What nobody has told, and a session would know."""

    SERVER_NAME = "server_name"
    DESTINATION = "destination"


@dataclass(frozen=True, slots=True)
class TlsCase:
    """A decision that may come out, and what has to be such that it does; nothing if only what came before counts."""

    decision: TlsDecision
    depends_on: frozenset[Unknown] = frozenset()


def possible_tls(
    action: TlsAction, exceptions: Sequence[TlsException], question: TlsQuestion, unknown: frozenset[Unknown]
) -> Iterator[TlsCase]:
    """Yield every decision that may come out while not all is known, in the order in which they are looked for."""
    for number, exception in enumerate(exceptions, 1):
        decision = TlsDecision(exception.action, number)
        if _matches(exception.match, question):
            yield TlsCase(decision)
            return
        needed = frozenset(each for each in unknown if _may_match(exception.match, each))
        if needed:
            yield TlsCase(decision, needed)
    yield TlsCase(TlsDecision(action))


def _may_match(entries: Entries, unknown: Unknown) -> bool:
    return entries.names_domains if unknown is Unknown.SERVER_NAME else entries.names_networks


def _matches(entries: Entries, question: TlsQuestion) -> bool:
    if question.server_name is not None and entries.has_domain(question.server_name):
        return True
    return entries.everything or any(entries.has_address(address) for address in question.destinations)
