"""What was found at a server, as far as it was reached."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from smtpproxy.smtp.capabilities import Capabilities
from smtpproxy.smtp.introduction import XCLIENT, takes_address
from smtpproxy.smtp.replies import Reply
from smtpproxy.tls.facts import TlsFacts
from smtpproxy.tls.names import parse_address
from smtpproxy.transport.upstream_handshake import NO_EVIDENCE, Evidence


@dataclass(frozen=True, slots=True)
class Target:
    """Whom to ask, and how.

    Args:
        host: a DNS name or an IP address.
        port: the port.
        implicit: whether TLS comes first, as on port 465.
        server_name: the SNI to send and the name that the certificate should bear; ``host`` if left out.
        proxied: whether a PROXY header comes before all else.
    """

    host: str
    port: int
    implicit: bool = False
    server_name: str | None = None
    proxied: bool = False

    @property
    def name(self) -> str:
        """The name, or the address, that the certificate should bear."""
        return self.server_name or self.host

    def __str__(self) -> str:
        return address_text(self.host, self.port)


def address_text(host: str, port: int) -> str:
    """Return host and port as one word, an IPv6 address in brackets."""
    return f"[{host}]:{port}" if parse_address(host) and ":" in host else f"{host}:{port}"


class Stage(Enum):
    """How far the conversation came; what failed, failed there."""

    LOOK_UP = "look-up"
    CONNECT = "connect"
    GREETING = "greeting"
    EHLO = "ehlo"
    STARTTLS = "starttls"
    HANDSHAKE = "handshake"
    EHLO_AGAIN = "ehlo-inside-tls"


@dataclass(frozen=True, slots=True)
class Failure:
    """Why there is no more to find.

    Args:
        stage: where it ended.
        token: the reason for programs, in kebab case.
        detail: the system's, the library's or the server's words, printable; empty for none.
    """

    stage: Stage
    token: str
    detail: str = ""

    @property
    def is_unreachable(self) -> bool:
        """Whether nobody answered at all."""
        return self.stage in {Stage.LOOK_UP, Stage.CONNECT}


@dataclass(frozen=True, slots=True)
class ChainFault:
    """What OpenSSL stopped at.

    Args:
        depth: of the certificate, 0 for the leaf.
        number: of ``X509_V_ERR``.
        words: the library's words for it.
    """

    depth: int
    number: int
    words: str


@dataclass(frozen=True, slots=True)
class ShownChain:
    """The certificates of a handshake, DER.

    Args:
        sent: in the order in which the server sent them.
        built: from the leaf towards a trusted authority, as far as OpenSSL came; the authority may be our own copy.
        fault: what it stopped at, ``None`` for nothing.
    """

    sent: tuple[bytes, ...]
    built: tuple[bytes, ...]
    fault: ChainFault | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What was found; ``None`` stands for what was not reached.

    Args:
        target: whom we asked.
        address: the IP address really dialled.
        greeting: the server's first words.
        clear: what it offers before TLS.
        secured: what it offers inside TLS.
        facts: what the handshake established.
        chain: the certificates that it brought.
        evidence: what it brought to tell of revocation.
        resumes: whether a second handshake resumed the first's session.
        failure: why there is no more.
    """

    target: Target
    address: str | None = None
    greeting: Reply | None = None
    clear: Capabilities | None = None
    secured: Capabilities | None = None
    facts: TlsFacts | None = None
    chain: ShownChain | None = None
    evidence: Evidence = NO_EVIDENCE
    resumes: bool | None = None
    failure: Failure | None = None

    @property
    def takes_xclient(self) -> bool | None:
        """Whether it lets us say by XCLIENT who a client is; ``None`` if it was not heard what it offers."""
        heard = self.secured or self.clear
        return None if heard is None else takes_address(heard.argument(XCLIENT))
