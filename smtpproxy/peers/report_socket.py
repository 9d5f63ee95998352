"""The socket of tlsrpt-collectd: takes a datagram or does not, and nobody waits for it."""

from __future__ import annotations

import socket
from collections import Counter
from pathlib import Path

from twisted.logger import Logger

_log = Logger()


class ReportSocket:
    """Sends datagrams; the first that is dropped is told of, and the first that is not dropped any more.

    Args:
        path: where the collector listens; it may come later, and come again.
        counts: counts datagrams that were ``sent`` and those that were ``dropped``.
    """

    def __init__(self, path: Path, counts: Counter[str]) -> None:
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._is_down = self._is_closed = False
        self.counts = counts

    def send(self, datagram: bytes) -> None:
        """Send a datagram, or drop it."""
        try:
            self._socket.sendto(datagram, str(self._path))
        except OSError as error:
            self.counts["dropped"] += 1
            if not (self._is_down or self._is_closed):
                _log.warn("{path}: TLS reports are dropped: {error}", path=str(self._path), error=error.strerror)
            self._is_down = True
        else:
            self.counts["sent"] += 1
            if self._is_down:
                _log.info("{path}: TLS reports are taken again", path=str(self._path))
            self._is_down = False

    def close(self) -> None:
        """Drop whatever comes from now on."""
        self._is_closed = True
        self._socket.close()
