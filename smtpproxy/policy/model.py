"""The configured model: policies, proxy actions, TLS profiles and encryption rules as frozen values.

`config/` makes these from files; nothing else reads configuration.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from smtpproxy.endpoint import Endpoint
from smtpproxy.enums import IdentityEnum
from smtpproxy.policy.entries import Entries
from smtpproxy.policy.messages import MessageRule, levels_in_reach
from smtpproxy.policy.rules import EncryptionRule, Network, OnFailure, RecipientEncryption
from smtpproxy.policy.tls_level import NOT_HONOURED, TlsLevelHeader
from smtpproxy.tls.facts import TlsVersion


class Direction(Enum):
    """Outbound: inside to Internet. Inbound: Internet to own servers. Decides which certificate clients see."""

    OUTBOUND = "outbound"
    INBOUND = "inbound"


class PortKind(IdentityEnum):
    """How a port's connections begin: in clear (25) or with a ClientHello (465)."""

    SMTP = "smtp"
    SMTPS = "smtps"


class TlsSupport(Enum):
    """Which kinds of port a policy takes."""

    DISABLED = "disabled"
    ENABLED = "enabled"
    REQUIRED = "required"

    @property
    def ports(self) -> frozenset[PortKind]:
        """The kinds of port: disabled 25, enabled 25 and 465, required 465."""
        return _PORTS[self]


_PORTS = {
    TlsSupport.DISABLED: frozenset({PortKind.SMTP}),
    TlsSupport.ENABLED: frozenset({PortKind.SMTP, PortKind.SMTPS}),
    TlsSupport.REQUIRED: frozenset({PortKind.SMTPS}),
}


class InterceptionMode(Enum):
    """How the gateway learns what a client dialled.

    Explicit: it is the gateway. Tproxy: the kernel hands the connection over as it is. Redirect: the kernel changed the
    destination, and tells. Proxy protocol: a balancer in front tells.
    """

    EXPLICIT = "explicit"
    TPROXY = "tproxy"
    REDIRECT = "redirect"
    PROXY_PROTOCOL = "proxy_protocol"


class OnStop(Enum):
    """What becomes of the traffic of a stopped gateway: it is dropped, or it passes uninspected."""

    BLOCK = "block"
    PASS = "pass"  # noqa: S105 - no password


class SourceAddress(Enum):
    """The address that upstream sees: the client's own, or the gateway's."""

    CLIENT = "client"
    GATEWAY = "gateway"


class SendClient(Enum):
    """How an upstream that takes it is told who the client is."""

    NONE = "none"
    PROXY_V2 = "proxy_v2"
    XCLIENT = "xclient"
    XFORWARD = "xforward"


class TlsAction(Enum):
    """What happens to TLS: inspected, tunnelled, refused politely or without a word, or that and the source blocked."""

    INSPECT = "inspect"
    ALLOW = "allow"
    DENY = "deny"
    DROP = "drop"
    BLOCK = "block"


@dataclass(frozen=True, slots=True)
class TlsException:
    """What happens to the TLS of some destinations, whatever happens to that of the others."""

    match: Entries
    action: TlsAction


class ActionKind(Enum):
    """Client: for outbound policies. Server: for inbound ones."""

    CLIENT = "client"
    SERVER = "server"


class Pfs(IdentityEnum):
    """Whether key exchanges with perfect forward secrecy are left out, mixed in or the only ones."""

    NONE = "none"
    ALLOWED = "allowed"
    REQUIRED = "required"


class CertificateValidation(IdentityEnum):
    """Off: not looked at. Audit: recorded, untrusted leaf for the client. Enforce: refused."""

    OFF = "off"
    AUDIT = "audit"
    ENFORCE = "enforce"


class Ocsp(IdentityEnum):
    """Whether responders are asked about revocation, and whether only a good answer will do."""

    DISABLED = "disabled"
    LENIENT = "lenient"
    STRICT = "strict"


class SecondOpinion(IdentityEnum):
    """What another verifier's refusal of a chain that OpenSSL finds valid leads to: off, nobody asks it."""

    OFF = "off"
    LOG = "log"
    ENFORCE = "enforce"


