"""The small SMTP server that stands in for an upstream: what it accepts goes into a Maildir."""

from __future__ import annotations

from smtpproxy.embedded.service import EmbeddedUpstream

__all__ = ["EmbeddedUpstream"]
