"""The record types that a session reports; `net/` writes them as log lines and as JSON.

Octets of peers stand here as they came (``bytes``) and are escaped where they are written. Message content,
authentication and keys never stand in a record.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from ipaddress import IPv4Address, IPv6Address
from typing import TypeAlias

from smtpproxy.smtp.replies import Reply
from smtpproxy.tls.facts import TlsFacts, TlsFailure
from smtpproxy.tls.hello import ClientHello
from smtpproxy.tls.server_hello import ServerHello


@dataclass(frozen=True, slots=True)
class Origin:
    """Who is connected to whom by which policy; the same in every record of a session.

    Addresses are ``host:port`` texts, IPv6 hosts in brackets; ``destination`` is what the client dialled,
    ``upstream`` the configured host with the port that serves this kind of connection, and ``balancer`` whoever relayed
    the connection and told of both, ``None`` without one.
    """

    session: str
    policy: str
    proxy_action: str
    direction: str
    port: str
    client: str
    destination: str
    upstream: str
    balancer: str | None = None


class Status(Enum):
    """What became of a recipient."""

    ACCEPTED = "accepted"  # upstream took the message: its own 250
    REFUSED = "refused"  # a final 5yz, by upstream or by this proxy
    DEFERRED = "deferred"  # a 4yz, by upstream or by this proxy
    ABANDONED = "abandoned"  # the transaction ended without an answer for the message


@dataclass(frozen=True, slots=True)
class Judgement:
    """How a recipient, or a sender, was judged by the encryption rules.

    Args:
        rule: the name of the one that decided, ``None`` where it did not come to that.
        monitored: names of those that only monitor, each with the token of its refusal, ``None`` where it had none.
        trace: of a refusal, the name of each rule with what was found of it, in order.
    """

    rule: str | None = None
    monitored: tuple[tuple[str, str | None], ...] = ()
    trace: tuple[tuple[str, str], ...] = ()


UNJUDGED = Judgement()


@dataclass(frozen=True, slots=True)
class RecipientResult:
    """One recipient of a transaction.

    Args:
        address: the forward-path's octets.
        status: what became of it.
        reply: the reply that decided, ``None`` if abandoned.
        because: the policy's token if this proxy refused, else ``None``.
        judgement: by the encryption rules.
    """

    address: bytes
    status: Status
    reply: Reply | None
    because: str | None = None
    judgement: Judgement = UNJUDGED


@dataclass(frozen=True, slots=True, kw_only=True)
class TransactionRecord:
    """One mail transaction, from MAIL to its end.

    Args:
        sender: the reverse-path's octets.
        recipients: every recipient that was asked for, in order.
        rules: names of the encryption rules that applied, or could have where it did not come to a recipient.
        trace: of a refusal before any recipient, the name of each rule with what was found of it.
        message_rules: names of the message rules that applied, in order.
        asked: the encryption that the message itself asked for, by rule or by its header.
        findings: tokens of what is odd about its header.
        upstream_address: where upstream was dialled.
        size_octets: content octets that came in.
        reply: the reply to the end of data or, without content, the one that ended the transaction.
        because: the token of what this proxy refused or found, else ``None``.
        inspected: whether the whole content was read and judged.
        not_inspected_because: a token if it was not.
        normalized: whether bare newlines were made CRLF.
        ambiguous_delivery: whether the final dot left and the client may not have learnt the outcome (RFC 1047).
        duration_s: from MAIL to the end.
    """

    origin: Origin
    number: int
    helo: bytes
    sender: bytes
    recipients: tuple[RecipientResult, ...]
    rules: tuple[str, ...]
    trace: tuple[tuple[str, str], ...] = ()
    message_rules: tuple[str, ...]
    asked: tuple[str, ...] = ()
    findings: tuple[str, ...] = ()
    upstream_address: IPv4Address | IPv6Address | None = None
    client_tls: TlsFacts | None
    upstream_tls: TlsFacts | None
    upstream_tls_failure: TlsFailure | None
    downgraded: bool
    size_octets: int
    reply: Reply | None
    because: str | None
    inspected: bool
    not_inspected_because: str | None
    normalized: bool
    ambiguous_delivery: bool
    duration_s: float


@dataclass(frozen=True, slots=True)
class Tunnelled:
    """What passed uninspected, why, and what was seen of it.

    Args:
        because: the token of the reason.
        exception: the number of the exception that said so, from 1, ``None`` if none did.
        client_hello: the client's, ``None`` if it sent none that is well-formed.
        server_hello: upstream's, ``None`` as above.
        alert: the number of the alert that upstream answered with instead.
    """

    because: str
    exception: int | None = None
    client_hello: ClientHello | None = None
    server_hello: ServerHello | None = None
    alert: int | None = None


@dataclass(frozen=True, slots=True)
class TlsRefusal:
    """Why a session was not let in.

    Args:
        because: the token of the reason.
        exception: the number of the exception that said so, from 1, ``None`` if none did.
        client_hello: the client's, ``None`` if none that is well-formed was waited for and came.
    """

    because: str
    exception: int | None = None
    client_hello: ClientHello | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRecord:
    """A session's last record.

    Args:
        ended: a token for how it ended.
        helo: the client's EHLO or HELO name.
        upstream_tls_failure: why upstream TLS, where it was wanted, did not come about.
        downgraded: whether it was wanted and the session went on in clear.
        removed: capabilities of upstream that were not shown to the client.
        faults: tokens of what the client did wrong, in order of their first occurrence, each with its count.
        tunnel: what passed uninspected, ``None`` if nothing did.
        refusal: why it was not let in, ``None`` if it was.
    """

    origin: Origin
    ended: str
    helo: bytes
    client_tls: TlsFacts | None
    upstream_tls: TlsFacts | None
    upstream_tls_failure: TlsFailure | None
    downgraded: bool
    removed: tuple[str, ...]
    transactions: int
    faults: tuple[tuple[str, int], ...]
    client_octets_in: int
    client_octets_out: int
    upstream_octets_in: int
    upstream_octets_out: int
    duration_s: float
    tunnel: Tunnelled | None = None
    refusal: TlsRefusal | None = None


@dataclass(frozen=True, slots=True)
class TlsRecord:
    """A leg reached TLS, or failed to; reads like Postfix's line."""

    origin: Origin
    leg: str
    outcome: TlsFacts | TlsFailure


@dataclass(frozen=True, slots=True)
class Incident:
    """A peer attacked or broke the protocol beyond repair; ``token`` names what was seen, on ``leg``."""

    origin: Origin
    leg: str
    token: str


class Evidence(Enum):
    """Why a client seems to check the certificate of its destination in a way that interception breaks."""

    ALERT = "alert"  # it refused the one that it was shown
    LEFT = "left-after-handshake"  # it took it, said nothing more, and went, again and again


@dataclass(frozen=True, slots=True)
class InterceptionSuspected:
    """A client seems to do DANE or MTA-STS, or to trust no Proxy Authority, for a certificate that is replaced.

    Args:
        origin: of the last session that says so.
        evidence: what it did.
        alert: the library's words for its alert, empty without.
        sessions: how many in a row say so.
        upstream_valid: whether upstream's own chain is valid; if not, anybody may refuse it who does no DANE.
    """

    origin: Origin
    evidence: Evidence
    alert: str
    sessions: int
    upstream_valid: bool


@dataclass(frozen=True, slots=True)
class Crash:
    """This program failed; ``reference`` is what the log's traceback bears."""

    origin: Origin
    reference: str
    error: str


Record: TypeAlias = TransactionRecord | SessionRecord | TlsRecord | Incident | InterceptionSuspected | Crash