@dataclass(frozen=True, slots=True)
class ClientCertificate:
    """The files of a certificate chain and its key."""

    certificate: str
    key: str


@dataclass(frozen=True, slots=True)
class TlsProfile:
    """Protocol versions, cipher suites and certificate validation, shared by many proxy actions.

    Args:
        name: its name, which no other has.
        minimum_version: the oldest that either leg may negotiate.
        pfs: which key exchanges there are.
        certificate_validation: what an upstream certificate that is not valid leads to.
        ciphers: OpenSSL's names of the suites of TLS 1.2 and older, best first; empty for ours.
        tls13_ciphers: the same of TLS 1.3.
        trusted: where the authorities are that peers are checked with, ``None`` for the gateway's.
        crl: files of revocation lists.
        client_certificate: what an upstream is shown that asks for a certificate, ``None`` for nothing.
        chain_second_opinion: what another verifier's opinion of an upstream chain leads to.
        ocsp: whether it is asked if an upstream certificate was revoked.
        ocsp_private_responders: networks in which responders may be asked though they are not of the Internet.
        compliance: whether what passes uninspected must really be TLS.
    """

    name: str
    minimum_version: TlsVersion = TlsVersion.TLS1_2
    pfs: Pfs = Pfs.ALLOWED
    certificate_validation: CertificateValidation = CertificateValidation.AUDIT
    ciphers: tuple[str, ...] = ()
    tls13_ciphers: tuple[str, ...] = ()
    trusted: str | None = None
    crl: tuple[str, ...] = ()
    client_certificate: ClientCertificate | None = None
    chain_second_opinion: SecondOpinion = SecondOpinion.LOG
    ocsp: Ocsp = Ocsp.DISABLED
    ocsp_private_responders: tuple[Network, ...] = ()
    compliance: bool = False

    @property
    def names_files(self) -> bool:
        """Whether it needs more than the gateway's own trust."""
        return bool(self.trusted or self.crl or self.client_certificate)

    @property
    def is_legacy(self) -> bool:
        """Whether it takes versions that RFC 8996 forbids."""
        return self.minimum_version < TlsVersion.TLS1_2


@dataclass(frozen=True, slots=True)
class ImplicitTls:
    """Implicit TLS, port 465: what happens to it, and to that of some server names and destinations."""

    action: TlsAction = TlsAction.INSPECT
    exceptions: tuple[TlsException, ...] = ()


@dataclass(frozen=True, slots=True)
class StartTls:
    """Explicit TLS, port 25; its rules hold on port 465 as well.

    ``fallback_memory_s`` is how long an upstream whose TLS broke is not asked for it again, where clear text will do.
    ``exceptions`` go by destination only, and hold whether STARTTLS is spoken or not.
    """

    profile: TlsProfile
    rules: tuple[EncryptionRule, ...]
    enabled: bool = True
    on_failure: OnFailure = field(default_factory=OnFailure)
    fallback_memory_s: int = 600
    exceptions: tuple[TlsException, ...] = ()


class BareNewline(Enum):
    """What happens to a bare LF in DATA content: made CRLF with dots stuffed anew, or refused."""

    NORMALIZE = "normalize"
    REJECT = "reject"


@dataclass(frozen=True, slots=True)
class General:
    """Limits of a session; times in seconds, sizes in octets.

    ``max_line_length`` is that of a content line, ``None`` for no limit.
    """

    idle_timeout_s: int = 600
    max_session_age_s: int = 3600
    max_sessions: int = 5000
    max_sessions_per_source: int = 100
    max_recipients: int = 1000
    max_address_length: int = 256
    max_message_size: int = 50_000_000
    bare_newline: BareNewline = BareNewline.NORMALIZE
    block_time_s: int = 1200


ESMTP_KEYWORDS = frozenset(
    {
        "SIZE",
        "8BITMIME",
        "BINARYMIME",
        "CHUNKING",
        "PIPELINING",
        "DSN",
        "SMTPUTF8",
        "ENHANCEDSTATUSCODES",
        "AUTH",
        "ETRN",
        "LIMITS",
    }
)
"""Extensions that pass unless the administrator says otherwise."""

