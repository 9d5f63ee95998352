"""What all sessions of one configuration share: certificates, TLS contexts and sessions, trust, the record writer."""

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
from smtpproxy.lru import CacheFigures
from smtpproxy.peers.directory import Directory
from smtpproxy.peers.memory import BrokenTls
from smtpproxy.policy.certificates import Leaf
from smtpproxy.session.actions import AcceptTls, ConnectTls
from smtpproxy.spool import Spools
from smtpproxy.transport.contexts import Contexts
from smtpproxy.transport.resumption import TlsSessions
from smtpproxy.transport.trust import TrustStore
from smtpproxy.transport.upstream_handshake import UpstreamHandshake
from smtpproxy.transport.verification import certificate_figures


class Equipment:
    """Gives the driver what its actions need.

    Args:
        reactor: Twisted's.
        proxy_server: the Proxy Server certificates.
        mint: makes leaves.
        contexts: makes and keeps TLS contexts.
        trust: whom upstream's chains are verified against.
        spools: makes spools.
        broken_tls: remembers upstreams whose TLS broke.
        directory: knows recipient domains.
        write: takes every record.
    """

    __slots__ = (
        "_contexts", "_mint", "_proxy_server", "_tls_sessions", "_trust", "broken_tls", "directory", "reactor",
        "spools", "write",
    )  # fmt: skip

    def __init__(  # noqa: PLR0913 - each is a part of its own, given by name
        self,
        *,
        reactor: Any,  # noqa: ANN401 - Twisted's reactor has many interfaces
        proxy_server: ServerCredentials,
        mint: Mint,
        contexts: Contexts,
        trust: TrustStore,
        spools: Spools,
        broken_tls: BrokenTls,
        directory: Directory,
        write: Callable[[Record], None],
    ) -> None:
        self.reactor = reactor
        self.spools = spools
        self.broken_tls = broken_tls
        self.directory = directory
        self.write = write
        self._proxy_server = proxy_server
        self._mint = mint
        self._contexts = contexts
        self._trust = trust
        self._tls_sessions = TlsSessions()  # one for a configuration: under the next, all is verified anew

    def server_context(self, request: AcceptTls) -> SSL.Context:
        """Return the context that shows the certificate which was decided on."""
        credential = self._credential(request)
        return self._contexts.server(request.profile, credential.certificates, credential.key, credential.fingerprint)

    def upstream_handshake(self, request: ConnectTls, address: tuple[str, int]) -> UpstreamHandshake:
        """Return the handshake to be made with the upstream that was dialled at ``address``."""
        context = self._contexts.client(request.profile, self._trust)
        return UpstreamHandshake(self._tls_sessions, context, address, request.server_name)

    @property
    def caches(self) -> dict[str, CacheFigures]:
        """How each cache does, by name."""
        return {
            "leaves": self._mint.figures,
            **self._contexts.figures,
            "upstream-tls-sessions": self._tls_sessions.figures,
            "peer-certificates": certificate_figures(),
            "broken-tls": self.broken_tls.figures,
            **self.directory.figures,
        }

    def _credential(self, request: AcceptTls) -> Credential:
        choice = request.certificate
        if isinstance(choice, Leaf):
            return self._mint.leaf(choice, datetime.now(UTC))
        return self._proxy_server.choose(choice.server_name)

    def reference(self) -> str:
        """Return a new random token for a session or a crash."""
        return token_hex(6)
