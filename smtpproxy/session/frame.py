"""What a session is made of, whose move it is, its tunnel, and its end."""

from __future__ import annotations

from typing import Final

from smtpproxy.policy.model import General
from smtpproxy.session import timers
from smtpproxy.session.actions import CollectHello, End, How
from smtpproxy.session.client import ClientLeg
from smtpproxy.session.dialogue import Dialogue
from smtpproxy.session.exchange import Exchange
from smtpproxy.session.journal import Journal
from smtpproxy.session.legs import Leg
from smtpproxy.session.outbox import Outbox
from smtpproxy.session.rulebook import Rulebook
from smtpproxy.session.states import CONTENT, ClientState, ClientStep
from smtpproxy.session.terms import Circumstances, Terms
from smtpproxy.session.timers import Timer
from smtpproxy.session.treatment import Treatment
from smtpproxy.session.tunnel import Counted, Tunnel
from smtpproxy.session.upstream import UpstreamLeg
from smtpproxy.smtp.replies import Reply
from smtpproxy.tls.hello import ClientHello


class SessionFrame:
    """The parts of a session, which itself makes them, and what ends it."""

    __slots__ = (
        "_circumstances", "_client", "_dialogue", "_ending", "_exchange", "_general", "_greeting", "_hello",
        "_journal", "_outbox", "_rulebook", "_terms", "_treatment", "_tunnel", "_upstream",
    )  # fmt: skip

    _circumstances: Circumstances
    _client: ClientLeg
    _dialogue: Dialogue
    _ending: tuple[Reply, str] | None
    _exchange: Exchange
    _general: General
    _greeting: Reply | None
    _hello: ClientHello | None
    _journal: Journal
    _outbox: Outbox
    _rulebook: Rulebook
    _terms: Terms
    _treatment: Treatment
    _tunnel: Tunnel | None
    _upstream: UpstreamLeg

    def rest(self) -> None:
        """It is the client's move: wait for it, unless the session is to end now."""
        state = self._client.state
        if state is ClientState.PEEKING:
            self._collect_hello()
        elif state in CONTENT:
            self._outbox.set_timer(Timer.CLIENT, timers.RATE_WINDOW_S)
        elif self._ending is not None and state not in _UNDER_WAY:
            self.finish(*self._ending)
        else:
            self._outbox.set_timer(Timer.CLIENT, self._general.idle_timeout_s)

    def finish(self, farewell: Reply | None, token: str) -> None:
        """Tell the client ``farewell``, close both legs and report the session as ended by ``token``."""
        if farewell is not None and self._client.state not in _DEAF:
            self._client.reply(farewell)
            self._dialogue.delivery.unanswered(farewell)
        self._close(How.FLUSH, token)

    def break_off(self, token: str) -> None:
        """Close both legs of a tunnel at once."""
        self._upstream.close(How.ABORT)
        self._end(token)

    def _end(self, token: str) -> None:
        """End the session without a word."""
        self._close(How.ABORT, token)

    def _end_soon(self, farewell: Reply, token: str) -> None:
        """End the session when no message is under way."""
        state = self._client.state
        if state in MUTE or state in _UNDER_WAY or self._exchange.is_busy:
            self._ending = (farewell, token)
        else:
            self.finish(farewell, token)

    def _close(self, how: How, token: str, *, client_gone: bool = False) -> None:
        if self._client.state is ClientState.CLOSED:
            return
        self._dialogue.delivery.end()
        self._client.step(ClientStep.CLOSE)
        if not client_gone:
            self._outbox.close(Leg.CLIENT, how)
        self._upstream.close(How.ABORT if self._upstream.is_in_content else How.FLUSH)
        tunnel = self._tunnel.seen() if self._tunnel else None
        self._journal.session_ended(token, tunnel, self._treatment.refusal(self._hello))
        self._outbox.put(End())

    # The tunnel

    def begin_tunnel(self, reply: Reply) -> None:
        """Pass on upstream's 220 to the client's own STARTTLS, and from then on all octets."""
        if self._ending is not None:
            self.finish(*self._ending)
        elif self._client.finished is not None:
            self.finish(None, f"client-{self._client.finished}")
        else:
            self._client.reply(reply)
            self._begin_tunnel()

    def _begin_tunnel(self) -> None:
        if self._ending is not None:
            self._end(self._ending[1])
            return
        self._client.step(ClientStep.TUNNEL)
        self._upstream.enter_tunnel()
        legs: dict[Leg, Counted] = {Leg.CLIENT: self._client, Leg.UPSTREAM: self._upstream}
        self._tunnel = Tunnel(self._treatment.passage, legs, self, self._journal, self._outbox)

    # The ClientHello

    def _collect_hello(self) -> None:
        if self._client.state is ClientState.CONNECTED:
            self._client.step(ClientStep.COLLECT)
        self._outbox.put(CollectHello(self._terms.passes_anything))
        self._outbox.set_timer(Timer.CLIENT, timers.HELLO_S)


MUTE: Final = frozenset({ClientState.PEEKING, ClientState.HELD, ClientState.SECURING})
"""The client is in the middle of a handshake: it can be told nothing yet."""

_DEAF: Final = MUTE | CONTENT | {ClientState.TUNNEL, ClientState.CLOSED}
"""A reply would be taken for something else: TLS, or the answer to an end of data that is still to come. Or it has had
its farewell already.
"""

_UNDER_WAY: Final = CONTENT | {ClientState.CHUNKS, ClientState.FINISHED}
