"""However a conversation is cut on the wire, the same octets leave on both legs and the same is recorded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smtpproxy.audit import Record
from smtpproxy.policy.message_edits import AddHeader
from smtpproxy.policy.messages import Condition, Final, MessageRule, SizeCondition
from smtpproxy.policy.model import BareNewline, General
from smtpproxy.policy.rules import RecipientEncryption
from smtpproxy.policy.tls_level import TlsLevelHeader
from smtpproxy.session.actions import (
    AcceptTls,
    Action,
    Audit,
    Close,
    CollectHello,
    Connect,
    ConnectTls,
    DiscardSpool,
    PauseReading,
    ReplaySpool,
    ResumeReading,
    Send,
    SpoolWrite,
    StartTls,
)
from smtpproxy.session.events import (
    ClientConnected,
    ClientHelloSeen,
    Event,
    Received,
    ReplayDone,
    Spooled,
    Upgraded,
    UpstreamConnected,
)
from smtpproxy.session.legs import Leg
from tests.session.playbook import Setting, client_hello, tls_facts


class Server:
    """An upstream that answers each command as its ``script`` says, 250 if it says nothing."""

    def __init__(self, script: dict[bytes, list[bytes]]) -> None:
        self._script = {verb: iter(replies) for verb, replies in script.items()}
        self._held = b""
        self._in_content = False
        self._chunk: list[bytes] = []
        self.received = b""
        self.answers = b""

    def take(self, octets: bytes) -> None:
        """Read what came and answer what is whole."""
        self.received += octets
        self._held += octets
        while self._take_content() if self._in_content else self._take_chunk() if self._chunk else self._take_command():
            pass

    def say(self, verb: bytes, reply: bytes = b"250 Ok\r\n") -> bytes:
        """Answer ``verb``."""
        answer = next(self._script.get(verb, iter(())), reply)
        self.answers += answer
        return answer

    def _take_command(self) -> bool:
        line, end, rest = self._held.partition(b"\r\n")
        if not end:
            return False
        self._held = rest
        verb = line.partition(b" ")[0]
        if verb == b"BDAT":
            self._chunk = line.split()
            return True
        answer = self.say(verb, {b"DATA": b"354 go on\r\n", b"STARTTLS": b"220 go on\r\n"}.get(verb, b"250 Ok\r\n"))
        self._in_content = answer.startswith(b"354")
        return True

    def _take_content(self) -> bool:
        content, end, rest = (b"\r\n" + self._held).partition(b"\r\n.\r\n")
        if not end:
            return False
        self._held, self._in_content = rest, False
        self.say(b".", b"250 queued %d octets\r\n" % len(content))
        return True

    def _take_chunk(self) -> bool:
        _, size, *last = self._chunk
        if len(self._held) < int(size):
            return False
        self._held, self._chunk = self._held[int(size) :], []
        self.say(b"." if last else b"BDAT", b"250 %b octets\r\n" % size)
        return True


@dataclass(frozen=True)
class Outcome:
    """What a conversation came to."""

    to_client: bytes
    to_upstream: bytes
    records: tuple[Record, ...]


class Conversation:
    """One session between a client, whose whole speech is known, and a server.

    Args:
        setting: the policy.
        speech: what the client says in clear, then what it says inside TLS, if it goes there.
        script: the server's answers.
    """

    def __init__(self, setting: Setting, speech: Sequence[bytes], script: dict[bytes, list[bytes]]) -> None:
        self._session = setting.session()
        self._server = Server(script)
        self._speech = list(speech)
        self._to_client = b""
        self._records: list[Record] = []
        self._may_speak = False
        self._paused: set[Leg] = set()
        self._upstream_open = False
        self._spool = b""

    def run(self, sizes: Iterator[int], order: Iterator[Leg]) -> Outcome:
        """Deliver both sides' octets in pieces of ``sizes``, by turns as ``order`` says."""
        self._happen(ClientConnected())
        while legs := [leg for leg in Leg if leg not in self._paused and self._waiting(leg)]:
            leg = next(order)
            leg = leg if leg in legs else legs[0]
            self._happen(Received(leg, self._next_piece(leg, next(sizes))))
        return Outcome(self._to_client, self._server.received, tuple(self._records))

    def _waiting(self, leg: Leg) -> bytes:
        if leg is Leg.UPSTREAM:
            return self._server.answers if self._upstream_open else b""
        return self._speech[0] if self._may_speak and self._speech else b""

    def _next_piece(self, leg: Leg, size: int) -> bytes:
        octets = self._waiting(leg)
        if leg is Leg.UPSTREAM:
            self._server.answers = octets[size:]
        else:
            self._speech[0] = octets[size:]
        return octets[:size]

    def _happen(self, event: Event) -> None:
        for action in self._session.receive(event):
            self._carry_out(action)

    def _carry_out(self, action: Action) -> None:
        match action:
            case Send(Leg.CLIENT, data):
                self._to_client += data
                self._may_speak = True
            case Send(Leg.UPSTREAM, data):
                self._server.take(data)
            case PauseReading(leg):
                self._paused.add(leg)
            case ResumeReading(leg):
                self._paused.discard(leg)
            case Close(leg):
                self._close(leg)
            case Audit(record):
                self._records.append(record)
            case SpoolWrite(data):
                self._spool += data
                self._happen(Spooled(len(data)))
            case ReplaySpool():
                self._server.take(self._spool)
                self._happen(ReplayDone())
            case DiscardSpool():
                self._spool = b""
            case _:
                self._begin(action)

    def _begin(self, action: Action) -> None:
        match action:
            case Connect():
                self._upstream_open = True
                self._server.say(b"", b"220 mx.test ESMTP\r\n")
                self._happen(UpstreamConnected())
            case CollectHello():
                self._happen(ClientHelloSeen(client_hello("mx.test")))
            case StartTls(ConnectTls()):
                self._happen(Upgraded(Leg.UPSTREAM, tls_facts("mx.test")))
            case StartTls(AcceptTls()):
                del self._speech[0]
                self._happen(Upgraded(Leg.CLIENT, tls_facts()))

    def _close(self, leg: Leg) -> None:
        if leg is Leg.UPSTREAM:
            self._upstream_open = False
        else:
            self._may_speak = False