OPT_IN_KEYWORDS = frozenset({"REQUIRETLS"})
"""Extensions that pass only where the administrator names them."""

MECHANISMS = frozenset(
    {
        "PLAIN",
        "LOGIN",
        "CRAM-MD5",
        "SCRAM-SHA-1",
        "SCRAM-SHA-256",
        "SCRAM-SHA-512",
        "XOAUTH2",
        "OAUTHBEARER",
        "ANONYMOUS",
    }
)
"""Mechanisms of AUTH that can pass a proxy: none binds to the channel, none may add a layer of its own."""

DEFAULT_MECHANISMS = frozenset({"PLAIN", "LOGIN", "CRAM-MD5", "SCRAM-SHA-256", "XOAUTH2", "OAUTHBEARER"})


@dataclass(frozen=True, slots=True)
class Esmtp:
    """Whether the extended dialogue is spoken at all, and which extensions may pass."""

    enabled: bool = True
    allow: frozenset[str] = ESMTP_KEYWORDS
    log_denied: bool = True


@dataclass(frozen=True, slots=True)
class Authentication:
    """Which mechanisms of AUTH may pass, and whether the inside leg may be in clear meanwhile.

    Inside is the client's leg outbound, upstream's inbound; the other leg is always on TLS.
    """

    allow: frozenset[str] = DEFAULT_MECHANISMS
    plaintext: bool = False


@dataclass(frozen=True, slots=True)
class ProxyAction:
    """The rules for a policy's traffic.

    ``implicit_profile`` is the TLS profile of port 465; of the message rules only those that
    are enabled, and for the direction of its mail, are here.
    """

    name: str
    kind: ActionKind
    implicit_profile: TlsProfile
    starttls: StartTls
    general: General = General()
    esmtp: Esmtp = field(default_factory=Esmtp)
    authentication: Authentication = Authentication()
    message_rules: tuple[MessageRule, ...] = ()
    tls_level_header: TlsLevelHeader = NOT_HONOURED
    tls: ImplicitTls = ImplicitTls()

    @property
    def levels_in_reach(self) -> frozenset[RecipientEncryption]:
        """The encryption that messages may ask for themselves, whatever the encryption rules say."""
        return levels_in_reach(self.message_rules, self.tls_level_header)


@dataclass(frozen=True, slots=True)
class UpstreamHost:
    """Where a policy's sessions are opened anew: a DNS name or IP address and its port for each kind."""

    host: str
    smtp: int = 25
    smtps: int = 465

    def at(self, kind: PortKind) -> Endpoint:
        """Return where connections of ``kind`` are opened anew."""
        return Endpoint(self.host, self.port(kind))

    def port(self, kind: PortKind) -> int:
        """Return the port that serves connections of ``kind``."""
        return self.smtp if kind is PortKind.SMTP else self.smtps


@dataclass(frozen=True, slots=True)
class PeerPolicies:
    """Whether what a destination publishes of its TLS is honoured, whatever the rules say."""

    dane: bool = False
    mta_sts: bool = False


@dataclass(frozen=True, slots=True)
class Policy:
    """Which traffic is proxied, on which kinds of port, with which proxy action.

    ``upstream`` is where sessions are opened anew, ``None`` for where the client dialled.
    """

    name: str
    direction: Direction
    source: tuple[Network, ...]
    destination: tuple[Network, ...]
    tls_support: TlsSupport
    action: ProxyAction
    upstream: UpstreamHost | None
    enabled: bool = True
    peer_policies: PeerPolicies = PeerPolicies()
    send_client: SendClient = SendClient.NONE
    source_address: SourceAddress = SourceAddress.GATEWAY

    def target(self, kind: PortKind) -> Endpoint | None:
        """Return where connections of ``kind`` are opened anew, ``None`` for where the client dialled."""
        return self.upstream.at(kind) if self.upstream else None
