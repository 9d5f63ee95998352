"""Any commands in any order, to an upstream that grants or refuses: a model of RFC 5321 says what must come of each.

The model knows the order of commands and what upstream answered; it does not know how the session goes about it. A
command in order goes upstream, and the client hears the class of upstream's own reply. One out of order is refused, and
upstream never hears it, unless it was sent in a group in which it would have been in order had all before it been
granted: then upstream may hear it, and refuses it.
"""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from smtpproxy.policy.rules import RecipientEncryption
from smtpproxy.session.actions import Close, Send
from smtpproxy.session.events import ClientConnected, Event, Received, UpstreamConnected
from smtpproxy.session.legs import Leg
from tests.session.playbook import Setting
from tests.session.rfc_order import Heard, Place, Said, Server, after, allows

SETTING = Setting(recipient=RecipientEncryption.NONE, starttls=False)
VERBS = (
    "EHLO client.test",
    "HELO client.test",
    "MAIL FROM:<a{}@client.test>",
    "MAIL FROM:<a{}@client.test>",
    "MAIL FROM:<a{}@client.test> BODY=8BITMIME",
    "RCPT TO:<b{}@mx.test>",
    "RCPT TO:<b{}@mx.test>",
    "RCPT TO:<b{}@mx.test>",
    "BDAT 7",
    "BDAT 7 LAST",
    "BDAT 0 LAST",
    "DATA",
    "RSET",
    "NOOP",
    "VRFY b{}",
    "ETRN b{}.test",
    "STARTTLS",
    "AUTH PLAIN AGEAYg==",
    "NONSENSE",
)
ENVELOPE = ("MAIL FROM:<a{}@client.test>", "RCPT TO:<b{}@mx.test>", "RCPT TO:<b{}@mx.test>")
MESSAGES = ((*ENVELOPE, "DATA"), (*ENVELOPE, "BDAT 7", "BDAT 7 LAST"), (*ENVELOPE, "BDAT 0 LAST", *ENVELOPE, "DATA"))
GROUPS = st.one_of(
    st.lists(st.sampled_from(VERBS), min_size=1, max_size=6), st.sampled_from(MESSAGES), st.just(("EHLO client.test",))
)
WHIMS: st.SearchStrategy[list[int | None]] = st.one_of(
    st.just([]), st.lists(st.sampled_from([None, None, None, 450, 550]), max_size=6)
)
KEYWORDS = st.sets(st.sampled_from(["PIPELINING", "PIPELINING", "CHUNKING", "8BITMIME", "ETRN", "SIZE 1000000"]))
CUTS = st.lists(st.integers(1, 40), max_size=3)
CONTENT = st.sampled_from([b"", b"text\r\n", b"..dot\r\n", b"RSET\r\nQUIT\r\n", b"\xff\0\r\n" * 20])
CHUNK = b"a\r\n.\r\nb"
MUCH_JUNK, MANY_ERRORS = 100, 20


