"""Who is told what the upstream leg came to."""

from __future__ import annotations

from typing import Protocol

from smtpproxy.session.legs import Leg
from smtpproxy.session.sent import Sent
from smtpproxy.smtp.replies import Reply
from smtpproxy.tls.facts import TlsFacts, TlsFailure


class Reporter(Protocol):
    """Who takes reports."""

    def tls(self, leg: Leg, outcome: TlsFacts | TlsFailure) -> None:
        """Report what a handshake came to."""

    def incident(self, leg: Leg, token: str) -> None:
        """Report a break of the protocol that ends the session."""


class UpstreamOwner(Protocol):
    """Who is told what the upstream leg came to."""

    def upstream_greeted(self, reply: Reply) -> None:
        """Upstream's first greeting."""

    def upstream_identified(self) -> None:
        """EHLO was accepted and STARTTLS, if it was due, is settled one way or the other."""

    def upstream_hello_refused(self, reply: Reply) -> None:
        """EHLO and HELO were refused."""

    def upstream_replied(self, sent: Sent, reply: Reply) -> None:
        """The reply to a command, the next one that was not answered."""

    def upstream_judged(self, reply: Reply) -> None:
        """The reply to the end of data or to the last chunk."""

    def upstream_spoke_early(self, reply: Reply) -> None:
        """A reply while content was still on its way; the leg is closed."""

    def upstream_ended(self, farewell: Reply, token: str) -> None:
        """The leg is closed and the session cannot go on; ``farewell`` is for the client."""
