"""Who dialled what: told by the connection itself, by the kernel that redirected it, or by a balancer."""

from __future__ import annotations

from dataclasses import dataclass

from smtpproxy.endpoint import Endpoint
from smtpproxy.policy.model import InterceptionMode
from smtpproxy.policy.selection import plain_address
from smtpproxy.transport.stream import Stream


@dataclass(frozen=True, slots=True)
class Arrival:
    """A connection that was accepted.

    Args:
        stream: the connection.
        client: who dialled.
        destination: what it dialled.
    """

    stream: Stream
    client: Endpoint
    destination: Endpoint


def arrive(stream: Stream, mode: InterceptionMode) -> Arrival:
    """Return who dialled what, as far as the connection and the kernel can tell."""
    redirected = stream.redirected_from() if mode is InterceptionMode.REDIRECT else None
    host, port = redirected or (stream.local_host, stream.local_port)
    return Arrival(stream, _plain(stream.peer_host, stream.peer_port), _plain(host, port))


def _plain(host: str, port: int) -> Endpoint:
    return Endpoint(str(plain_address(host)), port)
