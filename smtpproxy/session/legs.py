"""The two connections of a session."""

from __future__ import annotations

from smtpproxy.enums import IdentityEnum


class Leg(IdentityEnum):
    """Client leg: whoever connected to us. Upstream leg: whomever we connected to."""

    CLIENT = "client"
    UPSTREAM = "upstream"

    @property
    def other(self) -> Leg:
        """The leg on the other side of the proxy."""
        return Leg.UPSTREAM if self is Leg.CLIENT else Leg.CLIENT
