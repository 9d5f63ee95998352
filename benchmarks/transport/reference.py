"""The reference: Twisted's own transports and startTLS. It cannot look at a hello, which waits in the kernel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from OpenSSL import SSL
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.interfaces import (
    IHandshakeListener,
    IOpenSSLClientConnectionCreator,
    IOpenSSLServerConnectionCreator,
    IPushProducer,
)
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from benchmarks.transport.legs import HOST, LegOwner, finished_contexts, reactor


@implementer(IOpenSSLServerConnectionCreator, IOpenSSLClientConnectionCreator)
class _Creator:
    """A raw context where Twisted wants options."""

    def __init__(self, context: SSL.Context) -> None:
        self.context = context

    def serverConnectionForTLS(self, _protocol: object) -> SSL.Connection:  # noqa: N802 - Twisted's name
        return SSL.Connection(self.context, None)

    clientConnectionForTLS = serverConnectionForTLS  # noqa: N815 - Twisted's name


@implementer(IHandshakeListener, IPushProducer)
class StartTlsLeg(Protocol):
    """A protocol that upgrades its transport."""

    transport: Any

    def __init__(self, owner: LegOwner, contexts: tuple[SSL.Context, SSL.Context]) -> None:
        self.owner = owner
        self.server_context, self.client_context = contexts
        self.on_made: Callable[[], None] = lambda: None
        self.blocked = False

    def connectionMade(self) -> None:  # noqa: N802 - Twisted's name
        """Leave the peer's octets in the kernel."""
        self.transport.setTcpNoDelay(True)
        self.transport.pauseProducing()
        self.on_made()

    def collect_hello(self) -> None:
        """Pretend that it has come."""
        self.owner.hello(self)

    def start_tls(self, *, server: bool) -> None:
        """Begin the handshake."""
        self.transport.startTLS(_Creator(self.server_context if server else self.client_context))
        self.transport.registerProducer(self, True)
        self.transport.resumeProducing()

    def handshakeCompleted(self) -> None:  # noqa: N802 - Twisted's name
        """The handshake is done."""
        self.owner.secured(self)

    def dataReceived(self, data: bytes) -> None:  # noqa: N802 - Twisted's name
        """Plaintext came."""
        self.owner.received(self, data)

    def pauseProducing(self) -> None:  # noqa: N802 - Twisted's name
        """Too much is unsent."""
        self.blocked = True

    def resumeProducing(self) -> None:  # noqa: N802 - Twisted's name
        """Nothing is unsent any more."""
        self.blocked = False
        self.owner.drained(self)

    def stopProducing(self) -> None:  # noqa: N802 - Twisted's name
        """The connection is gone."""

    def is_blocked(self) -> bool:
        """Whether too much is unsent."""
        return self.blocked

    def send(self, data: bytes) -> None:
        """Send plaintext."""
        self.transport.write(data)

    def pause(self) -> None:
        """Stop reading."""
        self.transport.pauseProducing()

    def resume(self) -> None:
        """Read on."""
        self.transport.resumeProducing()

    def close(self) -> None:
        """Send what is unsent, end TLS, close."""
        self.transport.unregisterProducer()
        self.transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: ARG002, N802 - Twisted's
        """The connection is gone."""
        self.owner.ended(self)


class StartTlsListener(Factory):
    """Accepts and dials by Twisted's means."""

    noisy = False

    def __init__(self, folder: str, target: int, make_owner: Callable[[], Any]) -> None:
        self.contexts = finished_contexts(folder)
        self.target, self.make_owner = target, make_owner
        self.port = int(cast("Any", reactor).listenTCP(0, self, 1024, HOST).getHost().port)

    def buildProtocol(self, _address: object) -> StartTlsLeg:  # noqa: N802 - Twisted's name
        """Accept one."""
        owner = self.make_owner()
        leg = owner.client = StartTlsLeg(owner, self.contexts)
        leg.on_made = leg.collect_hello
        return leg

    def dial(self, owner: LegOwner) -> None:
        """Connect upstream."""
        endpoint = TCP4ClientEndpoint(reactor, HOST, self.target)
        connectProtocol(endpoint, StartTlsLeg(owner, self.contexts)).addCallback(owner.dialled)
