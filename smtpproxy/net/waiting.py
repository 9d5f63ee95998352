"""A connection that is taken a moment later: nothing of it is read meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from OpenSSL import SSL

from smtpproxy.tls.facts import TlsFailure
from smtpproxy.transport.stream import Ending, Stream


class Waiting:
    """Owns a stream until it is taken.

    Args:
        reactor: Twisted's.
        stream: the connection.
        seconds: how long.
        take: takes it, or closes it.
    """

    __slots__ = ("_stream", "_take")

    def __init__(self, reactor: Any, stream: Stream, seconds: float, take: Callable[[], None]) -> None:  # noqa: ANN401
        self._stream = stream
        self._take = take
        stream.owner = self
        stream.pause()
        reactor.callLater(seconds, self._end)

    def _end(self) -> None:
        self._stream.owner = None
        self._stream.resume()
        try:
            self._take()
        except BaseException:
            self._stream.abort()
            raise

    # From the stream

    def stream_received(self, data: bytes) -> None:
        """Never: it is not read."""

    def stream_finished(self, _ending: Ending) -> bool:
        """Never: it is not read."""
        return True

    def stream_closed(self, _ending: Ending) -> None:
        """Whoever takes it finds out."""

    def stream_hello(self, hello: bytes) -> None:
        """Never asked for."""

    def stream_upgraded(self, connection: SSL.Connection) -> None:
        """Never asked for."""

    def stream_tls_failed(self, failure: TlsFailure | SSL.Error, connection: SSL.Connection | None) -> None:
        """Never asked for."""

    def stream_blocked(self) -> None:
        """Nothing is sent."""

    def stream_unblocked(self) -> None:
        """Nothing is sent."""
