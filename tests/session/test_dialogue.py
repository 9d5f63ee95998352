"""Commands and replies: each in its order, one for one."""

from __future__ import annotations

import pytest

from smtpproxy.audit import Incident
from smtpproxy.policy.model import Esmtp
from smtpproxy.session.actions import Action, Close, CollectHello, End, How, Send
from smtpproxy.session.legs import Leg
from smtpproxy.session.states import ClientState
from tests.session.playbook import (
    RECIPIENT,
    SENDER,
    Setting,
    client,
    granted,
    greeted,
    identified,
    session_of,
    to_client,
    to_upstream,
    upstream,
    with_recipient,
)
from tests.session.stages import CLIENT_STAGES, dialling, greeting

OUT_OF_ORDER = "503 5.5.1 Bad sequence of commands"
NO_VALID_RECIPIENTS = "503 5.5.1 No valid recipients"
NOT_IMPLEMENTED = "502 5.5.1 Command not implemented"
UNKNOWN = "500 5.5.1 Command not recognized"
BAD_LINE = "500 5.5.2 Line with a forbidden control character"
LINE_TOO_LONG = "500 5.5.2 Line too long"
OTHER_PROTOCOL = "554 5.5.1 This is an SMTP service"
EARLY_TALK = "554 5.5.1 Command sent before the greeting"

# Every state by every verb


def attacked(reply: str) -> list[Action]:
    """The client is told and both legs are closed."""
    return [to_client(reply), Close(Leg.CLIENT, How.FLUSH), Close(Leg.UPSTREAM, How.FLUSH), End()]


IN_ORDER = {
    "EHLO": "EHLO client.test",
    "HELO": "HELO client.test",
    "MAIL": SENDER,
    "RCPT": RECIPIENT,
    "DATA": "DATA",
    "RSET": "RSET",
    "NOOP": "NOOP",
    "VRFY": "VRFY postmaster",
    "EXPN": "EXPN list",
    "HELP": "HELP",
    "STARTTLS": "STARTTLS",
    "QUIT": "QUIT",
    "BDAT": "BDAT 10 LAST",
    "AUTH": "AUTH PLAIN AGEAYgBj",
    "response": "c2VjcmV0",
    "ETRN": "ETRN mx.test",
    "UNKNOWN": "XCLIENT ADDR=192.0.2.1",
}
"""A line for each verb."""

C = ClientState
BEFORE_TLS: list[Action] = [Close(Leg.CLIENT, How.FLUSH), Close(Leg.UPSTREAM, How.FLUSH), End()]
FORWARDED_AS = {"HELO": "EHLO client.test"}
"""What goes upstream, where it is not the line itself."""

EVERYWHERE: dict[str, list[Action]] = {
    "response": [to_client(UNKNOWN)],
    "UNKNOWN": [to_client(UNKNOWN)],
    "BDAT": attacked(NOT_IMPLEMENTED),
}
IN_DIALOGUE = (C.GREETED, C.IDENTIFIED, C.SENDER, C.RECIPIENTS, C.CHUNKS)
FORWARDED: dict[str, tuple[ClientState, ...]] = {
    "EHLO": IN_DIALOGUE,
    "HELO": IN_DIALOGUE,
    "MAIL": (C.IDENTIFIED,),
    "RCPT": (C.SENDER, C.RECIPIENTS),
    "DATA": (C.RECIPIENTS,),
    "RSET": IN_DIALOGUE,
    "NOOP": IN_DIALOGUE,
    "VRFY": IN_DIALOGUE,
    "EXPN": IN_DIALOGUE,
    "HELP": IN_DIALOGUE,
    "QUIT": IN_DIALOGUE,
    "response": (C.CHALLENGED,),
}
BASE64 = {"response", "DATA", "RSET", "NOOP", "HELP", "STARTTLS", "QUIT"}
STATE_AFTER_250 = {
    (C.GREETED, "EHLO"): C.IDENTIFIED,
    (C.GREETED, "HELO"): C.IDENTIFIED,
    (C.IDENTIFIED, "MAIL"): C.SENDER,
    (C.SENDER, "EHLO"): C.IDENTIFIED,
    (C.SENDER, "HELO"): C.IDENTIFIED,
    (C.SENDER, "RSET"): C.IDENTIFIED,
    (C.SENDER, "RCPT"): C.RECIPIENTS,
    (C.RECIPIENTS, "EHLO"): C.IDENTIFIED,
    (C.RECIPIENTS, "HELO"): C.IDENTIFIED,
    (C.RECIPIENTS, "RSET"): C.IDENTIFIED,
    (C.CHUNKS, "EHLO"): C.IDENTIFIED,
    (C.CHUNKS, "HELO"): C.IDENTIFIED,
    (C.CHUNKS, "RSET"): C.IDENTIFIED,
    (C.CHALLENGED, "response"): C.IDENTIFIED,
    **{(state, "QUIT"): C.CLOSED for state in FORWARDED["QUIT"]},
}
"""Where the state changes when upstream says 250."""

