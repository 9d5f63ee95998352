"""EHLO and HELO, what the client is offered, and STARTTLS on its leg.

Source: RFC 5321 s4.1.1.1 (EHLO, HELO), s4.1.4 (they reset); RFC 3207 s4 (STARTTLS).
"""

from __future__ import annotations

from typing import Final

from smtpproxy.policy.authentication import decide_mechanisms
from smtpproxy.policy.encryption import decide_offer
from smtpproxy.session.delivery import Delivery
from smtpproxy.session.exchange import Exchange
from smtpproxy.session.legs import Leg
from smtpproxy.session.opening import BEHIND_STARTTLS, GO_AHEAD
from smtpproxy.session.states import ClientState
from smtpproxy.smtp import catalogue
from smtpproxy.smtp.capabilities import Capabilities, Hop, denied, offer
from smtpproxy.smtp.commands import Ehlo, Helo, StartTls, Verb
from smtpproxy.smtp.replies import Reply

_OK: Final = 250


class Hello:
    """What the client and this proxy say of themselves."""

    __slots__ = ("_action", "_delivery", "_exchange")

    def __init__(self, exchange: Exchange, delivery: Delivery) -> None:
        self._exchange = exchange
        self._delivery = delivery
        self._action = exchange.terms.policy.action

    # EHLO

    def identify(self, command: Ehlo | Helo) -> None:
        """Take EHLO or HELO upstream with the client's own name."""
        extended = self._action.esmtp.enabled
        if isinstance(command, Ehlo) and not extended:
            self._exchange.refuse(catalogue.NOT_IMPLEMENTED, "esmtp-disabled")
            return
        self._exchange.identifying = command
        if self._exchange.upstream.is_open:
            self._exchange.upstream.identify(command.name, extended=extended)
        else:
            self.identified()

    def identified(self) -> None:
        """Answer the client: upstream took its name, and upstream's TLS is settled."""
        command, self._exchange.identifying = self._exchange.identifying, None
        if isinstance(command, StartTls):
            self._upgraded()
        elif isinstance(command, Ehlo):
            offered = self._offer()
            self._answer(command, offered, offered.to_reply())
        elif isinstance(command, Helo):
            greeting = self._exchange.upstream.capabilities.greeting
            self._answer(command, Capabilities(greeting), Reply(_OK, (greeting,)))

    def refused(self, reply: Reply) -> None:
        """Answer the client with upstream's refusal, which changes nothing where upstream forgot nothing."""
        command, self._exchange.identifying = self._exchange.identifying, None
        forgot = self._exchange.client.state is not ClientState.GREETED and not self._exchange.upstream.is_identified
        if forgot or isinstance(command, StartTls):  # EHLO inside TLS, or in clear behind TLS that broke
            self._exchange.finish(catalogue.UPSTREAM_GONE, "upstream-refused-hello")
        else:
            self._exchange.answer(reply)

    def _answer(self, command: Ehlo | Helo, offered: Capabilities, reply: Reply) -> None:
        client = self._exchange.client
        self._delivery.end()
        client.step(command.verb)
        client.identified(command.name, offered)
        self._exchange.answer(reply)

    def _offer(self) -> Capabilities:
        upstream, esmtp = self._exchange.upstream.capabilities, self._action.esmtp
        self._exchange.journal.removed = denied(upstream, esmtp.allow) if esmtp.log_denied else ()
        return offer(upstream, esmtp.allow, self._hop())

    def _hop(self) -> Hop:
        client, upstream, general = self._exchange.client, self._exchange.upstream, self._action.general
        encrypted, secured = client.facts is not None, upstream.facts is not None
        mechanisms = decide_mechanisms(
            self._action.authentication,
            self._exchange.terms.policy.direction,
            client_encrypted=encrypted,
            upstream_encrypted=secured,
        )
        return Hop(
            starttls=not encrypted and self._offers_starttls(),
            size_limit=general.max_message_size,
            recipient_limit=general.max_recipients,
            mechanisms=mechanisms,
            requiretls=encrypted and upstream.is_verified,
        )

    # STARTTLS

    def starttls(self) -> None:
        """Begin TLS with the client, or say why not."""
        client = self._exchange.client
        if client.facts is not None:
            self._exchange.refuse(catalogue.SECOND_STARTTLS, "second-starttls")
        elif client.authenticated or not client.allows(Verb.STARTTLS):
            self._exchange.refuse(catalogue.OUT_OF_ORDER, "out-of-order")
        elif not client.offered.offers("STARTTLS"):
            self._exchange.refuse(catalogue.STARTTLS_NOT_OFFERED, "starttls-not-offered")
        elif client.reader.buffered:
            self._exchange.attack(catalogue.PIPELINED_STARTTLS, "octets-behind-starttls")
        elif self._exchange.rulebook.passes_starttls:
            self._exchange.forward(StartTls())
        elif self._exchange.upstream.may_upgrade:
            self._exchange.identifying = StartTls()
            self._exchange.upstream.upgrade()
        else:
            self._upgraded()

    def passed(self, reply: Reply) -> None:
        """Take upstream's reply to the client's own STARTTLS: behind 220 either side may send nothing in clear."""
        exchange = self._exchange
        if reply.code != GO_AHEAD:
            exchange.relay(reply)
        elif exchange.client.reader.buffered:
            exchange.attack(catalogue.PIPELINED_STARTTLS, "octets-behind-starttls")
        elif exchange.upstream.has_unread:
            exchange.journal.incident(Leg.UPSTREAM, BEHIND_STARTTLS)
            exchange.finish(catalogue.BEHIND_UPSTREAM_STARTTLS, BEHIND_STARTTLS)
        else:
            exchange.begin_tunnel(reply)

    def _upgraded(self) -> None:
        """Go on with the client's STARTTLS: upstream's TLS is settled."""
        client = self._exchange.client
        if client.reader.buffered:  # while upstream's was begun
            self._exchange.attack(catalogue.PIPELINED_STARTTLS, "octets-behind-starttls")
        elif not self._offers_starttls():
            self._exchange.answer(catalogue.TLS_NOT_READY)
        else:
            self._go_ahead()

    def _go_ahead(self) -> None:
        client = self._exchange.client
        client.reply(catalogue.GO_AHEAD_TLS)
        client.step(Verb.STARTTLS)
        client.forget()
        self._exchange.rest()

    def _offers_starttls(self) -> bool:
        upstream = self._exchange.upstream
        if self._exchange.rulebook.passes_starttls:
            return upstream.capabilities.offers("STARTTLS")
        ready = upstream.facts is not None or upstream.may_upgrade
        return self._action.starttls.enabled and decide_offer(self._exchange.rulebook.rules, upstream_ready=ready)
