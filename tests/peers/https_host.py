"""An HTTPS host in a thread, made of the standard library: it serves the octets that a test gives it."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Event, Thread

import trustme

PEER_TIMEOUT_S = 20.0


@dataclass
class HttpsHost:
    """Serves one connection after the other.

    Args:
        certificate: what it shows.
        address: its own, and its port.

    Attributes:
        response: what the next connections are answered with, as it goes on the wire.
        hold: whether nothing is said before the test ends.
        requests: what was asked, in order.
        asked: set by the first.
        cut: whether the connection ends without TLS's own goodbye.
    """

    certificate: trustme.LeafCert
    address: tuple[str, int] = ("127.0.0.1", 0)
    response: bytes = b""
    hold: bool = False
    requests: list[bytes] = field(default_factory=list)
    cut: bool = False

    def __post_init__(self) -> None:
        self._over = Event()
        self.asked = Event()
        self._listener = socket.create_server(self.address)
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.certificate.configure_cert(self._context)
        self.port: int = self._listener.getsockname()[1]
        self._thread = Thread(target=self._serve)
        self._thread.start()

    def close(self) -> None:
        """Serve nobody any more."""
        self._over.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()

    def _serve(self) -> None:
        while not self._over.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            connection.settimeout(PEER_TIMEOUT_S)
            with connection:
                self._quietly(self._answer, connection)

    def _quietly(self, function: Callable[[socket.socket], None], connection: socket.socket) -> None:
        try:
            function(connection)
        except (OSError, ssl.SSLError):
            return  # the client refused us

    def _answer(self, connection: socket.socket) -> None:
        secured = self._context.wrap_socket(connection, server_side=True)
        with secured:
            request = b""
            while b"\r\n\r\n" not in request:
                received = secured.recv(4096)
                if not received:
                    return
                request += received
            self.requests.append(request)
            self.asked.set()
            if self.hold:
                self._over.wait(PEER_TIMEOUT_S)
                return
            secured.sendall(self.response)
            if self.cut:
                secured.shutdown(socket.SHUT_RDWR)
            else:
                secured.unwrap()


def response(body: bytes, status: str = "200 OK", media_type: str | None = "text/plain", more: str = "") -> bytes:
    """Return a whole response."""
    content_type = f"Content-Type: {media_type}\r\n" if media_type else ""
    head = f"HTTP/1.1 {status}\r\n{content_type}{more}Content-Length: {len(body)}\r\n\r\n"
    return head.encode() + body
