"""What all sessions of one configuration share: certificates, TLS contexts and sessions, trust, the record writer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from secrets import token_hex
from types import MappingProxyType
from typing import Any, Final

from OpenSSL import SSL
from twisted.internet.defer import Deferred

from smtpproxy.audit import Record
from smtpproxy.authority.credentials import Credential
from smtpproxy.authority.mint import Mint
from smtpproxy.authority.remote import RemoteMint
from smtpproxy.authority.server import ServerCredentials
from smtpproxy.lru import CacheFigures
from smtpproxy.net.blocklist import Blocklist
from smtpproxy.net.loops import Loops
from smtpproxy.net.signing_authorities import Signers
from smtpproxy.peers.directory import Directory
from smtpproxy.peers.examiner import Examination, Examiner
from smtpproxy.peers.memory import BrokenTls
from smtpproxy.policy.certificates import Leaf
from smtpproxy.policy.model import TlsProfile
from smtpproxy.session.actions import AcceptTls, ConnectTls
from smtpproxy.spool import Spools
from smtpproxy.transport.contexts import Contexts
from smtpproxy.transport.profile_files import ProfileFiles
from smtpproxy.transport.resumption import TlsSessions
from smtpproxy.transport.trust import TrustStore
from smtpproxy.transport.upstream_handshake import UpstreamHandshake
from smtpproxy.transport.verification import certificate_figures

_NO_PROFILES: Final[Mapping[str, ProfileFiles]] = MappingProxyType({})


class Equipment:
    """Gives the driver what its actions need.

    Args:
        reactor: Twisted's.
        proxy_server: the Proxy Server certificates.
        mint: makes leaves.
        contexts: makes and keeps TLS contexts.
        trust: whom peers' chains are verified against.
        profiles: what takes its place under each TLS profile that names files of its own, by the profile's name.
        examiner: examines upstream's further.
        spools: makes spools.
        broken_tls: remembers upstreams whose TLS broke.
        directory: knows recipient domains.
        write: takes every record.
        blocklist: knows who is turned away.
        loops: knows the gateway's own ends of connections.
    """

    __slots__ = (
        "_contexts", "_files", "_mint", "_profiles", "_proxy_server", "_tls_sessions", "blocklist", "broken_tls",
        "directory", "examiner", "loops", "reactor", "spools", "write",
    )  # fmt: skip

    def __init__(  # noqa: PLR0913 - each is a part of its own, given by name
        self,
        *,
        reactor: Any,  # noqa: ANN401 - Twisted's reactor has many interfaces
        proxy_server: ServerCredentials,
        mint: Mint | RemoteMint,
        contexts: Contexts,
        trust: TrustStore,
        profiles: Mapping[str, ProfileFiles] = _NO_PROFILES,
        examiner: Examiner,
        spools: Spools,
        broken_tls: BrokenTls,
        directory: Directory,
        write: Callable[[Record], None],
        loops: Loops,
        blocklist: Blocklist,
    ) -> None:
        self.reactor = reactor
        self.spools = spools
        self.broken_tls = broken_tls
        self.directory = directory
        self.write = write
        self.loops = loops
        self.blocklist = blocklist
        self._proxy_server = proxy_server
        self._mint = mint
        self._contexts = contexts
        self._files = ProfileFiles(trust)
        self._profiles = profiles
        self.examiner = examiner
        self._tls_sessions = TlsSessions()  # one for a configuration: under the next, all is verified anew

    def server_context(self, request: AcceptTls) -> SSL.Context | Deferred[SSL.Context]:
        """Return the context that shows the certificate which was decided on; it may take time, or fail in the end."""
        choice = request.certificate
        if not isinstance(choice, Leaf):
            return self._context(self._proxy_server.choose(choice.server_name), request)
        shown = self._mint.leaf(choice, datetime.now(UTC))
        if isinstance(shown, Credential):
            return self._context(shown, request)
        return shown.addCallback(self._context, request)

    def _context(self, shown: Credential, request: AcceptTls) -> SSL.Context:
        asking = self._files_of(request.profile).trust if request.request_certificate else None
        return self._contexts.server(request.profile, shown.certificates, shown.key, shown.fingerprint, asking)

    def upstream_handshake(self, request: ConnectTls, address: tuple[str, int]) -> UpstreamHandshake:
        """Return the handshake to be made with the upstream that was dialled at ``address``."""
        context = self._contexts.client(request.profile, *self._files_of(request.profile))
        return UpstreamHandshake(self._tls_sessions, context, address, request.server_name, request.profile.ocsp)

    def examination(self, request: ConnectTls) -> Examination:
        """Return what examines the outcome of that handshake."""
        return Examination(self.examiner, request.profile, self._files_of(request.profile).trust)

    @property
    def authorities(self) -> Signers:
        """Who signs what outbound clients see."""
        return self._mint.authorities

    @property
    def caches(self) -> dict[str, CacheFigures]:
        """How each cache does, by name."""
        return {
            "leaves": self._mint.figures,
            **self._contexts.figures,
            "upstream-tls-sessions": self._tls_sessions.figures,
            **self.examiner.figures,
            "peer-certificates": certificate_figures(),
            "broken-tls": self.broken_tls.figures,
            **self.directory.figures,
        }

    def _files_of(self, profile: TlsProfile) -> ProfileFiles:
        return self._profiles[profile.name] if profile.names_files else self._files

    def reference(self) -> str:
        """Return a new random token for a session or a crash."""
        return token_hex(6)