class Model(RuleBasedStateMachine):
    """One client and what it may count on; when its session is over it comes again."""

    @initialize(keywords=KEYWORDS, identified=st.sampled_from([True, True, True, False]))
    def connect(self, keywords: set[str], identified: bool) -> None:  # noqa: FBT001 - drawn
        self.server = Server(tuple(sorted(keywords)))
        self.session = SETTING.session()
        self.place, self.offers = Place.GREETED, set[str]()
        self.delivered: list[bytes] = []
        self.chunks = b""
        self.replies = b""
        self.over = self.closed = False
        self.refused = self.sent = self.number = 0
        self.happen(ClientConnected())
        self.happen(UpstreamConnected())
        self.happen(Received(Leg.UPSTREAM, b"220 mx.test\r\n"))
        assert self.codes() == [220]
        if identified:
            self.says(["EHLO client.test"], [], eager=False, cuts=[])

    # The session, and upstream at once behind it

    def happen(self, event: Event) -> None:
        replies: list[bytes] = []
        for action in self.session.receive(event):
            match action:
                case Send(Leg.CLIENT, data):
                    self.replies += data
                case Send(Leg.UPSTREAM, data):
                    replies.extend(self.server.take(data))
                case Close(Leg.CLIENT):
                    self.closed = True
        if replies:
            self.happen(Received(Leg.UPSTREAM, b"".join(replies)))

    def codes(self) -> list[int]:
        lines, self.replies = self.replies.split(b"\r\n"), b""
        assert lines.pop() == b""
        return [int(line[:3]) for line in lines if line[3:4] != b"-"]

    def send(self, octets: bytes, cuts: list[int]) -> list[int]:
        self.server.heard.clear()
        for cut in cuts:
            if octets[cut:]:
                self.happen(Received(Leg.CLIENT, octets[:cut]))
                octets = octets[cut:]
        self.happen(Received(Leg.CLIENT, octets))
        return self.codes()

    # The client

    def make(self, lines: tuple[str, ...] | list[str]) -> list[Said]:
        """Behind DATA an honest client waits; every address is another, so that it is known again."""
        group = []
        for line in lines:
            self.number += 1
            size = int(line.split()[1]) if line.startswith("BDAT") else 0
            group.append(Said(line.format(self.number), CHUNK[:size]))
            if line == "DATA":
                break
        return group

    @precondition(lambda self: not self.over and self.place is not Place.CONTENT)
    @rule(lines=GROUPS, whims=WHIMS, eager=st.booleans(), cuts=CUTS)
    def says(
        self,
        lines: list[str],
        whims: list[int | None],
        eager: bool,  # noqa: FBT001 - drawn
        cuts: list[int],
    ) -> None:
        group = self.make(lines)
        self.server.whims, self.server.eager = whims, eager
        self.judge(group, self.send(b"".join(said.wire for said in group), cuts))

    @precondition(lambda self: not self.over and self.place is Place.IDENTIFIED)
    @rule(lines=st.sampled_from(MESSAGES), whims=WHIMS, eager=st.booleans())
    def sends_a_message(self, lines: list[str], whims: list[int | None], eager: bool) -> None:  # noqa: FBT001 - drawn
        """The way that most sessions go, which chance alone seldom finds."""
        self.says(lines, whims, eager, [])

    @precondition(lambda self: not self.over and self.place is not Place.CONTENT)
    @rule(luck=st.integers(0, 5))
    def quits(self, luck: int) -> None:
        if not luck:
            self.says(["QUIT"], [], eager=False, cuts=[])

    @precondition(lambda self: not self.over and self.place is Place.CONTENT)
    @rule(content=CONTENT, lines=GROUPS, whims=WHIMS, cuts=CUTS)
    def sends_content(self, content: bytes, lines: list[str], whims: list[int | None], cuts: list[int]) -> None:
        group = self.make(lines)
        self.server.whims, self.server.eager = whims, False
        codes = self.send(content + b".\r\n" + b"".join(said.wire for said in group), cuts)
        self.delivers(content, self.server.heard.pop(0), codes.pop(0))
        self.judge(group, codes)

    @precondition(lambda self: not self.over and self.place is not Place.CONTENT)
    @rule(content=CONTENT, whims=WHIMS)
    def does_not_wait_for_354(self, content: bytes, whims: list[int | None]) -> None:
        """Content behind a refused DATA is no command; nobody can know where it ends."""
        self.server.whims, self.server.eager = whims, False
        in_order = allows(self.place, Said("DATA"))
        codes = self.send(b"DATA\r\n" + content + b".\r\n", [])
        if in_order and self.server.heard[0].code == 354:
            assert codes.pop(0) == 354
            self.delivers(content, self.server.heard[1], codes.pop(0))
            return
        assert len(self.server.heard) == in_order
        assert codes[0] >= 400
        assert self.closed
        self.over = True

    @precondition(lambda self: self.over)
    @rule(keywords=KEYWORDS)
    def comes_again(self, keywords: set[str]) -> None:
        self.connect(keywords, identified=True)

    # What must come of it

    def delivers(self, content: bytes, heard: Heard, code: int) -> None:
        assert heard.said.verb == "."
        self.answered(heard.code, code)
        self.place = Place.IDENTIFIED
        if code < 400:
            self.delivered.append(content)

    @staticmethod
    def answered(theirs: int, ours: int) -> None:
        assert theirs // 100 == ours // 100, f"upstream said {theirs}, the client heard {ours}"

    def judge(self, group: list[Said], codes: list[int]) -> None:
        hope = self.place
        for said in group:
            if self.over:
                break
            assert codes, f"{said} was not answered"
            hope = self.judge_one(said, codes.pop(0), hope)
        assert not codes
        assert not self.server.heard
        assert self.closed is self.over

    def judge_one(self, said: Said, code: int, hope: Place) -> Place:
        """Return where the dialogue would be had everything been granted."""
        self.sent += 1
        heard = self.take(said)
        if code == 421:
            assert self.refused >= MANY_ERRORS or self.sent > MUCH_JUNK
            self.over = True
        elif not self.is_offered(said):
            assert heard is None
            assert code >= 500
            self.over = said.verb == "BDAT"  # its octets cannot be told from commands
            self.refused += 1
        elif allows(self.place, said):
            assert heard is not None, f"{said} is in order, and upstream did not hear it"
            self.answered(heard.code, code)
            self.moved(said, granted=heard.code < 400)
        else:
            assert heard is None or allows(hope, said), f"upstream must not hear {said} at {self.place}"
            assert code >= 400
            self.refused += heard is None
        return after(hope, said) if allows(hope, said) else hope

    def take(self, said: Said) -> Heard | None:
        """Take what upstream heard of a command, with what belongs to it."""
        heard = self.server.heard
        if not heard or not self.is_same(said, heard[0].said):
            return None
        first = heard.pop(0)
        if said.verb in {"EHLO", "HELO"}:
            self.keywords = {word.split()[0] for word in self.server.keywords} if first.code < 400 else set()
            if first.code >= 500:
                first = heard.pop(0)
                assert first.said.verb == "HELO"
        elif said.verb == "BDAT" and not said.last and first.code >= 400:
            assert heard.pop(0).said.verb == "RSET"  # the proxy's own
        elif said.verb == "DATA" and first.code == 354 and heard and heard[0].said.verb == ".":
            assert heard.pop(0).code == 554  # nothing was sent for nobody, and upstream's transaction is over
            self.place = Place.IDENTIFIED
        return first

    @staticmethod
    def is_same(ours: Said, theirs: Said) -> bool:
        """The proxy asks upstream for its extensions even where the client did not."""
        return theirs.line.replace("EHLO", "HELO") == ours.line.replace("EHLO", "HELO") and theirs.octets == ours.octets

    def is_offered(self, said: Said) -> bool:
        wanted = {"BDAT": "CHUNKING", "ETRN": "ETRN"}.get(said.verb, "8BITMIME" if "BODY=" in said.line else None)
        return wanted is None or wanted in self.offers

    def moved(self, said: Said, *, granted: bool) -> None:
        if said.verb == "BDAT":
            self.chunk(said, granted=granted)
        if granted and said.verb in {"EHLO", "HELO"}:
            self.offers = self.keywords if said.verb == "EHLO" else set()
        if granted:
            self.place = after(self.place, said)
        self.over = said.verb == "QUIT"

    def chunk(self, said: Said, *, granted: bool) -> None:
        self.chunks = (self.chunks if self.place is Place.CHUNKS else b"") + said.octets
        if said.last and granted:
            self.delivered.append(self.chunks)
        if not granted:
            self.place = Place.IDENTIFIED

    @invariant()
    def what_was_granted_is_upstreams(self) -> None:
        assert self.server.messages == self.delivered


Model.TestCase.settings = settings(max_examples=200, stateful_step_count=25, deadline=None)
TestModel = Model.TestCase
