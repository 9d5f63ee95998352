"""The two connections of a session."""

from __future__ import annotations

from smtpproxy.enums import IdentityEnum


class Leg(IdentityEnum):
    """Client leg: whoever connected to us. Upstream leg: whomever we connected to."""

    CLIENT = "client"
    UPSTREAM = "upstream"
