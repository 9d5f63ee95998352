"""A sender by RFC 5321: what it got no 250 for it still owns, and sends again.

Source: RFC 5321 s4.2.5 (responsibility passes with the 250), s4.5.4.1 (retries); RFC 2920 s3.1 (groups of commands).
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tests.faults.variants import Message, Variant
from tests.faults.wire import Gone, Wire

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterable, Iterator, Sequence

SERVER_NAME: Final = "mx.upstream.test"
_EHLO: Final = b"EHLO client.test\r\n"


class RefusedError(Exception):
    """A reply that was not hoped for."""


@dataclass(frozen=True, slots=True)
class Due:
    """A reply that is due: its class, and the message that it confirms."""

    digit: bytes
    confirms: Message | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """What is sent at once, and the replies that are awaited before the next step."""

    octets: bytes
    due: tuple[Due, ...]


_POSITIVE: Final = Due(b"2")
_GO_ON: Final = Due(b"3")
_QUIT: Final = Step(b"QUIT\r\n", (_POSITIVE,))


def steps(message: Message, variant: Variant) -> Iterator[Step]:
    """Yield what one message takes, one command at a time."""
    for command in message.envelope:
        yield Step(command, (_POSITIVE,))
    if variant.content == "DATA":
        yield Step(b"DATA\r\n", (_GO_ON,))
        yield Step(message.stuffed, (Due(b"2", message),))
    else:
        *chunks, last = message.chunks
        for chunk in chunks:
            yield Step(chunk, (_POSITIVE,))
        yield Step(last, (Due(b"2", message),))


def grouped(single: Sequence[Step]) -> Iterator[Step]:
    """Join steps as far as the next does not wait for a 354: content and the commands behind it leave together."""
    octets: bytes = b""
    due: tuple[Due, ...] = ()
    for step in single:
        octets, due = octets + step.octets, (*due, *step.due)
        if step.due[-1] is _GO_ON:
            yield Step(octets, due)
            octets, due = b"", ()
    yield Step(octets, due)


class Sender:
    """One session of a sender.

    Attributes:
        confirmed: senders' addresses of the messages that got their 250.
    """

    def __init__(self, wire: Wire, variant: Variant, context: ssl.SSLContext) -> None:
        self.confirmed: set[bytes] = set()
        self._wire = wire
        self._variant = variant
        self._context = context

    async def send(self, messages: Sequence[Message]) -> None:
        """Send ``messages`` as far as the session carries, and end it."""
        single = [step for message in messages for step in steps(message, self._variant)] + [_QUIT]
        try:
            await self._speak(grouped(single) if self._variant.pipelined else single)
        finally:
            self._wire.close()

    async def _speak(self, steps: Iterable[Step]) -> None:
        with suppress(Gone):
            try:
                await self._begin()
                for step in steps:
                    await self._take(step)
            except RefusedError:
                self._wire.write(b"QUIT\r\n")
            await self._wire.read_to_end()

    async def _begin(self) -> None:
        if self._variant.way == "smtps":
            await self._wire.start_tls(self._context, server_name=SERVER_NAME)
        await self._hear(_POSITIVE)
        await self._take(Step(_EHLO, (_POSITIVE,)))
        if self._variant.way == "starttls":
            await self._take(Step(b"STARTTLS\r\n", (_POSITIVE,)))
            await self._wire.start_tls(self._context, server_name=SERVER_NAME)
            await self._take(Step(_EHLO, (_POSITIVE,)))

    async def _take(self, step: Step) -> None:
        self._wire.write(step.octets)
        for due in step.due:
            await self._hear(due)

    async def _hear(self, due: Due) -> None:
        line = await self._wire.read_line()
        while line[3:4] == b"-":
            line = await self._wire.read_line()
        if line[:1] != due.digit:
            raise RefusedError(line)
        if due.confirms is not None:
            self.confirmed.add(due.confirms.sender)
