"""XFORWARD before each MAIL: what upstream's log is told of the client.

Source: Postfix's XFORWARD_README (it holds for one transaction).

Nothing but a log depends on it, so mail goes on without: an upstream that does not take it is told of once a session.
"""

from __future__ import annotations

from collections import deque

from smtpproxy.policy.model import SendClient
from smtpproxy.session.exchange import Exchange
from smtpproxy.session.legs import Leg
from smtpproxy.smtp.commands import Mail
from smtpproxy.smtp.introduction import Xforward
from smtpproxy.smtp.replies import Reply


class Forwarding:
    """Holds MAIL back until upstream has heard of the client."""

    __slots__ = ("_exchange", "_is_wanted", "_mail", "_rest")

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._is_wanted = exchange.terms.policy.send_client is SendClient.XFORWARD
        self._mail: Mail | None = None
        self._rest: deque[Xforward] = deque()

    def begin(self, mail: Mail) -> bool:
        """Tell upstream, and keep MAIL until `replied` gives it back; return whether that is so."""
        if not self._is_wanted:
            return False
        client = self._exchange.client
        extended = bool(client.offered.keywords)  # what HELO is answered offers nothing
        self._rest.extend(self._exchange.upstream.forwarded_attributes(client.helo, extended=extended))
        if not self._rest:
            self._give_up("xforward-not-offered")
            return False
        self._mail = mail
        self._send_next()
        return True

    def replied(self, reply: Reply) -> Mail | None:
        """Go on; return MAIL if it may go now."""
        if not reply.is_positive:
            self._give_up("xforward-refused")
        if self._rest:
            self._send_next()
            return None
        mail, self._mail = self._mail, None
        return mail

    def _send_next(self) -> None:
        self._exchange.upstream.command(self._rest.popleft(), own=True)

    def _give_up(self, token: str) -> None:
        self._is_wanted = False
        self._rest.clear()
        self._exchange.journal.incident(Leg.UPSTREAM, token)
