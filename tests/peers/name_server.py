"""A name server in the test's process that says what a test wants, and a reactor whose clock is held."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import DatagramProtocol, Factory
from twisted.internet.task import Clock
from twisted.protocols.basic import Int16StringReceiver

HOST = "127.0.0.1"

reactor: Any = _reactor


@dataclass(frozen=True)
class Says:
    """What is answered to a question.

    Args:
        records: of the answer, each as in a zone file, with absolute names.
        secure: whether AD is set.
        rcode: of the response.
        truncated: whether UDP has nothing but TC.
        silent: whether nothing at all is said.
        raw: makes the datagrams instead; TCP knows nothing of it.
    """

    records: tuple[str, ...] = ()
    secure: bool = True
    rcode: dns.rcode.Rcode = dns.rcode.NOERROR
    truncated: bool = False
    silent: bool = False
    raw: Callable[[dns.message.Message], list[bytes]] | None = None

    def response(self, query: dns.message.Message) -> dns.message.Message:
        response = dns.message.make_response(query)
        response.flags |= dns.flags.RA | (dns.flags.AD if self.secure else 0)
        response.set_rcode(self.rcode)
        for record in self.records:
            name, ttl, _class, kind, *rest = record.split()
            response.answer.append(dns.rrset.from_text(name, int(ttl), "IN", kind, " ".join(rest)))
        if not self.records and self.rcode in {dns.rcode.NOERROR, dns.rcode.NXDOMAIN}:
            soa = "ns.test. hostmaster.test. 1 3600 600 86400 120"
            response.authority.append(dns.rrset.from_text(query.question[0].name.parent(), 120, "IN", "SOA", soa))
        return response

    def datagrams(self, query: dns.message.Message) -> list[bytes]:
        if self.silent:
            return []
        if self.raw:
            return self.raw(query)
        if not self.truncated:
            return [self.response(query).to_wire(max_size=65535)]
        cut = dns.message.make_response(query)
        cut.flags |= dns.flags.TC
        return [cut.to_wire()]


NOTHING = Says()


@dataclass
class FakeNameServer:
    """Answers from a table; what does not stand there is securely absent."""

    table: dict[tuple[str, str], Says] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)
    queries: list[dns.message.Message] = field(default_factory=list)
    ports: list[int] = field(default_factory=list)
    transports: list[str] = field(default_factory=list)
    _waiting: list[tuple[int, Deferred[None]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._tcp, self._udp = self._bind()
        self.port: int = self._udp.getHost().port

    def says(self, name: str, kind: str, *records: str, **more: Any) -> None:  # noqa: ANN401 - fields of `Says`
        """Answer with records whose owner, unless they name one, is the question's."""
        whole = tuple(each if " IN " in each else f"{name}. 300 IN {kind} {each}" for each in records)
        self.table[name, kind] = Says(whole, **more)

    def until_asked(self, times: int) -> Deferred[None]:
        """Wait until so many queries have come."""
        waiting: Deferred[None] = Deferred()
        self._waiting.append((times, waiting))
        self._wake()
        return waiting

    async def close(self) -> None:
        await self._udp.stopListening()
        await self._tcp.stopListening()

    def take(self, wire: bytes, transport: str) -> tuple[Says, dns.message.Message]:
        query = dns.message.from_wire(wire)
        question = query.question[0]
        key = question.name.to_text(omit_final_dot=True), question.rdtype.name
        self.queries.append(query)
        self.asked.append(key)
        self.transports.append(transport)
        reactor.callLater(0, self._wake)
        return self.table.get(key, NOTHING), query

    def _wake(self) -> None:
        for entry in list(self._waiting):
            if len(self.asked) >= entry[0]:
                self._waiting.remove(entry)
                entry[1].callback(None)

    def _bind(self) -> tuple[Any, Any]:
        while True:
            tcp = reactor.listenTCP(0, _TcpFactory(self), interface=HOST)
            try:
                return tcp, reactor.listenUDP(tcp.getHost().port, _Udp(self), interface=HOST)
            except CannotListenError:  # somebody else's; the next one is tried
                tcp.stopListening()


class _Udp(DatagramProtocol):
    def __init__(self, server: FakeNameServer) -> None:
        self._server = server

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:  # noqa: ANN401, N802 - Twisted's
        says, query = self._server.take(datagram, "udp")
        self._server.ports.append(addr[1])
        for each in says.datagrams(query):
            self.transport.write(each, addr)  # type: ignore[union-attr]


class _Tcp(Int16StringReceiver):
    def stringReceived(self, string: bytes) -> None:  # noqa: N802 - Twisted's name
        server: FakeNameServer = self.factory.server
        says, query = server.take(string, "tcp")
        if says.rcode == dns.rcode.REFUSED:
            self.transport.loseConnection()  # type: ignore[union-attr]
        elif not says.silent:
            self.sendString(says.response(query).to_wire(max_size=65535))  # type: ignore[no-untyped-call]


class _TcpFactory(Factory):
    protocol = _Tcp

    def __init__(self, server: FakeNameServer) -> None:
        self.server = server


class HeldClock:
    """The reactor with its clock held: delays pass when a test says so, `callLater(0)` as ever."""

    def __init__(self) -> None:
        self.clock = Clock()

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - all the rest is the reactor's
        return getattr(reactor, name)

    def seconds(self) -> float:
        return float(self.clock.seconds())

    def callLater(self, delay: float, function: Callable[..., object], *arguments: object) -> Any:  # noqa: ANN401, N802
        return (self.clock if delay else reactor).callLater(delay, function, *arguments)
