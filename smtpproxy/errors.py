"""The errors that rooms raise to one another."""

from __future__ import annotations


class SmtpProxyError(Exception):
    """Root of every error that this package raises on purpose."""


class ProtocolError(SmtpProxyError):
    """A peer broke the protocol; the session answers, counts and goes on or closes.

    Args:
        reason: a short token in kebab case for records and tests, never octets of the peer.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
