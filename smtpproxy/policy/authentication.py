"""Decide whether AUTH may pass: no password where somebody listens.

Source: RFC 4954 s4 (AUTH is not offered on a channel that is not protected), s6 (538).
"""

from __future__ import annotations

from smtpproxy.policy.model import Authentication, Direction


def decide_mechanisms(
    authentication: Authentication, direction: Direction, *, client_encrypted: bool, upstream_encrypted: bool
) -> frozenset[str]:
    """Return the mechanisms that may pass on these legs; none if a leg is in clear that may not be."""
    inside, outside = client_encrypted, upstream_encrypted
    if direction is Direction.INBOUND:
        inside, outside = outside, inside
    protected = outside and (inside or authentication.plaintext)
    return authentication.allow if protected else frozenset()
