"""What all sessions of one configuration share: certificates, TLS contexts, trust, the clock, the record writer."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from secrets import token_hex
from typing import Any

from OpenSSL import SSL

from smtpproxy.audit import Record
from smtpproxy.authority.credentials import Credential
from smtpproxy.authority.mint import Mint
from smtpproxy.authority.server import ServerCredentials
from smtpproxy.policy.certificates import Leaf
from smtpproxy.session.actions import AcceptTls, ConnectTls
from smtpproxy.spool import Spools
from smtpproxy.transport.contexts import Contexts
from smtpproxy.transport.trust import TrustStore


class Equipment:
    """Gives the driver what its actions need.

    Args:
        reactor: Twisted's.
        proxy_server: the Proxy Server certificates.
        mint: makes leaves.
        contexts: makes and keeps TLS contexts.
        trust: whom upstream's chains are verified against.
        spools: makes spools.
        write: takes every record.
    """

    __slots__ = ("_contexts", "_mint", "_proxy_server", "_trust", "reactor", "spools", "write")

    def __init__(  # noqa: PLR0913 - each is a part of its own, given by name
        self,
        *,
        reactor: Any,  # noqa: ANN401 - Twisted's reactor has many interfaces
        proxy_server: ServerCredentials,
        mint: Mint,
        contexts: Contexts,
        trust: TrustStore,
        spools: Spools,
        write: Callable[[Record], None],
    ) -> None:
        self.reactor = reactor
        self.spools = spools
        self.write = write
        self._proxy_server = proxy_server
        self._mint = mint
        self._contexts = contexts
        self._trust = trust

    def server_context(self, request: AcceptTls) -> SSL.Context:
        """Return the context that shows the certificate which was decided on."""
        credential = self._credential(request)
        return self._contexts.server(request.profile, credential.certificates, credential.key, credential.fingerprint)

    def client_context(self, request: ConnectTls) -> SSL.Context:
        """Return the context of upstream legs."""
        return self._contexts.client(request.profile, self._trust)

    def _credential(self, request: AcceptTls) -> Credential:
        choice = request.certificate
        if isinstance(choice, Leaf):
            return self._mint.leaf(choice, datetime.now(UTC))
        return self._proxy_server.choose(choice.server_name)

    def reference(self) -> str:
        """Return a new random token for a session or a crash."""
        return token_hex(6)
