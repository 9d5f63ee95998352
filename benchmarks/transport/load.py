"""Drive short SMTP sessions over implicit TLS through a relay into a sink; both ends live in this process.

Plain threads on blocking sockets, so that neither end shares code with what is measured.
"""

from __future__ import annotations

import argparse
import json
import socket
import ssl
import threading
import time

REPLIES = {b"EHLO": b"250-sink.test\r\n250 SIZE\r\n", b"DATA": b"354 go\r\n", b"QUIT": b"221 bye\r\n"}


def serve(listener: socket.socket, context: ssl.SSLContext) -> None:
    """Accept for ever, a thread a session."""
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=_serve_one, args=(connection, context), daemon=True).start()


def _serve_one(connection: socket.socket, context: ssl.SSLContext) -> None:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        with context.wrap_socket(connection, server_side=True) as tls:
            _converse(tls)
    except OSError:
        connection.close()


def _converse(tls: ssl.SSLSocket) -> None:
    tls.sendall(b"220 sink.test ESMTP\r\n")
    while command := tls.recv(4096):
        verb = command[:4]
        tls.sendall(REPLIES.get(verb, b"250 ok\r\n"))
        if verb == b"DATA":
            _swallow(tls)
            tls.sendall(b"250 queued\r\n")


def _swallow(tls: ssl.SSLSocket) -> None:
    tail = b""
    while not tail.endswith(b"\r\n.\r\n"):
        data = tls.recv(65536)
        if not data:
            raise ConnectionError("relay closed early")
        tail = (tail + data)[-5:]


class Load:
    """Closed loop of sessions against one port until a time is over."""

    def __init__(self, port: int, size_octets: int, certificate: str) -> None:
        self.port = port
        self.context = ssl.create_default_context(cafile=certificate)
        self.content = b"x" * 76 + b"\r\n"
        self.content = self.content * (size_octets // 78) + b".\r\n"
        self.finished = 0
        self.deadline = 0.0

    def run(self, concurrency: int, seconds: float) -> int:
        """Return how many sessions ended well."""
        self.finished, self.deadline = 0, time.monotonic() + seconds
        threads = [threading.Thread(target=self._loop) for _ in range(concurrency)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return self.finished

    def _loop(self) -> None:
        while time.monotonic() < self.deadline:
            self._session()
            self.finished += 1

    def open(self) -> ssl.SSLSocket:
        """Connect, finish the handshake and read the greeting."""
        connection = socket.create_connection(("127.0.0.1", self.port))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        tls = self.context.wrap_socket(connection, server_hostname="sink.test")
        tls.recv(4096)
        return tls

    def _session(self) -> None:
        with self.open() as tls:
            commands = (
                b"EHLO c\r\n",
                b"MAIL FROM:<a@b>\r\n",
                b"RCPT TO:<c@d>\r\n",
                b"DATA\r\n",
                self.content,
                b"QUIT\r\n",
            )
            for command in commands:
                tls.sendall(command)
                if not tls.recv(4096):
                    raise ConnectionError("relay closed early")


def main() -> None:
    """Read one JSON job a line from standard input, write one JSON answer a line; first, where the sink is."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("certificates")
    folder = arguments.parse_args().certificates
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(f"{folder}/leaf.pem")
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    threading.Thread(target=serve, args=(listener, context), daemon=True).start()
    print(json.dumps({"port": listener.getsockname()[1]}), flush=True)
    held: list[ssl.SSLSocket] = []
    while True:
        print(json.dumps({"done": _work(json.loads(input()), f"{folder}/ca.pem", held)}), flush=True)


def _work(job: dict[str, int], authority: str, held: list[ssl.SSLSocket]) -> int:
    """Run sessions for a time, or open some and hold them, or end those; return how many."""
    load = Load(job["port"], job.get("size", 0), authority)
    if seconds := job.get("seconds"):
        return load.run(job["concurrency"], seconds)
    if wanted := job.get("hold"):
        held += [load.open() for _ in range(wanted)]
    else:
        while held:
            held.pop().close()
    return len(held)


if __name__ == "__main__":
    main()
