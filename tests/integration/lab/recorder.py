"""An upstream that keeps every octet, so that a test can say what really arrived."""

from __future__ import annotations

import contextlib
import socket
import threading
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from tests.integration.lab.ports import HOST

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

KEYWORDS = (b"SIZE 52428800", b"8BITMIME", b"SMTPUTF8", b"DSN", b"PIPELINING", b"ENHANCEDSTATUSCODES")
END_OF_DATA = b"\r\n.\r\n"
HANDSHAKE_FAILURE = b"\x15\x03\x03\x00\x02\x02\x28"  # RFC 8446 s6: a fatal alert in its record
_READ_OCTETS = 1 << 16
_TIMEOUT_S = 30.0


@dataclass
class Script:
    """What the upstream says.

    Args:
        greeting: its first words.
        keywords: what its EHLO offers besides STARTTLS.
        starttls: whether STARTTLS is offered.
        hangs_up: whether STARTTLS is answered by closing the connection.
        handshake: whether a client's hello is answered; if not, with an alert.
        reads_content: held while the upstream is to stop reading after its 354.
        end_of_data: the reply to a message, ``None`` for the usual one.
        challenges: what AUTH is answered with, one a line of the client's, before 235.
        replies: for a verb the whole reply that takes the usual one's place; TLS or content then do not follow.
        by_name: for a server name the certificate that takes the usual one's place.
    """

    greeting: bytes = b"220 mx.upstream.test ESMTP\r\n"
    keywords: tuple[bytes, ...] = KEYWORDS
    starttls: bool = True
    hangs_up: bool = False
    handshake: bool = True
    reads_content: threading.Event | None = None
    end_of_data: bytes | None = None
    challenges: tuple[bytes, ...] = ()
    replies: dict[bytes, bytes] = field(default_factory=dict)
    by_name: dict[str, ssl.SSLContext] = field(default_factory=dict)


@dataclass
class Connection:
    """What one connection brought: octets before TLS and inside it, and each message as it was sent.

    Content of DATA is still stuffed, that of BDAT has its chunks joined. `reads` is what each read brought; `resumed`
    whether its TLS session was one of an earlier connection.
    """

    clear: bytearray = field(default_factory=bytearray)
    encrypted: bytearray = field(default_factory=bytearray)
    messages: list[bytes] = field(default_factory=list)
    reads: list[bytes] = field(default_factory=list)
    server_name: str | None = None
    resumed: bool = False

    @property
    def commands(self) -> bytes:
        """Everything that was said, in clear and then inside TLS."""
        return bytes(self.clear + self.encrypted)


class RecordingUpstream:
    """Listens on a port with STARTTLS and on one with implicit TLS; a thread for each connection."""

    def __init__(self, context: ssl.SSLContext, script: Script | None = None) -> None:
        self.begin(context, script)
        self._listeners = [socket.create_server((HOST, 0)) for _ in range(2)]
        self._threads: list[threading.Thread] = []
        self._dialogues: set[_Dialogue] = set()
        for listener, implicit in zip(self._listeners, (False, True), strict=True):
            self._spawn(partial(self._accept, listener, implicit=implicit))

    @property
    def smtp_port(self) -> int:
        return int(self._listeners[0].getsockname()[1])

    @property
    def smtps_port(self) -> int:
        return int(self._listeners[1].getsockname()[1])

    @property
    def messages(self) -> list[bytes]:
        return [message for connection in self.connections for message in connection.messages]

    @property
    def octets(self) -> bytes:
        return b"".join(connection.commands for connection in self.connections)

    def begin(self, context: ssl.SSLContext, script: Script | None = None) -> None:
        """Forget everything, and serve the connections to come in this way."""
        self.script = script or Script()
        self.connections: list[Connection] = []
        self._context = context

    def close(self) -> None:
        """End every connection and wait for the threads; more than once does no harm."""
        for listener in self._listeners:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
        for dialogue in tuple(self._dialogues):
            dialogue.abort()
        for thread in self._threads:
            thread.join()
        for listener in self._listeners:
            listener.close()

    def _spawn(self, target: Callable[[], None]) -> None:
        thread = threading.Thread(target=target)
        self._threads.append(thread)
        thread.start()

    def _accept(self, listener: socket.socket, *, implicit: bool) -> None:
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            sock.settimeout(_TIMEOUT_S)
            self._spawn(partial(self._serve, sock, implicit=implicit))

    def _serve(self, sock: socket.socket, *, implicit: bool) -> None:
        record = Connection()
        self.connections.append(record)
        dialogue = _Dialogue(sock, record, self.script, self._context)
        self._dialogues.add(dialogue)
        with contextlib.suppress(OSError, EOFError):  # a proxy that goes away is what many tests are about
            dialogue.run(implicit=implicit)
        self._dialogues.discard(dialogue)
        dialogue.close()


