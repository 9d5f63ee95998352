"""AUTH: the mechanisms that were offered, relayed step by step; nothing of it is kept or reported.

Source: RFC 4954 s4 (AUTH, its responses, cancelling with ``*``), s6 (replies).
"""

from __future__ import annotations

from smtpproxy.session.exchange import Exchange
from smtpproxy.session.states import ClientState, ClientStep
from smtpproxy.smtp import catalogue
from smtpproxy.smtp.command_parser import CANCEL, CommandError, parse_auth_response
from smtpproxy.smtp.commands import Auth, AuthResponse
from smtpproxy.smtp.lines import Line
from smtpproxy.smtp.replies import Reply


class Authentication:
    """The client's AUTH with upstream."""

    __slots__ = ("_exchange",)

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def begin(self, command: Auth) -> None:
        """Send AUTH upstream if its mechanism was offered."""
        exchange = self._exchange
        offered = exchange.client.offered.argument("AUTH")
        if exchange.client.authenticated:
            exchange.refuse(catalogue.OUT_OF_ORDER, "out-of-order")
        elif offered is None:
            self._refuse_unoffered()
        elif command.mechanism not in offered.decode().split():
            exchange.refuse(catalogue.AUTH_MECHANISM, "auth-mechanism-not-offered")
        else:
            exchange.forward(command)

    def _refuse_unoffered(self) -> None:
        """Where upstream has it, what is wanting is TLS."""
        exchange = self._exchange
        allowed = "AUTH" in exchange.terms.policy.action.esmtp.allow and exchange.upstream.capabilities.offers("AUTH")
        if allowed and (exchange.client.facts is None or exchange.upstream.facts is None):
            exchange.refuse(catalogue.AUTH_IN_CLEAR, "auth-in-clear")
        else:
            exchange.refuse(catalogue.NOT_IMPLEMENTED, "auth-not-offered")

    def parse(self, line: Line) -> AuthResponse:
        """Return the client's answer to a challenge; one that is none cancels, and upstream says so."""
        try:
            if line.fault is None:
                return parse_auth_response(line.octets)
            token = line.fault.value
        except CommandError as error:
            token = error.reason
        self._exchange.journal.fault(token)
        return CANCEL

    def respond(self, command: AuthResponse) -> None:
        """Send the answer upstream."""
        self._exchange.forward(command)

    def replied(self, command: Auth | AuthResponse, reply: Reply) -> None:
        """Pass on a challenge or the outcome."""
        client = self._exchange.client
        if reply.is_intermediate:
            client.step(command.verb)
        else:
            client.authenticated = reply.is_positive
            if client.state is ClientState.CHALLENGED:
                client.step(ClientStep.AUTH_ENDED)
        self._exchange.relay(reply)