UNUSUAL: dict[tuple[ClientState, str], list[Action]] = {
    (C.SENDER, "DATA"): [to_client(NO_VALID_RECIPIENTS)],
    (C.IDENTIFIED, "AUTH"): [to_client(NOT_IMPLEMENTED)],
    (C.IDENTIFIED, "ETRN"): [to_client(NOT_IMPLEMENTED)],
    (C.CHUNKS, "BDAT"): [to_upstream("BDAT 10 LAST")],
    (C.IDENTIFIED, "STARTTLS"): [to_client("220 2.0.0 Ready to start TLS"), CollectHello()],
}


def expected(state: ClientState, verb: str) -> list[Action]:
    match state:
        case C.CONNECTED:
            return attacked(EARLY_TALK)
        case C.PEEKING | C.HELD | C.SECURING:
            return BEFORE_TLS
        case C.CONTENT | C.CHUNK | C.TUNNEL:
            return [to_upstream(IN_ORDER[verb])]
        case C.CHALLENGED:  # whatever it is, it is no command; what is no base64 either cancels
            return [to_upstream(IN_ORDER[verb] if verb in BASE64 else "*")]
        case C.FINISHED | C.CLOSED:
            return []
    if state in FORWARDED.get(verb, ()):
        return [to_upstream(FORWARDED_AS.get(verb, IN_ORDER[verb]))]
    return UNUSUAL.get((state, verb)) or EVERYWHERE.get(verb) or [to_client(OUT_OF_ORDER)]


MATRIX = [(state, verb) for state in ClientState for verb in IN_ORDER]


@pytest.mark.parametrize(("state", "verb"), MATRIX)
def test_each_verb_in_each_state(state: ClientState, verb: str) -> None:
    book = CLIENT_STAGES[state]()
    assert book.session._client.state is state
    book >> client(IN_ORDER[verb])
    for action in expected(state, verb):
        book << action
    book.done()


@pytest.mark.parametrize(("state", "verb"), [(state, verb) for verb, states in FORWARDED.items() for state in states])
def test_each_verb_that_goes_upstream_gets_its_reply(state: ClientState, verb: str) -> None:
    if verb in {"DATA", "QUIT"}:
        return  # 250 is no answer to it
    book = CLIENT_STAGES[state]()
    book >> client(IN_ORDER[verb])
    book.skip() >> upstream("250 as upstream says")
    answer = book.pending()[0]
    assert isinstance(answer, Send)
    assert answer.data.startswith(b"250")
    assert book.session._client.state is STATE_AFTER_250.get((state, verb), state)


@pytest.mark.parametrize(("state", "verb"), [(state, verb) for verb, states in FORWARDED.items() for state in states])
@pytest.mark.parametrize("reply", ["451 later", "551 no"])
def test_what_upstream_refuses_leaves_the_state(state: ClientState, verb: str, reply: str) -> None:
    book = CLIENT_STAGES[state]()
    book >> client(IN_ORDER[verb])
    book.skip() >> upstream(reply)
    if book.pending() == [to_upstream("HELO client.test")]:
        book >> upstream(reply)
        book << to_client(reply)
    after = {"QUIT": C.CLOSED, "response": C.IDENTIFIED}.get(verb, state)
    assert book.session._client.state is after


def test_every_state_stands_in_the_matrix() -> None:
    assert set(CLIENT_STAGES) == set(ClientState)


# One after the other


def test_pipelined_commands_are_answered_one_by_one_in_their_order() -> None:
    book = identified()
    (
        book
        >> client(b"MAIL FROM:<a@client.test>\r\nRCPT TO:<b@mx.test>\r\nNONSENSE\r\nRCPT TO:<c@mx.test>\r\nDATA\r\n")
        << to_upstream(SENDER)
        >> upstream("250 sender")
        << to_client("250 sender")
        << to_upstream(RECIPIENT)
        >> upstream("550 b")
        << to_client("550 b")
        << to_client(UNKNOWN)
        << to_upstream("RCPT TO:<c@mx.test>")
        >> upstream("250 c")
        << to_client("250 c")
        << to_upstream("DATA")
    ).done()


def test_a_command_comes_in_pieces() -> None:
    book = identified()
    (book >> client(b"NO") >> client(b"OP") >> client(b"\r") >> client(b"\n") << to_upstream("NOOP")).done()


