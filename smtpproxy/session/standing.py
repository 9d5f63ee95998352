"""How a session stands at this moment, for who looks on: no content, and of its messages only how many there were."""

from __future__ import annotations

from dataclasses import dataclass

from smtpproxy.policy.selection import Address
from smtpproxy.session.states import ClientState, UpstreamState
from smtpproxy.tls.facts import TlsFacts


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What is known of a session that is under way.

    Args:
        client: the state of the client leg.
        upstream: the state of the upstream leg.
        helo: the EHLO or HELO name that was accepted last.
        client_tls: what the client's handshake established, ``None`` in clear.
        upstream_tls: the same of upstream's.
        upstream_address: where upstream was dialled, ``None`` before that.
        downgraded: whether TLS was wanted upstream and the session went on in clear.
        not_inspected_because: a token if it passes uninspected, else ``None``.
        transactions: how many have ended.
        client_octets_in: octets that came from the client, without those of handshakes.
        client_octets_out: octets that went to it.
        upstream_octets_in: octets that came from upstream.
        upstream_octets_out: octets that went there.
        age_s: since the session began.
        idle_s: since a peer said anything.
    """

    client: ClientState
    upstream: UpstreamState
    helo: bytes
    client_tls: TlsFacts | None
    upstream_tls: TlsFacts | None
    upstream_address: Address | None
    downgraded: bool
    not_inspected_because: str | None
    transactions: int
    client_octets_in: int
    client_octets_out: int
    upstream_octets_in: int
    upstream_octets_out: int
    age_s: float
    idle_s: float
