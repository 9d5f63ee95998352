"""Who dialled what: told by the connection itself, by the kernel that redirected it, or by a balancer."""

from __future__ import annotations

from dataclasses import dataclass

from smtpproxy.endpoint import Endpoint
from smtpproxy.policy.model import InterceptionMode
from smtpproxy.policy.selection import plain_address
from smtpproxy.proxy_header.header import Header, Proxied, Tlv
from smtpproxy.transport.stream import Stream


@dataclass(frozen=True, slots=True)
class Arrival:
    """A connection that was accepted.

    Args:
        stream: the connection.
        client: who dialled.
        destination: what it dialled.
        balancer: who relayed it and told so, ``None`` without one.
        tlvs: what it said of the connection besides.
        is_unnamed: whether the balancer named no client: most likely it only sees whether the gateway is there.
    """

    stream: Stream
    client: Endpoint
    destination: Endpoint
    balancer: Endpoint | None = None
    tlvs: tuple[Tlv, ...] = ()
    is_unnamed: bool = False


def arrive(stream: Stream, mode: InterceptionMode) -> Arrival:
    """Return who dialled what, as far as the connection and the kernel can tell."""
    redirected = stream.redirected_from() if mode is InterceptionMode.REDIRECT else None
    host, port = redirected or (stream.local_host, stream.local_port)
    return Arrival(stream, _plain(stream.peer_host, stream.peer_port), _plain(host, port))


def arrive_through(stream: Stream, header: Header) -> Arrival:
    """Return who dialled what by a balancer's word; where it names nobody, the connection's own ends count.

    Version 1 has no word for a balancer's own check: HAProxy names itself then.
    """
    balancer = _plain(stream.peer_host, stream.peer_port)
    if isinstance(header, Proxied):
        client, destination = _plain_end(header.client), _plain_end(header.destination)
        if client != balancer:
            return Arrival(stream, client, destination, balancer, header.tlvs)
    return Arrival(stream, balancer, _plain(stream.local_host, stream.local_port), balancer, is_unnamed=True)


def _plain_end(end: Endpoint) -> Endpoint:
    return _plain(end.host, end.port)


def _plain(host: str, port: int) -> Endpoint:
    return Endpoint(str(plain_address(host)), port)
