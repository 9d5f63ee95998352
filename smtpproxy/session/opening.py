"""The way to an upstream leg that takes commands: dial, greeting, EHLO, STARTTLS, EHLO again, fall-back in clear.

Source: RFC 5321 s3.1, s3.2, s4.1.1.1 (HELO where EHLO is refused); RFC 3207 s4 (STARTTLS).
"""

from __future__ import annotations

from typing import Final

from smtpproxy.errors import ProtocolError
from smtpproxy.policy.encryption import Plan
from smtpproxy.policy.legs import Reached
from smtpproxy.policy.selection import Address
from smtpproxy.session import timers
from smtpproxy.session.actions import Connect, ConnectTls, ForgetBroken, How, RememberBroken, StartTls
from smtpproxy.session.introduction import Introduction
from smtpproxy.session.legs import Leg
from smtpproxy.session.outbox import Outbox
from smtpproxy.session.rulebook import Rulebook
from smtpproxy.session.states import UpstreamState, UpstreamStep, step_upstream
from smtpproxy.session.terms import Ends, Terms
from smtpproxy.session.timers import Timer
from smtpproxy.session.upstream_owner import Reporter, UpstreamOwner
from smtpproxy.smtp import catalogue, commands, limits
from smtpproxy.smtp.capabilities import Capabilities, parse_capabilities
from smtpproxy.smtp.commands import Ehlo, Helo
from smtpproxy.smtp.introduction import Xforward
from smtpproxy.smtp.replies import Reply, ReplyReader
from smtpproxy.tls.facts import Chain, TlsFacts, TlsFailure, TlsReason
from smtpproxy.tls.names import matches

BEHIND_STARTTLS: Final = "octets-behind-upstream-starttls"
GO_AHEAD: Final = 220


