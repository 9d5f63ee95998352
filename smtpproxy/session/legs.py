"""The two connections of a session."""

from __future__ import annotations

from enum import Enum


class Leg(Enum):
    """Client leg: whoever connected to us. Upstream leg: whomever we connected to."""

    CLIENT = "client"
    UPSTREAM = "upstream"
