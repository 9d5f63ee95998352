"""Thousands of clients at a time, and an upstream for them, on one asyncio loop."""

from __future__ import annotations

import asyncio
import resource
import ssl
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from tests.integration.lab.ports import HOST

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from tests.integration.lab.client import Mode
    from tests.integration.lab.gateway import Gateway

AT_A_TIME: Final = 40
_TIMEOUT_S: Final = 60.0
_REPLIES: Final = {
    b"EHLO": b"250-mx.upstream.test\r\n250-PIPELINING\r\n250 8BITMIME\r\n",
    b"DATA": b"354 Go on\r\n",
    b"QUIT": b"221 2.0.0 Bye\r\n",
}


def allow_descriptors(count: int) -> None:
    """Let this process, and those that it starts, have ``count`` descriptors."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, max(hard, count)))


class Sink(asyncio.Protocol):
    """One connection of an upstream that takes everything and forgets it."""

    def __init__(self) -> None:
        self._buffer = b""
        self._in_content = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(b"220 mx.upstream.test ESMTP\r\n")

    def data_received(self, data: bytes) -> None:
        *lines, self._buffer = (self._buffer + data).split(b"\r\n")
        replies = [reply for line in lines if (reply := self._answer(line))]
        if replies:
            self._transport.write(b"".join(replies))
        if replies and replies[-1].startswith(b"221"):
            self._transport.close()

    def _answer(self, line: bytes) -> bytes:
        if self._in_content:
            self._in_content = line != b"."
            return b"" if self._in_content else b"250 2.0.0 Taken\r\n"
        self._in_content = line == b"DATA"
        return _REPLIES.get(line[:4], b"250 2.0.0 Ok\r\n")


class Upstream:
    """The sink in clear on one port, inside TLS on another."""

    def __init__(self, servers: Sequence[asyncio.Server]) -> None:
        self._servers = servers
        self.smtp_port, self.smtps_port = (int(server.sockets[0].getsockname()[1]) for server in servers)

    @classmethod
    async def start(cls, context: ssl.SSLContext) -> Upstream:
        loop = asyncio.get_running_loop()
        return cls([await loop.create_server(Sink, HOST, 0, ssl=tls, backlog=1024) for tls in (None, context)])

    async def close(self) -> None:
        for server in self._servers:
            server.close()
            await server.wait_closed()


class Client:
    """One client that has been greeted."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def dial(cls, gateway: Gateway, mode: Mode, context: ssl.SSLContext) -> Client:
        port, tls = (gateway.smtps_port, context) if mode == "smtps" else (gateway.smtp_port, None)
        client = cls(*await asyncio.open_connection(HOST, port, ssl=tls))
        assert await client.reply() == b"220"
        return client

    def say(self, octets: bytes) -> None:
        self._writer.write(octets)

    async def reply(self) -> bytes:
        """Return the next reply's code."""
        async with asyncio.timeout(_TIMEOUT_S):
            line = await self._reader.readline()
            while line[3:4] == b"-":
                line = await self._reader.readline()
        return line[:3]

    async def send_message(self) -> None:
        """Send one message and end the session."""
        self.say(b"EHLO client.test\r\n")
        assert await self.reply() == b"250"
        self.say(b"MAIL FROM:<a@client.test>\r\nRCPT TO:<b@mx.test>\r\nDATA\r\n")
        assert [await self.reply() for _ in range(3)] == [b"250", b"250", b"354"]
        self.say(b"Subject: one of many\r\n\r\n" + b"x" * 500 + b"\r\n.\r\nQUIT\r\n")
        assert [await self.reply() for _ in range(2)] == [b"250", b"221"]
        await self.close()

    async def close(self) -> None:
        self._writer.close()
        with suppress(OSError):
            await self._writer.wait_closed()


async def many(count: int, work: Callable[[], Awaitable[object]]) -> None:
    """Do ``work`` so many times, `AT_A_TIME` at a time."""
    left = iter(range(count))

    async def go_on() -> None:
        for _ in left:
            await work()

    await asyncio.gather(*(go_on() for _ in range(AT_A_TIME)))