@dataclass(frozen=True)
class Case:
    """A conversation to be cut."""

    setting: Setting
    speech: tuple[bytes, ...]
    script: dict[bytes, list[bytes]]
    abandons_content: bool = False


ENVELOPE = b"MAIL FROM:<a@client.test>\r\nRCPT TO:<b@mx.test>\r\nDATA\r\n"
MESSAGE = b"Subject: x\r\n\r\n..stuffed\r\n.\x00\xffx\r\n..\r\n\r\n.\r\n"
EHLO = [b"250-mx.test\r\n250-SIZE 1000\r\n250 8BITMIME\r\n"]
PLAIN: dict[bytes, list[bytes]] = {b"EHLO": EHLO * 9, b"QUIT": [b"221 bye\r\n"]}
TLS = {**PLAIN, b"EHLO": [b"250-mx.test\r\n250 STARTTLS\r\n", *EHLO * 9]}
NORMALIZED = b"one\ntwo\n.\nthree\r\n.\n.\r\n..\nfour\n\r\n.\r\n"

CASES = {
    "a message": Case(Setting(), (b"EHLO c.test\r\n" + ENVELOPE + MESSAGE + b"QUIT\r\n",), PLAIN),
    "many commands": Case(
        Setting(),
        (
            b"NOOP\r\nEHLO c.test\r\nnonsense\r\nRCPT TO:<x@y.test>\r\nMAIL FROM:<>\r\nRCPT TO:<no@mx.test>\r\n"
            b"RCPT TO:<yes@mx.test> NOTIFY=NEVER\r\nRCPT TO:<yes@mx.test>\r\nVRFY yes\r\nRSET\r\nEXPN x\r\n"
            b"NO\0OP\r\nNOOP "
            + b"x" * 3000
            + b"\r\nHELO c.test\r\n"
            + ENVELOPE
            + MESSAGE
            + ENVELOPE
            + b".\r\nQUIT\r\n",
        ),
        {**PLAIN, b"RCPT": [b"550 no such user\r\n"], b".": [b"451-not\r\n451 now\r\n"]},
    ),
    "bare line feeds": Case(
        Setting(), (b"EHLO c.test\r\n" + ENVELOPE + NORMALIZED + ENVELOPE + NORMALIZED + b"QUIT\r\n",), PLAIN
    ),
    "a bare line feed rejected": Case(
        Setting(general=General(bare_newline=BareNewline.REJECT)),
        (b"EHLO c.test\r\n" + ENVELOPE + b"fine\r\nso far\r\none\ntwo\r\n.\r\nQUIT\r\n",),
        PLAIN,
        abandons_content=True,
    ),
    "a bare carriage return": Case(
        Setting(),
        (b"EHLO c.test\r\n" + ENVELOPE + b"fine\r\n.\rx\r\n.\n.\r\n\r\n.\r\nRSET\r\n",),
        PLAIN,
        abandons_content=True,
    ),
    "too big": Case(
        Setting(general=General(max_message_size=30)),
        (b"EHLO c.test\r\n" + ENVELOPE + b"0123456789\r\n" * 3 + b".\r\nRSET\r\n",),
        PLAIN,
        abandons_content=True,
    ),
    "a smuggler": Case(
        Setting(),
        (b"EHLO c.test\r\n" + ENVELOPE + b"x\n.\r\nMAIL FROM:<smuggled@client.test>\r\n.\n\r\n.\r\nQUIT\r\n",),
        PLAIN,
    ),
    "a bare line feed in a command": Case(
        Setting(), (b"EHLO c.test\r\nNOOP\r\nMAIL FROM:<>\nRSET\r\nQUIT\r\n",), PLAIN
    ),
    "bdat": Case(Setting(), (b"EHLO c.test\r\nMAIL FROM:<>\r\nBDAT 12\r\nRSET\r\nQUIT\r\n",), PLAIN),
    "upstream tls": Case(Setting(), (b"EHLO c.test\r\n" + ENVELOPE + MESSAGE + b"QUIT\r\n",), TLS),
    "both legs on tls": Case(
        Setting(), (b"EHLO c.test\r\nSTARTTLS\r\n", b"EHLO d.test\r\n" + ENVELOPE + MESSAGE + b"QUIT\r\n"), TLS
    ),
    "the client's leg on tls": Case(
        Setting(recipient=RecipientEncryption.NONE),
        (b"EHLO c.test\r\nNOOP\r\nSTARTTLS\r\n", b"EHLO d.test\r\n" + ENVELOPE + MESSAGE + b"QUIT\r\n"),
        PLAIN,
    ),
    "a reply of many lines": Case(
        Setting(), (b"EHLO c.test\r\nHELP\r\nQUIT\r\n",), {**PLAIN, b"HELP": [b"214-one\r\n" * 20 + b"214 end\r\n"]}
    ),
    "upstream says farewell": Case(
        Setting(), (b"EHLO c.test\r\nNOOP\r\nNOOP\r\nQUIT\r\n",), {**PLAIN, b"NOOP": [b"250 Ok\r\n", b"421 bye\r\n"]}
    ),
    "upstream breaks the protocol": Case(
        Setting(), (b"EHLO c.test\r\nNOOP\r\nNOOP\r\nQUIT\r\n",), {**PLAIN, b"NOOP": [b"250 Ok\r\n", b"2x0 Ok\r\n"]}
    ),
}
PIPELINING = {**PLAIN, b"EHLO": [b"250-mx.test\r\n250-PIPELINING\r\n250 CHUNKING\r\n"]}
AUTHENTICATING = {
    **PLAIN,
    b"EHLO": [b"250-mx.test\r\n250 STARTTLS\r\n", *[b"250-mx.test\r\n250 AUTH LOGIN\r\n"] * 9],
    b"AUTH": [b"334 VXNlcm5hbWU6\r\n"],
    b"QUIT": [b"334 UGFzc3dvcmQ6\r\n", b"221 bye\r\n"],
    b"*": [b"501 cancelled\r\n"],
}
RECIPIENTS = b"MAIL FROM:<a@client.test>\r\n" + b"RCPT TO:<b@mx.test>\r\n" * 3
CHUNKS = b"BDAT 6\r\nQUIT\r\nBDAT 0\r\nBDAT 5 LAST\r\n.\r\n\n."
TRY = b"DATA\r\nX-TLSLevel: Try\r\n" + MESSAGE
REQUIRE = b"DATA\r\nX-TLSLevel: Require\r\n" + MESSAGE
MARK = MessageRule("mark", then=(AddHeader(b"X-Seen", b"yes"),))
NOT_BIG = MessageRule("not big", Condition(size=SizeCondition(over=60)), final=Final.DENY)
CASES |= {
    "groups": Case(
        Setting(), (b"EHLO c.test\r\n" + (RECIPIENTS + b"DATA\r\n" + MESSAGE) * 2 + b"QUIT\r\n",), PIPELINING
    ),
    "a group refused": Case(
        Setting(),
        (b"EHLO c.test\r\n" + RECIPIENTS + b"RCPT TO:<x>\r\n" + RECIPIENTS + b"QUIT\r\n",),
        {**PIPELINING, b"RCPT": [b"550 no\r\n"] * 9},
    ),
    "chunks": Case(Setting(), (b"EHLO c.test\r\n" + (RECIPIENTS + CHUNKS) * 2 + b"QUIT\r\n",), PIPELINING),
    "chunks out of order": Case(Setting(), (b"EHLO c.test\r\n" + CHUNKS + RECIPIENTS + CHUNKS + CHUNKS,), PIPELINING),
    "chunks refused": Case(
        Setting(),
        (b"EHLO c.test\r\n" + RECIPIENTS + CHUNKS + RECIPIENTS + CHUNKS,),
        {**PIPELINING, b"BDAT": [b"552 full\r\n"]},
    ),
    "chunks too big": Case(
        Setting(general=General(max_message_size=10)), (b"EHLO c.test\r\n" + RECIPIENTS + CHUNKS * 2,), PIPELINING
    ),
    "authentication": Case(
        Setting(),
        (b"EHLO c.test\r\nSTARTTLS\r\n", b"EHLO c.test\r\nAUTH LOGIN\r\nQUIT\r\nno base64\r\nAUTH x\r\nQUIT\r\n"),
        AUTHENTICATING,
    ),
    "headers held": Case(
        Setting(message_rules=(MARK,)),
        (b"EHLO c.test\r\n" + RECIPIENTS + b"DATA\r\n" + MESSAGE + RECIPIENTS + CHUNKS + b"QUIT\r\n",),
        PIPELINING,
    ),
    "headers that ask for TLS": Case(
        Setting(tls_level_header=TlsLevelHeader(honour=True)),
        (b"EHLO c.test\r\n" + RECIPIENTS + TRY + RECIPIENTS + REQUIRE + RECIPIENTS + CHUNKS + b"QUIT\r\n",),
        PIPELINING,
    ),
    "all held": Case(
        Setting(message_rules=(MARK, NOT_BIG)),
        (b"EHLO c.test\r\n" + RECIPIENTS + b"DATA\r\n" + MESSAGE + RECIPIENTS + CHUNKS + b"QUIT\r\n",),
        PIPELINING,
    ),
    "held and refused": Case(
        Setting(message_rules=(NOT_BIG,)),
        (b"EHLO c.test\r\n" + RECIPIENTS + b"DATA\r\n" + MESSAGE * 3 + b"QUIT\r\n",),
        {**PIPELINING, b"DATA": [b"451 later\r\n"]},
    ),
}
WHOLE = 1_000_000


