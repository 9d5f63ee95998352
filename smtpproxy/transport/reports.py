"""What connections and streams report, and to whom.

Source: RFC 8446 s6.1 (an end without close_notify may be a truncation).
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from OpenSSL import SSL

    from smtpproxy.tls.facts import TlsFailure


class Ending(Enum):
    """How a connection came to its end."""

    CLEAN = "clean"  # the peer ended it in good order, or our own close is finished
    TRUNCATED = "truncated"  # the peer's TCP ended, its TLS did not: what came last may be cut
    RESET = "reset"  # reset by the peer, or lost on the way
    TLS_FAILED = "tls-failed"  # the stream's `failure` says why
    ABORTED = "aborted"  # we aborted it
    TIMED_OUT = "timed-out"  # the peer did not take what we wrote before our close
    CRASHED = "crashed"  # an exception in the owner


class TcpUser(Protocol):
    """What a connection reports; never from inside a call of the user's own."""

    def octets_received(self, octets: memoryview) -> None:
        """Take what was read; the view is valid only during the call."""

    def peer_finished(self) -> None:
        """The peer sends no more."""

    def sending_blocked(self) -> None:
        """More than ``BLOCKED_OCTETS`` are unsent."""

    def sending_unblocked(self) -> None:
        """Fewer than `UNBLOCKED_OCTETS` are unsent, after `sending_blocked`."""

    def connection_closed(self, ending: Ending) -> None:
        """The descriptor is gone; once, and the last call."""


class StreamOwner(Protocol):
    """What a stream reports; always from the reactor, never from inside a call of the owner's to any stream."""

    def stream_received(self, data: bytes) -> None:
        """Plaintext came, up to 256 KiB; all that was read in clear comes before an upgrade."""

    def stream_hello(self, hello: bytes) -> None:
        """The ClientHello is whole: the handshake message with its type and length, without record headers."""

    def stream_upgraded(self, connection: SSL.Connection) -> None:
        """The handshake is done."""

    def stream_tls_failed(self, failure: TlsFailure | SSL.Error, connection: SSL.Connection | None) -> None:
        """No TLS came about; the stream has sent its alert and closes itself, ``stream_closed`` follows.

        Without a connection, and where the stream was to be forgiving, what is no ClientHello waits instead.
        """

    def stream_finished(self, ending: Ending) -> bool:
        """The peer sends no more: return whether there is still something to tell it, and a ``close`` to come.

        If not, the stream closes itself.
        """

    def stream_blocked(self) -> None:
        """The peer takes less than what is sent; more is kept all the same, so stop."""

    def stream_unblocked(self) -> None:
        """The peer takes it again."""

    def stream_closed(self, ending: Ending) -> None:
        """The connection is gone; exactly once, and the last call."""