def test_commands_leave_in_one_form() -> None:
    book = identified()
    (book >> client("  noop   with  words") << to_client(OTHER_PROTOCOL)).skip()
    book = identified()
    (book >> client("nOoP  with  words") << to_upstream("NOOP")).done()
    book = identified()
    (book >> client("hElP  with  words") << to_upstream("HELP with  words")).done()


# What is no command


@pytest.mark.parametrize(
    ("line", "reply"),
    [
        (b"NO\0OP\r\n", BAD_LINE),
        (b"NO\rOP\r\n", BAD_LINE),
        (b"NOOP\r\r\n", BAD_LINE),
        (b"NOOP " + b"x" * 2042 + b"\r\n", LINE_TOO_LONG),
        (b"NOOP " + b"x" * 60_000 + b"\r\n", LINE_TOO_LONG),
        (b"NOOP \x07\r\n", "501 5.5.4 Syntax error in command arguments"),
        (b"EHLO\r\n", "501 5.5.4 Syntax error in command arguments"),
        (b"EHLO two names\r\n", "501 5.5.4 Syntax error in command arguments"),
        (b"EHLO \xe4.test\r\n", "501 5.5.4 Syntax error in command arguments"),
        (b"DATA now\r\n", "501 5.5.4 Syntax error in command arguments"),
        (b"QUIT now\r\n", "501 5.5.4 Syntax error in command arguments"),
        (b"VRFY\r\n", "501 5.5.4 Syntax error in command arguments"),
    ],
)
def test_a_line_that_is_no_command_is_answered_and_goes_nowhere(line: bytes, reply: str) -> None:
    book = identified()
    (book >> client(line) << to_client(reply) >> client("NOOP") << to_upstream("NOOP")).done()


@pytest.mark.parametrize(
    ("line", "reply"),
    [
        (b"NOOP\n", BAD_LINE),
        (b"NOOP\nMAIL FROM:<smuggled@client.test>\r\n", BAD_LINE),
        (b"x" * 70_000, LINE_TOO_LONG),
    ],
)
def test_a_line_that_two_programs_could_read_in_two_ways_ends_the_session(line: bytes, reply: str) -> None:
    book = identified()
    book >> client(line)
    for action in attacked(reply):
        book << action
    book.done()
    assert isinstance(book.records[0], Incident)


FOREIGN = [
    b"GET / HTTP/1.1\r\nHost: smuggled\r\n\r\n",
    b"POST /smuggled HTTP/1.1\r\n\r\nMAIL FROM:<smuggled@client.test>\r\n",
    b"CONNECT smuggled:25 HTTP/1.1\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"PROXY TCP4 192.0.2.1 192.0.2.2 1 25\r\nEHLO smuggled\r\n",
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0csmuggled",  # PROXY protocol, version 2
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03smuggled\n",
    b"SSH-2.0-OpenSSH_9.2p1 smuggled\r\n",
    b"\x80\x2e\x01\x03\x01smuggled\r\n",
    b"<smuggled/>\r\n",
]


@pytest.mark.parametrize("octets", FOREIGN)
def test_another_protocol_is_closed_upon_and_never_echoed(octets: bytes) -> None:
    book = greeted()
    book >> client(octets)
    actions = book.pending()
    assert actions[-3:] == [Close(Leg.CLIENT, How.FLUSH), Close(Leg.UPSTREAM, How.FLUSH), End()]
    (send,) = actions[:-3]
    assert isinstance(send, Send)
    assert send.leg is Leg.CLIENT
    assert b"smuggled" not in send.data
    assert [record.leg for record in book.records if isinstance(record, Incident)] == ["client"]


@pytest.mark.parametrize("octets", [*FOREIGN, b"EHLO client.test\r\n", b"E", b"\r\n"])
@pytest.mark.parametrize("dialled", [False, True])
def test_who_speaks_before_the_greeting_is_closed_upon(octets: bytes, dialled: bool) -> None:  # noqa: FBT001 - both sides of one moment
    book = greeting() if dialled else dialling()
    book >> client(octets)
    for action in attacked(EARLY_TALK):
        book << action
    book.done()
    assert (session_of(book).ended, session_of(book).faults) == ("early-talk", (("early-talk", 1),))


def test_bdat_closes_so_that_its_octets_are_never_commands() -> None:
    book = with_recipient()
    book >> client(b"BDAT 44 LAST\r\nMAIL FROM:<smuggled@client.test>\r\nRCPT TO:<x@mx.test>\r\n")
    for action in attacked(NOT_IMPLEMENTED):
        book << action
    book.done()


# EHLO and HELO


