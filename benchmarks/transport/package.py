"""The package's own streams, behind the candidates' interface."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from OpenSSL import SSL

from benchmarks.transport.legs import HOST, LegOwner, finished_contexts, reactor
from smtpproxy.tls.facts import TlsFailure
from smtpproxy.transport.dial import dial
from smtpproxy.transport.stream import Ending, Role, Stream
from smtpproxy.transport.tcp import listen


class StreamLeg:
    """Owns a stream and passes on what happens."""

    stream: Stream

    def __init__(self, owner: LegOwner, contexts: tuple[SSL.Context, SSL.Context]) -> None:
        self.owner = owner
        self.server_context, self.client_context = contexts
        self.blocked = False

    def collect_hello(self) -> None:
        """Read until the ClientHello has come."""
        self.stream.collect_hello()

    def start_tls(self, *, server: bool) -> None:
        """Begin the handshake."""
        if server:
            self.stream.start_tls(self.server_context, Role.SERVER)
        else:
            self.stream.start_tls(self.client_context, Role.CLIENT)

    def is_blocked(self) -> bool:
        """Whether too much is unsent."""
        return self.blocked

    def send(self, data: bytes) -> None:
        """Send plaintext."""
        self.stream.send(data)

    def pause(self) -> None:
        """Stop reading."""
        self.stream.pause()

    def resume(self) -> None:
        """Read on."""
        self.stream.resume()

    def close(self) -> None:
        """Send what is unsent, end TLS, close."""
        self.stream.close()

    def stream_received(self, data: bytes) -> None:
        """Plaintext came."""
        self.owner.received(self, data)

    def stream_hello(self, _hello: bytes) -> None:
        """The ClientHello has come."""
        self.owner.hello(self)

    def stream_upgraded(self, _connection: SSL.Connection) -> None:
        """The handshake is done."""
        self.owner.secured(self)

    def stream_tls_failed(self, failure: TlsFailure | SSL.Error, _connection: SSL.Connection | None) -> None:
        """Show why no figure comes out."""
        print(failure)

    def stream_finished(self, _ending: Ending) -> bool:
        """Nothing is left to tell a peer that has said all."""
        return False

    def stream_blocked(self) -> None:
        """Too much is unsent."""
        self.blocked = True

    def stream_unblocked(self) -> None:
        """Little is unsent."""
        self.blocked = False
        self.owner.drained(self)

    def stream_closed(self, _ending: Ending) -> None:
        """The connection is gone."""
        self.owner.ended(self)

    def dial_begins(self, _remote: tuple[str, int]) -> AbstractContextManager[None]:
        """Nothing to note."""
        return nullcontext()

    def dial_begun(self, local: tuple[str, int], remote: tuple[str, int]) -> None:
        """No matter here."""

    def dial_succeeded(self, stream: Stream) -> None:
        """Upstream's connection stands."""
        self.stream = stream
        self.owner.dialled(self)

    def dial_failed(self, reason: str) -> None:
        """Show why no figure comes out."""
        print(reason)


class StreamListener:
    """Accepts and dials by the package's means."""

    def __init__(self, folder: str, target: int, make_owner: Callable[[], Any]) -> None:
        self.contexts = finished_contexts(folder)
        self.target, self.make_owner = target, make_owner
        self.port = int(listen(reactor, HOST, 0, self._accept).getHost().port)

    def dial(self, owner: LegOwner) -> None:
        """Connect upstream."""
        dial(reactor, HOST, self.target, StreamLeg(owner, self.contexts))

    def _accept(self, stream: Stream) -> None:
        owner = self.make_owner()
        leg = owner.client = stream.owner = StreamLeg(owner, self.contexts)
        leg.stream = stream
        leg.collect_hello()