class _Dialogue:
    """One connection's conversation; blocking, one reply for each command."""

    def __init__(self, sock: socket.socket, record: Connection, script: Script, context: ssl.SSLContext) -> None:
        self._sock = sock
        self._record = record
        self._script = script
        self._context = context
        self._buffer = b""
        self._tls = False
        self._chunks: list[bytes] = []

    def run(self, *, implicit: bool) -> None:
        if implicit:
            self._start_tls()
        self._sock.sendall(self._script.greeting)
        while line := self._read_until(b"\r\n"):
            if not self._answer(line):
                return

    def abort(self) -> None:
        """End the conversation from another thread: a blocked read returns."""
        with contextlib.suppress(OSError):
            socket.socket.shutdown(self._sock, socket.SHUT_RDWR)  # not SSLSocket's, which touches its state

    def close(self) -> None:
        self._sock.close()

    def _answer(self, line: bytes) -> bool:
        verb = line.split()[0].upper() if line.split() else b""
        if verb == b"BDAT":
            self._take_chunk(line.split())
            return True
        if verb == b"AUTH":
            self._challenge()
        if verb in (b"EHLO", b"HELO", b"RSET"):
            self._chunks.clear()
        if verb == b"STARTTLS" and self._script.hangs_up:
            return False
        self._sock.sendall(self._script.replies.get(verb) or self._usual_reply(verb))
        if verb == b"DATA" and verb not in self._script.replies:
            self._take_content()
        elif verb == b"STARTTLS" and verb not in self._script.replies:
            self._start_tls()
        return verb != b"QUIT"

    def _usual_reply(self, verb: bytes) -> bytes:
        match verb:
            case b"EHLO":
                offers = [b"mx.upstream.test", *self._script.keywords]
                if self._script.starttls and not self._tls:
                    offers.append(b"STARTTLS")
                return b"".join(b"250-%b\r\n" % offer for offer in offers[:-1]) + b"250 %b\r\n" % offers[-1]
            case b"DATA":
                return b"354 Go ahead\r\n"
            case b"QUIT":
                return b"221 2.0.0 Bye\r\n"
            case b"STARTTLS":
                return b"220 2.0.0 Ready\r\n"
            case b"AUTH":
                return b"235 2.7.0 Welcome\r\n"
            case b"HELO" | b"MAIL" | b"RCPT" | b"RSET" | b"NOOP":
                return b"250 2.0.0 Ok\r\n"
            case _:
                return b"502 5.5.1 Not here\r\n"

    def _take_content(self) -> None:
        if self._script.reads_content is not None:
            self._script.reads_content.wait(_TIMEOUT_S)
        # RFC 5321 s4.1.1.4: the CRLF of the DATA line counts, so that an empty message is a lone dot.
        self._buffer = b"\r\n" + self._buffer
        content = self._read_until(END_OF_DATA)
        if not content:
            raise ConnectionError("closed inside the content")
        self._record.messages.append(content[2 : -len(b".\r\n")])
        usual = b"250 2.0.0 Recorded as %d\r\n" % len(self._record.messages)
        self._sock.sendall(self._script.end_of_data or usual)

    def _take_chunk(self, words: list[bytes]) -> None:
        octets = int(words[1])
        while len(self._buffer) < octets:
            self._buffer += self._read()
        self._chunks.append(self._buffer[:octets])
        self._buffer = self._buffer[octets:]
        reply = b"250 2.0.0 %d octets\r\n" % octets
        if words[-1].upper() == b"LAST":
            self._record.messages.append(b"".join(self._chunks))
            self._chunks.clear()
            reply = self._script.end_of_data or b"250 2.0.0 Recorded as %d\r\n" % len(self._record.messages)
        self._sock.sendall(self._script.replies.get(b"BDAT") or reply)

    def _challenge(self) -> None:
        for challenge in self._script.challenges:
            self._sock.sendall(b"334 %b\r\n" % challenge)
            self._read_until(b"\r\n")

    def _start_tls(self) -> None:
        if not self._script.handshake:
            self._sock.recv(_READ_OCTETS)
            self._sock.sendall(HANDSHAKE_FAILURE)
            raise ConnectionError("no handshake, as the script says")
        self._context.sni_callback = self._note_server_name
        secured = self._context.wrap_socket(self._sock, server_side=True)
        self._record.resumed = bool(secured.session_reused)
        self._sock = secured
        self._tls = True
        self._buffer = b""

    def _note_server_name(self, sock: ssl.SSLObject, name: str | None, _context: object) -> None:
        self._record.server_name = name
        if name in self._script.by_name:
            sock.context = self._script.by_name[name]

    def _read_until(self, mark: bytes) -> bytes:
        pieces, tail = [self._buffer], self._buffer
        while mark not in tail:
            try:
                data = self._read()
            except EOFError:
                return b""
            pieces.append(data)
            tail = tail[-len(mark) + 1 :] + data
        found, _, self._buffer = b"".join(pieces).partition(mark)
        return found + mark

    def _read(self) -> bytes:
        data = self._sock.recv(_READ_OCTETS)
        if not data:
            raise EOFError
        (self._record.encrypted if self._tls else self._record.clear).extend(data)
        self._record.reads.append(data)
        return data
