"""One handshake with an upstream: the name asked for, the session offered, and what came of both.

Source: RFC 8446 s4.6.1 (a ticket comes behind the handshake); RFC 5077 s3.1 (in TLS 1.2, inside it); RFC 6066 s3.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from OpenSSL import SSL

from smtpproxy.policy.model import Ocsp
from smtpproxy.tls.facts import TlsFacts, TlsFailure, TlsReason, TlsVersion
from smtpproxy.transport import openssl
from smtpproxy.transport.resumption import MAX_AGE_S, Destination, KeptSession, TlsSessions
from smtpproxy.transport.ticket import ticket_of
from smtpproxy.transport.verification import facts_of, facts_of_resumed, set_server_name

MAX_SESSION_OCTETS: Final = 16 * 1024
"""Ticket and leaf: 1 to 2 KiB as a rule, 64 KiB and more if an upstream likes."""

MAX_CHAIN_OCTETS: Final = 16 * 1024
"""Certificates that a session holds on to: 2 to 5 KiB as a rule; OpenSSL takes 100 KiB."""


MAX_STAPLE_OCTETS: Final = 10 * 1024
"""An OCSP answer has 0.3 to 2 KiB."""


class Evidence(NamedTuple):
    """What a handshake in full brought to tell whether its certificate was revoked.

    Args:
        issuer: the certificate that it was verified with, DER.
        staple: the OCSP answer that came along, DER.
    """

    issuer: bytes | None
    staple: bytes | None


NO_EVIDENCE: Final = Evidence(None, None)


class UpstreamHandshake:
    """Prepares a connection, and says what it established.

    Args:
        sessions: where earlier sessions come from and new ones go.
        context: of the upstream leg.
        address: host and port really dialled.
        server_name: to be asked for, if it is one.
        ocsp: whether an OCSP answer is asked for.
    """

    __slots__ = (
        "_connection", "_destination", "_facts", "_is_worth_keeping", "_ocsp", "_offered", "_sessions",
        "_verified_at_s", "context",
    )  # fmt: skip

    def __init__(
        self,
        sessions: TlsSessions,
        context: SSL.Context,
        address: tuple[str, int],
        server_name: str | None,
        ocsp: Ocsp = Ocsp.DISABLED,
    ) -> None:
        self.context = context
        self._sessions = sessions
        self._ocsp = ocsp
        self._destination = Destination(context, *address, server_name)
        self._offered: KeptSession | None = None
        self._connection: SSL.Connection | None = None
        self._facts: TlsFacts | None = None
        self._verified_at_s = 0.0
        self._is_worth_keeping = True

    def prepare(self, connection: SSL.Connection) -> None:
        """Put server name and session into the handshake that is about to begin."""
        server_name = set_server_name(connection, self._destination.server_name)
        self._destination = self._destination._replace(server_name=server_name)
        if self._ocsp is not Ocsp.DISABLED:
            connection.request_ocsp()
        self._offered = self._sessions.take(self._destination)
        if self._offered is not None:
            connection.set_session(self._offered.session)

    def established(self, connection: SSL.Connection) -> TlsFacts:
        """Return what the handshake established; of a resumed one, what was found when its session began."""
        self._connection, self._facts = connection, self._look(connection)
        return self._facts

    @property
    def evidence(self) -> Evidence:
        """What came along; nothing with a session that was resumed, or where nobody asks."""
        if self._ocsp is Ocsp.DISABLED or self._connection is None or self._facts is None or self._facts.resumed:
            return NO_EVIDENCE
        staple = openssl.stapled_answer(self._connection, MAX_STAPLE_OCTETS)
        return Evidence(openssl.verified_issuer(self._connection), staple)

    def examined(self, facts: TlsFacts) -> None:
        """Take what an examination made of the facts; they stand beside the session from now on.

        A session whose chain was found valid, and is no longer, is not kept: the next handshake is looked at anew, as
        what failed may have been the examination.
        """
        self._is_worth_keeping = self._facts is None or facts.chain is self._facts.chain
        self._facts = facts

    def octets_came(self) -> None:
        """Keep the session: the ticket of TLS 1.3, if there is one, came before the first octets."""
        connection, self._connection = self._connection, None
        if connection is not None and self._facts is not None and self._is_worth_keeping and _is_new(self._facts):
            self._keep(connection, self._facts)

    def refused(self, detail: str) -> TlsFailure | None:
        """Return why upstream ended a connection of TLS 1.3 before its first octets, ``None`` if TLS is not the cause.

        There our side of the handshake is done before upstream looks at the certificate that it asked us for.

        Args:
            detail: how the connection ended.
        """
        if self._connection is None or self._facts is None or self._facts.version < TlsVersion.TLS1_3:
            return None
        if not openssl.certificate_was_requested(self._connection):
            return None
        return TlsFailure(TlsReason.CLIENT_CERTIFICATE_REQUIRED, detail)

    def failed(self) -> None:
        """Offer this upstream no session for now: a server may choke on one."""
        if self._offered is not None:
            self._sessions.forget(self._destination)

    def _look(self, connection: SSL.Connection) -> TlsFacts:
        if not openssl.session_reused(connection):
            self._verified_at_s = self._sessions.monotonic()
            return facts_of(connection, self._destination.server_name)
        if self._offered is None:
            raise AssertionError("a session was resumed that was not offered")
        self._verified_at_s = self._offered.verified_at_s
        return facts_of_resumed(connection, self._offered.facts)

    def _keep(self, connection: SSL.Connection, facts: TlsFacts) -> None:
        encoded = openssl.encoded_session(connection)
        ticket = ticket_of(encoded, int(MAX_AGE_S)) if len(encoded) <= MAX_SESSION_OCTETS else None
        session = connection.get_session()
        if session is None or ticket is None or openssl.chain_octets(connection) > MAX_CHAIN_OCTETS:
            return
        if facts.resumed and self._offered is not None and ticket.octets == self._offered.ticket.octets:
            return  # no other came, and that one has been used
        usable_until_s = min(self._verified_at_s + MAX_AGE_S, self._sessions.monotonic() + ticket.lifetime_s)
        kept = KeptSession(session, ticket, facts, self._verified_at_s, usable_until_s)
        self._sessions.keep(self._destination, kept)


def _is_new(facts: TlsFacts) -> bool:
    """In TLS 1.2 a session that was resumed is the one that is kept already."""
    return facts.version >= TlsVersion.TLS1_3 or not facts.resumed
