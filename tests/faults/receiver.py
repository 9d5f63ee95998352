"""An upstream by RFC 5321 that owns each message whose end it has read, whether or not its 250 arrives.

Source: RFC 5321 s4.1.1.4 (DATA), s4.1.4 (order); RFC 3030 s2 (BDAT); RFC 1047 (why the end, not the reply, decides).
"""

from __future__ import annotations

import socket
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReadDescriptor
from zope.interface import implementer

from tests.faults.variants import Way
from tests.faults.wire import Gone, Wire, reactor, turns

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from tests.faults.fault import Fault

KEYWORDS: Final = (b"PIPELINING", b"8BITMIME", b"CHUNKING", b"ENHANCEDSTATUSCODES")
_SEEN_TURNS: Final = 5  # until the gateway has seen a cut that was made


@dataclass(slots=True)
class Accepted:
    """A message that is upstream's own now."""

    sender: bytes
    content: bytes


@dataclass(slots=True)
class Transaction:
    """From MAIL to the end of the content."""

    sender: bytes
    recipients: int = 0
    content: bytearray = field(default_factory=bytearray)


class Cut:
    """When the fault of a case has come; ``act`` is a part of it."""

    def __init__(self, act: Callable[[], object] = bool) -> None:
        self._act = act
        self._come = False
        self._waiting: list[Deferred[None]] = []

    def has_come(self) -> None:
        """Let those go on who wait for it."""
        self._act()
        self._come = True
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            each.callback(None)

    async def wait(self) -> None:
        """Return when it has come."""
        if not self._come:
            self._waiting.append(Deferred())
            await self._waiting[-1]


@implementer(IReadDescriptor)
class Receiver:
    """Listens on a port with STARTTLS and on one with implicit TLS.

    Attributes:
        accepted: the messages whose end was read, in order.
        wires: the connections so far.
    """

    def __init__(self, context: ssl.SSLContext, *, implicit: bool) -> None:
        self.accepted: list[Accepted] = []
        self.wires: list[Wire] = []
        self._context = context
        self._implicit = implicit
        self._way: Way = "clear"
        self._fault: Fault | None = None
        self._cut = Cut()
        self._withheld = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.setblocking(False)
        reactor.addReader(self)

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    def begin(self, way: Way, fault: Fault | None, cut: Cut, *, withheld: int = 0) -> None:
        """Forget everything; the next connection carries ``fault``."""
        self.accepted, self.wires = [], []
        self._way, self._fault, self._cut, self._withheld = way, fault, cut, withheld

    def close(self) -> None:
        """Listen no more."""
        reactor.removeReader(self)
        self._listener.close()

    # The reactor's

    def fileno(self) -> int:
        return self._listener.fileno()

    def logPrefix(self) -> str:  # noqa: N802 - Twisted's name
        return "upstream"

    def doRead(self) -> None:  # noqa: N802 - Twisted's name
        connected, _ = self._listener.accept()
        fault, self._fault = self._fault, None
        wire = Wire(connected, fault, self._cut.has_come)
        self.wires.append(wire)
        Deferred.fromCoroutine(self._serve(wire))

    def connectionLost(self, _reason: object) -> None:  # noqa: N802 - Twisted's name
        """The reactor ends with the tests."""

    # A connection

    async def _serve(self, wire: Wire) -> None:
        with suppress(Gone):
            if self._implicit:
                await wire.start_tls(self._context, server_name=None)
            wire.write(b"220 mx.upstream.test ESMTP\r\n")
            await self._converse(wire, encrypted=self._implicit)
        wire.close()

    async def _converse(self, wire: Wire, *, encrypted: bool) -> None:
        transaction: Transaction | None = None
        while True:
            line = await wire.read_line()
            verb, _, argument = line.partition(b" ")
            match verb.upper():
                case b"EHLO":
                    transaction = None
                    wire.write(self._capabilities(encrypted=encrypted))
                case b"STARTTLS" if self._way == "starttls" and not encrypted:
                    wire.write(b"220 2.0.0 Go ahead\r\n")
                    await wire.start_tls(self._context, server_name=None)
                    encrypted, transaction = True, None
                case b"QUIT":
                    wire.write(b"221 2.0.0 Bye\r\n")
                    return
                case _:
                    transaction = await self._take(wire, verb.upper(), argument, transaction)

    def _capabilities(self, *, encrypted: bool) -> bytes:
        offers = self._way == "starttls" and not encrypted
        lines = [b"mx.upstream.test", *KEYWORDS, *([b"STARTTLS"] if offers else [])]
        return b"".join(b"250-%b\r\n" % line for line in lines[:-1]) + b"250 %b\r\n" % lines[-1]

    async def _take(
        self, wire: Wire, verb: bytes, argument: bytes, under_way: Transaction | None
    ) -> Transaction | None:
        match verb, under_way:
            case (b"MAIL", None):
                wire.write(b"250 2.1.0 Ok\r\n")
                return Transaction(argument.partition(b"<")[2].partition(b">")[0])
            case (b"RCPT", Transaction()):
                under_way.recipients += 1
                wire.write(b"250 2.1.5 Ok\r\n")
                return under_way
            case (b"DATA", Transaction(recipients=count)) if count and not under_way.content:
                await self._take_data(wire, under_way)
                return None
            case (b"BDAT", Transaction(recipients=count)) if count:
                return await self._take_chunk(wire, argument, under_way)
            case (b"NOOP" | b"RSET", _):
                wire.write(b"250 2.0.0 Ok\r\n")
                return under_way if verb == b"NOOP" else None
            case _:
                raise AssertionError(f"upstream must not hear {verb!r} {argument!r} in {under_way}")

    async def _take_data(self, wire: Wire, transaction: Transaction) -> None:
        wire.write(b"354 Go on\r\n")
        while (line := await wire.read_line()) != b".":
            transaction.content += line.removeprefix(b".") + b"\r\n"
        await self._accept(wire, transaction)

    async def _take_chunk(self, wire: Wire, argument: bytes, transaction: Transaction) -> Transaction | None:
        count, _, last = argument.partition(b" ")
        transaction.content += await wire.read(int(count))
        if last:
            await self._accept(wire, transaction)
            return None
        wire.write(b"250 2.0.0 Chunk taken\r\n")
        return transaction

    async def _accept(self, wire: Wire, transaction: Transaction) -> None:
        self.accepted.append(Accepted(transaction.sender, bytes(transaction.content)))
        if len(self.accepted) == self._withheld:
            await self._cut.wait()
            await turns(_SEEN_TURNS)
        wire.write(b"250 2.0.0 Mine now, as %d\r\n" % len(self.accepted))