def test_without_esmtp_only_helo_is_spoken() -> None:
    book = greeted(Setting(esmtp=Esmtp(enabled=False)))
    (
        book
        >> client("EHLO client.test")
        << to_client(NOT_IMPLEMENTED)
        >> client("HELO client.test")
        << to_upstream("HELO client.test")
        >> upstream(b"250-mx.test\r\n250-SIZE 10\r\n250 LIMITS RCPTMAX=1000\r\n")
        << to_client("250 mx.test")
        >> client(SENDER)
        << to_upstream(SENDER)
    ).done()


def test_ehlo_without_a_usable_keyword() -> None:
    book = greeted(Setting(esmtp=Esmtp(allow=frozenset())))
    book >> client("EHLO client.test")
    book.skip() >> upstream(b"250-mx.test at your service\r\n250-STARTTLSX\r\n250-AUTH=LOGIN\r\n250 SIZE\r\n")
    (book << to_client("250 mx.test at your service")).done()


def test_too_many_errors_of_all_kinds_end_the_session() -> None:
    book = identified()
    for _ in range(10):
        book >> client(b"NONSENSE\r\nRCPT TO:<b@mx.test>\r\n")
        (book << to_client(UNKNOWN) << to_client(OUT_OF_ORDER)).done()
    book >> client("DATA")
    for action in attacked("421 4.7.0 Too many errors, closing connection"):
        book << action
    record = session_of(book)
    assert record.faults == (("unknown-command", 10), ("out-of-order", 11))
    assert record.ended == "too-many-errors"


def test_a_message_makes_up_for_junk() -> None:
    book = identified()
    for _ in range(99):
        granted(book, "NOOP")
    for command in (SENDER, RECIPIENT):
        granted(book, command)
    granted(book, "DATA", "354 go on")
    granted(book, ".", "250 queued")
    for _ in range(100):
        (book >> client("NOOP") << to_upstream("NOOP") >> upstream("250 Ok") << to_client("250 Ok")).done()
    book >> client("NOOP")
    (book << to_client("421 4.7.0 Too many errors, closing connection")).skip()


@pytest.mark.parametrize("line", ["NOOP", "RSET", "VRFY postmaster", "HELP"])
def test_what_is_legal_before_ehlo_gets_upstreams_own_reply(line: str) -> None:
    book = greeted()
    (
        book
        >> client(line)
        << to_upstream(line)
        >> upstream("252 as upstream says")
        << to_client("252 as upstream says")
        >> client("EHLO client.test")
        << to_upstream("EHLO client.test")
    ).done()


def test_quit_before_ehlo() -> None:
    book = greeted()
    (
        book
        >> client("QUIT")
        << to_upstream("QUIT")
        >> upstream("221 bye")
        << to_client("221 bye")
        << Close(Leg.CLIENT, How.FLUSH)
        << Close(Leg.UPSTREAM, How.FLUSH)
        << End()
    ).done()


def test_a_second_ehlo_that_upstream_refuses_changes_nothing() -> None:
    book = identified()
    (
        book
        >> client("MAIL FROM:<a@client.test>")
        << to_upstream("MAIL FROM:<a@client.test>")
        >> upstream("250 Ok")
        << to_client("250 Ok")
        >> client("EHLO other.test")
        << to_upstream("EHLO other.test")
        >> upstream("451 not now")
        << to_client("451 not now")
        >> client("RCPT TO:<b@mx.test>")
        << to_upstream("RCPT TO:<b@mx.test>")
        >> upstream("250 Ok")
        << to_client("250 Ok")
        >> client("DATA")
        << to_upstream("DATA")
        >> upstream("354 go on")
        << to_client("354 go on")
    ).done()


def test_helo_upstream_where_ehlo_is_refused_once_more_keeps_the_leg_usable() -> None:
    book = identified()
    (
        book
        >> client("EHLO other.test")
        << to_upstream("EHLO other.test")
        >> upstream("502 no more")
        << to_upstream("HELO other.test")
        >> upstream("250 mx.test")
        << to_client("250-mx.test\r\n250-PIPELINING\r\n250-SIZE 50000000\r\n250 LIMITS RCPTMAX=1000")
        >> client("MAIL FROM:<a@client.test>")
        << to_upstream("MAIL FROM:<a@client.test>")
    ).done()


@pytest.mark.parametrize("size", [1, 100, 2047, 12_287, 12_288, 12_289])
@pytest.mark.parametrize("filler", [b"1", b" ", b"\xff", b"\r", b"\0"])
def test_an_over_long_line_is_one_whatever_it_is_made_of_and_however_it_is_cut(size: int, filler: bytes) -> None:
    book = identified()
    line = b"NOOP " + filler * 13_000 + b"\r\n"
    for start in range(0, len(line), size):
        book >> client(line[start : start + size])
    (book << to_client(LINE_TOO_LONG) >> client("NOOP") << to_upstream("NOOP")).done()
