"""The client leg: its state, what was read and not yet heard, and why it is not being read."""

from __future__ import annotations

from smtpproxy.enums import IdentityEnum
from smtpproxy.session.actions import PauseReading, ResumeReading
from smtpproxy.session.legs import Leg
from smtpproxy.session.outbox import Outbox
from smtpproxy.session.states import CLIENT, DIALOGUE, ClientState, ClientTrigger, step_client
from smtpproxy.smtp.capabilities import Capabilities
from smtpproxy.smtp.limits import AUTH_LINE_OCTETS
from smtpproxy.smtp.lines import LineReader
from smtpproxy.smtp.replies import Reply
from smtpproxy.tls.facts import TlsFacts

NOTHING_OFFERED = Capabilities(b"", ())


class Hold(IdentityEnum):
    """Why the client is not being read."""

    QUEUE = "its pipelined commands fill the queue"
    UPSTREAM_BLOCKED = "upstream does not take more content"
    CLIENT_BLOCKED = "it does not take its replies"
    CONTENT = "its content waits for upstream"
    SPOOL = "its content waits for the disk"


class ClientLeg:
    """One session's connection from the client.

    Attributes:
        state: where the leg is, by what was answered.
        facts: of its TLS, ``None`` in clear.
        authenticated: whether upstream took its AUTH.
        finished: how it told that it sends no more, ``None`` while it may.
        helo: the EHLO or HELO name that was accepted last.
        offered: what the last EHLO reply offered.
        reader: the lines that were read and not yet heard.
    """

    __slots__ = (
        "_ahead", "_holds", "_outbox", "authenticated", "facts", "finished", "helo", "octets_in", "offered", "reader",
        "state",
    )  # fmt: skip

    def __init__(self, outbox: Outbox) -> None:
        self.state = ClientState.CONNECTED
        self.facts: TlsFacts | None = None
        self.authenticated = False
        self.reader = LineReader(AUTH_LINE_OCTETS)
        self.finished: str | None = None
        self.helo = b""
        self.offered = NOTHING_OFFERED
        self.octets_in = 0
        self._outbox = outbox
        self._ahead: ClientState | None = None
        self._holds: set[Hold] = set()

    @property
    def in_dialogue(self) -> bool:
        """Whether its lines are commands now."""
        return self.state in DIALOGUE

    @property
    def is_blocked(self) -> bool:
        """Whether it leaves its replies unread, so that no more may be made."""
        return Hold.CLIENT_BLOCKED in self._holds

    @property
    def waits_for_upstream(self) -> bool:
        """Whether it is not being read because upstream takes no more."""
        return Hold.UPSTREAM_BLOCKED in self._holds

    @property
    def is_held(self) -> bool:
        """Whether it is not being read."""
        return bool(self._holds)

    def allows(self, trigger: ClientTrigger) -> bool:
        """Whether ``trigger`` is legal, if upstream grants all that is under way."""
        return trigger in CLIENT[self._ahead or self.state]

    def expect(self, trigger: ClientTrigger) -> None:
        """Hear the client's next commands as if ``trigger``, which is under way, had been granted."""
        self._ahead = step_client(self._ahead or self.state, trigger)

    def settle(self) -> None:
        """Nothing is under way any more: what counts is what was granted."""
        self._ahead = None

    def step(self, trigger: ClientTrigger) -> None:
        """Go to the next state."""
        self.state = step_client(self.state, trigger)

    def reply(self, reply: Reply) -> None:
        """Send a reply."""
        self._outbox.send(Leg.CLIENT, reply.to_wire())

    def identified(self, name: bytes, offered: Capabilities) -> None:
        """Keep what an accepted EHLO said and was answered."""
        self.helo, self.offered = name, offered

    def forget(self) -> None:
        """Forget all that was said in clear (RFC 3207 s4.2)."""
        self.identified(b"", NOTHING_OFFERED)

    def hold(self, reason: Hold) -> None:
        """Stop reading for ``reason``."""
        if not self._holds and self._is_there:
            self._outbox.put(PauseReading(Leg.CLIENT))
        self._holds.add(reason)

    def release(self, reason: Hold) -> None:
        """Take ``reason`` away, and read on if it was the last."""
        if reason in self._holds:
            self._holds.remove(reason)
            if not self._holds and self._is_there:
                self._outbox.put(ResumeReading(Leg.CLIENT))

    @property
    def _is_there(self) -> bool:
        return self.state is not ClientState.CLOSED