def run(case: Case, sizes: Sequence[int], order: Sequence[Leg]) -> Outcome:
    return Conversation(case.setting, case.speech, case.script).run(cycle(sizes), cycle(order))


@pytest.mark.parametrize("name", CASES)
@settings(max_examples=40, deadline=None)
@given(
    sizes=st.lists(st.one_of(st.integers(1, 3), st.integers(1, 60)), min_size=1, max_size=20),
    order=st.lists(st.sampled_from(Leg), min_size=1, max_size=8),
)
def test_the_cut_makes_no_difference(name: str, sizes: list[int], order: list[Leg]) -> None:
    case = CASES[name]
    whole, cut = run(case, [WHOLE], [Leg.CLIENT]), run(case, sizes, order)
    assert cut.to_client == whole.to_client
    assert [_without_octet_counts(each) for each in cut.records] == [
        _without_octet_counts(each) for each in whole.records
    ]
    if case.abandons_content:  # how much of it had gone is the one thing that may differ
        commands = cut.to_upstream[: cut.to_upstream.index(b"DATA\r\n")]
        assert whole.to_upstream.startswith(commands)
        assert not cut.to_upstream.endswith(b"\r\n.\r\n")
    else:
        assert cut.to_upstream == whole.to_upstream


def _without_octet_counts(record: Record) -> str:
    """An octet that the session never looked at may or may not have come before its end."""
    return ", ".join(part for part in repr(record).split(", ") if "_octets_" not in part)


@pytest.mark.parametrize("name", CASES)
def test_octet_by_octet(name: str) -> None:
    case = CASES[name]
    assert run(case, [1], [Leg.UPSTREAM]).to_client == run(case, [WHOLE], [Leg.CLIENT]).to_client