class UpstreamOpening:
    """One session's connection to upstream until it takes commands, and its second one in clear where TLS broke.

    Attributes:
        state: where the leg is.
        facts: of its TLS, ``None`` in clear.
        failure: why TLS did not come about, ``None`` unless it was tried.
        capabilities: of the last EHLO reply.
        downgraded: whether TLS was wanted and the session went on in clear.
        octets_in: octets that came from upstream.
    """

    __slots__ = (
        "_asked_name", "_broke_lately", "_ends", "_extended", "_introduction", "_last_said", "_name", "_outbox",
        "_owner", "_reader", "_reporter", "_rulebook", "_server_name", "_shortfall", "_terms", "capabilities",
        "downgraded", "facts", "failure", "octets_in", "state",
    )  # fmt: skip

    def __init__(
        self, owner: UpstreamOwner, terms: Terms, ends: Ends, rulebook: Rulebook, reporter: Reporter, outbox: Outbox
    ) -> None:
        self.state = UpstreamState.IDLE
        self.facts: TlsFacts | None = None
        self.failure: TlsFailure | None = None
        self.capabilities = Capabilities(b"", ())
        self.octets_in = 0
        self.downgraded = False
        self._owner = owner
        self._terms = terms
        self._ends = ends
        self._introduction = Introduction(terms.policy.send_client, ends)
        self._rulebook = rulebook
        self._reporter = reporter
        self._outbox = outbox
        self._reader = ReplyReader()
        self._name = b""
        self._extended = True
        self._last_said: tuple[bytes, bool] | None = None
        self._asked_name = self._server_name = terms.upstream_name
        self._shortfall = Reached.NOT_OFFERED
        self._broke_lately = False

    # What it came to

    @property
    def reached(self) -> Reached:
        """What mail is judged against."""
        if self.facts is not None:
            return Reached.ENCRYPTED
        if self.state is UpstreamState.REFUSED:
            return Reached.CERTIFICATE_REFUSED
        if self._rulebook.passes_starttls and self.capabilities.offers("STARTTLS"):
            return Reached.LEFT_TO_CLIENT
        by_plan = self._rulebook.plan is not Plan.EAGER and self.failure is None
        return Reached.CLEAR if by_plan else self._shortfall

    @property
    def learns_name(self) -> bool:
        """Whether the next connection could ask by SNI for a name that is learnt now: nobody else says which."""
        return self._asked_name is None

    @property
    def is_verified(self) -> bool:
        """Whether its chain is valid and its certificate bears the name that was asked for.

        That is the policy's or the client's own: the name that an address is known by is anybody's word.
        """
        facts, name = self.facts, self._asked_name
        if facts is None or facts.peer is None or facts.chain is not Chain.VALID or name is None:
            return False
        return matches(name, facts.peer)

    @property
    def address(self) -> Address | None:
        """Where upstream was dialled, ``None`` before that."""
        return self._rulebook.address

    @property
    def may_upgrade(self) -> bool:
        """Whether STARTTLS is offered and was not tried in vain: it can be begun when the client begins its own."""
        waits = self._rulebook.plan is Plan.MIRROR and self.state is UpstreamState.READY
        return waits and self.facts is None and self._takes_starttls

    @property
    def shortfall(self) -> TlsFailure | None:
        """Why there is no TLS although it was wanted; ``None`` if there is, or before EHLO was answered."""
        if self.failure is None and self.downgraded:
            return TlsFailure(TlsReason.STARTTLS_NOT_SUPPORTED)
        return self.failure

    @property
    def has_unread(self) -> bool:
        """Whether more has come than was read: the beginning of a reply, or what is none."""
        return self._reader.buffered > 0

    @property
    def is_open(self) -> bool:
        """Whether there is a connection, or one is being made."""
        return self.state not in _GONE

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection."""
        return self.is_open and self.state is not UpstreamState.DIALLING

    @property
    def is_identified(self) -> bool:
        """Whether it took EHLO or HELO, and forgot nothing since."""
        return self.state is UpstreamState.READY

    @property
    def is_untouched(self) -> bool:
        """Whether it has not been dialled yet."""
        return self.state is UpstreamState.IDLE

    @property
    def takes_us_for_client(self) -> bool:
        """Whether it must be told who the client is, and has not been: all that it is asked counts as our own."""
        return self._introduction.is_due

    def forwarded_attributes(self, helo: bytes, *, extended: bool) -> tuple[Xforward, ...]:
        """Return what it can be told for its log, none if it offers no XFORWARD."""
        return self._introduction.attributes(self.capabilities, helo, extended=extended)

    # What the session asks of it

    def dial(self, server_name: str | None = None) -> None:
        """Open the connection; ``server_name`` is the client's SNI, passed on where the policy names no host."""
        self._asked_name = self._server_name = self._terms.upstream_name or server_name
        self._step(UpstreamStep.DIAL)
        self._connect()

    def identify(self, name: bytes, *, extended: bool) -> None:
        """Say EHLO (HELO if not ``extended``) with the client's own ``name``, and STARTTLS if that is due.

        Inside TLS, what upstream was told last is not said again: nothing came in between that it would undo. So it is
        when a client says EHLO, STARTTLS and EHLO, while upstream's TLS was begun behind the first.
        """
        if self._last_said == (name, extended) and self.facts is not None:
            self._owner.upstream_identified()
        else:
            self._name, self._extended = name, extended
            self._last_said = None
            self._hello()

    def upgrade(self) -> None:
        """Begin TLS because the client does; ends in ``upstream_identified``, be it in clear."""
        self._starttls()

    def close(self, how: How) -> None:
        """End the connection; with ``ABORT`` nothing that waits to be sent goes out."""
        if self.is_open:
            self._outbox.close(Leg.UPSTREAM, how)
        if self.state is not UpstreamState.CLOSED:
            self._step(UpstreamStep.CLOSE)

    # What happens to it

    def connected(self, address: Address | None, name: str | None, broken: TlsFailure | None) -> None:
        """TCP stands: begin implicit TLS or wait for the greeting.

        Args:
            address: where it was dialled.
            name: what that is known as.
            broken: why its TLS failed of late.
        """
        self.introduced(address)
        self._server_name = self._asked_name or name
        self._broke_lately = broken is not None
        if broken is not None and not self._terms.implicit and self.failure is None:
            self._spare(broken)
        if self._terms.implicit:
            self._step(UpstreamStep.SECURE)
            self._start_tls()
        else:
            self._step(UpstreamStep.CONNECTED)
            self._outbox.set_timer(Timer.UPSTREAM, limits.GREETING_TIMEOUT_S)

    def introduced(self, address: Address | None) -> None:
        """TCP stands: know where, and say first of all who the client is."""
        self._rulebook.connected(address)
        if header := self._introduction.begin():
            self._outbox.send(Leg.UPSTREAM, header)

    def unreachable(self, reason: str) -> None:
        """TCP could not be had."""
        self._end(catalogue.UPSTREAM_UNREACHABLE, f"upstream-{reason}")

    def secured(self, facts: TlsFacts) -> None:
        """The handshake is done: judge the certificate, then go on where TLS was begun."""
        fault = self._certificate_fault(facts)
        if fault is not None:
            self._break_off(TlsFailure(fault, certificate=True))
            return
        implicit = self.state is UpstreamState.OPENING
        self._step(UpstreamStep.SECURED)
        self.facts = facts
        self._reporter.tls(Leg.UPSTREAM, facts)
        if implicit:
            self._outbox.set_timer(Timer.UPSTREAM, limits.GREETING_TIMEOUT_S)
        else:
            self._send_hello()

    def tls_failed(self, failure: TlsFailure) -> None:
        """The handshake failed and its connection is closed: refuse mail, fall back in clear, or end."""
        if failure.reason is TlsReason.NOT_TLS and self.state is UpstreamState.SECURING:
            self._reporter.incident(Leg.UPSTREAM, BEHIND_STARTTLS)
            self._lost(catalogue.BEHIND_UPSTREAM_STARTTLS, BEHIND_STARTTLS)
            return
        self.facts = None
        self._fell_short(failure, Reached.HANDSHAKE_FAILED)
        if self.state in _IMPLICIT:
            self._lost(catalogue.SESSION_TLS_REFUSED, f"upstream-tls-{failure.reason.value}")
        elif failure.certificate:
            self._step(UpstreamStep.REFUSE_CERTIFICATE)
            self._owner.upstream_identified()
        else:
            self._fall_back()

    # Replies, by state

    def _greeting(self, reply: Reply) -> None:
        if reply.code != GO_AHEAD:
            self._expect_error(reply)
            self._end(reply, "upstream-refused-session")
            return
        self._step(UpstreamStep.GREETED)
        if self._name:  # a second connection: the client has been greeted
            self._hello()
        else:
            self._owner.upstream_greeted(reply)

    def _hello_reply(self, reply: Reply) -> None:
        if reply.is_closing:
            self._end(reply, "upstream-closing")
        elif reply.is_positive:
            self._learn(reply)
        elif reply.is_permanent and self._extended:
            self._extended = False
            self._step(UpstreamStep.HELLO_REFUSED)
            self._hello()
        else:
            self._expect_error(reply)
            self._step(UpstreamStep.HELLO_REFUSED)
            self._owner.upstream_hello_refused(reply)

    def _learn(self, reply: Reply) -> None:
        self.capabilities = parse_capabilities(reply) if self._extended else Capabilities(reply.lines[0], ())
        if self._wants_tls():
            self._starttls()
        else:
            self._identified(UpstreamStep.IDENTIFIED)

    def _starttls_reply(self, reply: Reply) -> None:
        if reply.code == GO_AHEAD:
            self._go_ahead()
            return
        self._expect_error(reply)
        failure = TlsFailure(TlsReason.STARTTLS_REFUSED, f"{reply.code} {reply.text}")
        if reply.is_closing:
            self._break_off(failure)
        else:
            self._fell_short(failure, Reached.HANDSHAKE_FAILED)
            self._identified(UpstreamStep.STARTTLS_REFUSED)

    def _go_ahead(self) -> None:
        if self._reader.buffered:
            self._broke(catalogue.BEHIND_UPSTREAM_STARTTLS, BEHIND_STARTTLS)
            return
        self._step(UpstreamStep.GO_AHEAD)
        self._start_tls()

    def enter_tunnel(self) -> None:
        """Have octets pass from now on, which are none of ours."""
        self._step(UpstreamStep.TUNNEL)
        self._outbox.set_timer(Timer.UPSTREAM, None)

    # Steps in common

    def _step(self, step: UpstreamStep) -> None:
        self.state = step_upstream(self.state, step)

    def _connect(self) -> None:
        self._outbox.put(Connect(self._ends.upstream, self._ends.source))
        self._outbox.set_timer(Timer.UPSTREAM, timers.CONNECT_S)

    def _hello(self) -> None:
        self._step(UpstreamStep.HELLO)
        self._send_hello()

    def _send_hello(self) -> None:
        command = Ehlo(self._name) if self._extended else Helo(self._name)
        self._outbox.send(Leg.UPSTREAM, command.to_wire())
        self._outbox.set_timer(Timer.UPSTREAM, limits.SERVER_TIMEOUT_S)

    def _starttls(self) -> None:
        self._step(UpstreamStep.STARTTLS)
        self._outbox.send(Leg.UPSTREAM, commands.StartTls().to_wire())
        self._outbox.set_timer(Timer.UPSTREAM, timers.HANDSHAKE_S)

    def _start_tls(self) -> None:
        self._outbox.put(StartTls(ConnectTls(self._terms.upstream_profile, self._server_name)))
        self._outbox.set_timer(Timer.UPSTREAM, timers.HANDSHAKE_S)

    def _introduce(self) -> None:
        """Mail that seemed to come from the gateway could be relayed as from a trusted host: then there is none."""
        line = self._introduction.line(self.capabilities, self._name, extended=self._extended)
        if line is None:
            self._broke(catalogue.CLIENT_NOT_TOLD, "xclient-not-offered")
            return
        self._step(UpstreamStep.INTRODUCE)
        self._outbox.send(Leg.UPSTREAM, line)
        self._outbox.set_timer(Timer.UPSTREAM, limits.SERVER_TIMEOUT_S)

    def _introduction_reply(self, reply: Reply) -> None:
        if reply.is_positive:
            self._introduction.accepted()
            self._step(UpstreamStep.GREETED)
            self._hello()
        else:
            self._broke(catalogue.CLIENT_NOT_TOLD, "xclient-refused")

    def _identified(self, step: UpstreamStep) -> None:
        if self._introduction.is_due:
            self._introduce()
            return
        self._step(step)
        self._last_said = (self._name, self._extended)
        wanted = self._rulebook.plan is Plan.EAGER or self.failure is not None
        self.downgraded = self.facts is None and wanted
        if self._broke_lately and self.facts is not None:
            self._broke_lately = False
            self._outbox.put(ForgetBroken())
        self._owner.upstream_identified()

    def _wants_tls(self) -> bool:
        return self._rulebook.plan is Plan.EAGER and self.facts is None and self._takes_starttls

    @property
    def _takes_starttls(self) -> bool:
        return self.failure is None and self.capabilities.offers("STARTTLS")

    def _certificate_fault(self, facts: TlsFacts) -> TlsReason | None:
        if not self._terms.enforces:
            return None
        if facts.chain is not Chain.VALID or facts.peer is None:
            return facts.reason or TlsReason.VALIDATION_FAILURE
        name = self._terms.upstream_name
        return None if name is None or matches(name, facts.peer) else TlsReason.CERTIFICATE_HOST_MISMATCH

    def _fall_back(self) -> None:
        """A handshake that failed took its connection with it: once more, in clear."""
        self._step(UpstreamStep.FALL_BACK)
        self._reader = ReplyReader()
        self._connect()

    def _expect_error(self, reply: Reply) -> None:
        if reply.is_positive or reply.is_intermediate:
            raise ProtocolError("unexpected-reply-code")

    @property
    def _farewell(self) -> Reply:
        """What the client is told when upstream is lost."""
        return catalogue.UPSTREAM_UNREACHABLE if self.state in _UNGREETED else catalogue.UPSTREAM_GONE

    def _fell_short(self, failure: TlsFailure, shortfall: Reached) -> None:
        self.failure, self._shortfall = failure, shortfall
        self._reporter.tls(Leg.UPSTREAM, failure)
        if not failure.certificate and not self._terms.implicit:
            self._outbox.put(RememberBroken(failure, self._terms.policy.action.starttls.fallback_memory_s))

    def _spare(self, broken: TlsFailure) -> None:
        """Do not try again what failed of late, where mail in clear will do."""
        if self._rulebook.plan is not Plan.NEVER and self._rulebook.tolerates_clear:
            self.failure, self._shortfall = broken, Reached.HANDSHAKE_FAILED

    def _break_off(self, failure: TlsFailure) -> None:
        self._outbox.close(Leg.UPSTREAM, How.ABORT)
        self.tls_failed(failure)

    def _broke(self, farewell: Reply, token: str) -> None:
        self._reporter.incident(Leg.UPSTREAM, token)
        self._end(farewell, token)

    def _end(self, farewell: Reply, token: str) -> None:
        self.close(How.ABORT)
        self._owner.upstream_ended(farewell, token)

    def _lost(self, farewell: Reply, token: str) -> None:
        """The connection has ended by itself."""
        self._step(UpstreamStep.CLOSE)
        self._owner.upstream_ended(farewell, token)


_GONE: Final = frozenset({UpstreamState.IDLE, UpstreamState.REFUSED, UpstreamState.CLOSED})
_IMPLICIT: Final = frozenset({UpstreamState.OPENING, UpstreamState.GREETING})
"""TLS fails in these on port 465 only: in TLS 1.3 upstream misses our certificate after our side is done."""

_UNGREETED: Final = frozenset({UpstreamState.DIALLING, UpstreamState.GREETING})
