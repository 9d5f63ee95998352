"""Content that rules must see first: held, judged, and only then on its way, byte for byte but for what rules edit."""

from __future__ import annotations

import pytest

from smtpproxy.audit import Status
from smtpproxy.policy.message_edits import AddHeader, RemoveHeader
from smtpproxy.policy.messages import (
    Condition,
    Final,
    HeaderCondition,
    MessageRule,
    SizeCondition,
)
from smtpproxy.policy.model import General
from smtpproxy.policy.wildcards import Wildcard
from smtpproxy.session import timers
from smtpproxy.session.actions import (
    Close,
    DiscardSpool,
    End,
    How,
    PauseReading,
    ReplaySpool,
    ResumeReading,
    Send,
    SetTimer,
    SpoolWrite,
)
from smtpproxy.session.events import Closed, ReplayDone, Spooled, SpoolFailed, TimedOut
from smtpproxy.session.held import UNWRITTEN_OCTETS
from smtpproxy.session.legs import Leg
from smtpproxy.session.states import ClientState
from smtpproxy.session.timers import Timer
from tests.session.playbook import (
    SENDER,
    Playbook,
    Setting,
    client,
    granted,
    to_client,
    to_upstream,
    transaction_of,
    upstream,
    with_recipient,
)

MARK = MessageRule("mark", then=(AddHeader(b"X-Seen", b"yes"),))
NO_SPAM = MessageRule(
    "no spam", Condition(headers=(HeaderCondition(b"Subject", Wildcard("*spam*")),)), final=Final.DENY
)
NOT_BIG = MessageRule("not big", Condition(size=SizeCondition(over=100)), final=Final.DENY)
BIG = MessageRule("big", Condition(size=SizeCondition(over=100)), (AddHeader(b"X-Big", b"yes"),))
NO_TRACE = MessageRule("no trace", then=(RemoveHeader(b"X-Trace"),))
HEADERS = b"Subject: x\r\nX-Trace: 1\r\n"
BODY = b"\r\nfirst line\r\n..a dot was stuffed\r\n"
GO_ON = "354 End data with <CR><LF>.<CR><LF>"
DENIED = "554 5.7.1 Message refused"
TAKEN = "250 2.0.0 Chunk received"
KEYWORDS = "SIZE 100000,PIPELINING,CHUNKING"


def held(*rules: MessageRule, keywords: str = KEYWORDS, timers: bool = False, **changes: object) -> Playbook:
    """A session right behind the client's own 354."""
    setting = Setting(message_rules=rules, **changes)  # type: ignore[arg-type]
    book = with_recipient(setting, keywords, timers=timers)
    book >> client("DATA")
    if not timers:
        (book << to_client(GO_ON)).done()
    return book.skip()


def chunking(*rules: MessageRule) -> Playbook:
    return with_recipient(Setting(message_rules=rules), KEYWORDS)


def reset(book: Playbook) -> Playbook:
    """Upstream forgets the message, and the session goes on."""
    (book << to_upstream("RSET")).done()
    (book >> upstream("250 Ok") >> client("NOOP") << to_upstream("NOOP")).done()
    return book


# The headers are enough


def test_nothing_goes_upstream_before_the_headers_are_whole() -> None:
    book = held(MARK)
    (book >> client(HEADERS[:15])).done()
    (book >> client(HEADERS[15:])).done()
    (book >> client(BODY[:5]) << to_upstream("DATA")).done()
    (book >> client(BODY[5:9]) << PauseReading(Leg.CLIENT)).done()
    book >> upstream("354 go")
    book << ResumeReading(Leg.CLIENT) << to_upstream(b"X-Seen: yes\r\n" + HEADERS + BODY[:9])
    (book.done() >> client(BODY[9:]) << to_upstream(BODY[9:])).done()
    (book >> client(b".\r\n") << to_upstream(b".\r\n") >> upstream("250 queued") << to_client("250 queued")).done()
    record = transaction_of(book)
    assert (record.message_rules, record.recipients[0].status) == (("mark",), Status.ACCEPTED)
    assert record.size_octets == len(HEADERS + BODY)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 20, 1000])
def test_whatever_the_cut_the_same_message_arrives(size: int) -> None:
    book = held(MARK, NO_TRACE)
    wire = HEADERS + BODY + b".\r\n"
    went = b""
    for start in range(0, len(wire), size):
        book >> client(wire[start : start + size])
        went += octets_upstream(book)
        if went == b"DATA\r\n":
            book >> upstream("354 go")
            went += octets_upstream(book)
    assert went == b"DATA\r\nX-Seen: yes\r\nSubject: x\r\n" + BODY + b".\r\n"


def octets_upstream(book: Playbook) -> bytes:
    return b"".join(each.data for each in book.pending() if isinstance(each, Send) and each.leg is Leg.UPSTREAM)


def test_a_message_in_one_go_costs_upstream_one_wait() -> None:
    book = held(NO_SPAM)
    book >> client(HEADERS + BODY + b".\r\nNOOP\r\n")
    (book << to_upstream("DATA")).done()
    (book >> upstream("354 go") << to_upstream(HEADERS + BODY + b".\r\n")).done()
    (book >> upstream("250 queued") << to_client("250 queued") << to_upstream("NOOP")).done()


def test_half_a_354_is_no_early_reply() -> None:
    book = held(MARK)
    book >> client(HEADERS + b"\r\n")
    (book.skip() >> upstream(b"354 g")).done()
    book >> client(b"body\r\n.\r\n")
    (book << PauseReading(Leg.CLIENT) >> upstream(b"o\r\n") << ResumeReading(Leg.CLIENT)).skip()
    assert book.session._client.state is ClientState.FINISHED
    (book >> upstream("250 queued") << to_client("250 queued")).done()


def test_content_without_a_body() -> None:
    book = held(MARK)
    (book >> client(HEADERS + b".\r\n") << to_upstream("DATA")).done()
    (book >> upstream("354 go") << to_upstream(b"X-Seen: yes\r\n" + HEADERS + b".\r\n")).done()


def test_an_unedited_message_passes_byte_for_byte() -> None:
    book = held(NO_SPAM)
    odd = b"Subject :  \tfolded\r\n  more\r\n..x: y\r\nno colon\r\n\r\nbody\r\n"
    book >> client(odd + b".\r\n")
    (book.skip() >> upstream("354 go") << to_upstream(odd + b".\r\n")).done()


def test_a_denied_message_is_dropped_to_its_end_and_never_goes_upstream() -> None:
    book = held(NO_SPAM)
    (book >> client(b"Subject: SPAM!\r\n\r\nRSET\r\n")).done()
    (book >> client(b"QUIT\r\n")).done()
    reset(book >> client(b".\r\n") << to_client(DENIED))
    record = transaction_of(book)
    assert (record.because, record.recipients[0].status) == ("message-rule", Status.REFUSED)
    assert (record.message_rules, record.inspected) == (("no spam",), True)


def test_a_session_that_is_to_end_does_so_behind_the_refusal() -> None:
    book = held(NO_SPAM)
    book >> client(b"Subject: spam\r\n\r\n")
    (book.skip() >> TimedOut(Timer.AGE)).done()
    (book >> client(b".\r\n") << to_client(DENIED) << to_upstream("RSET")).done()
    book >> upstream("250 Ok")
    book << to_client("421 4.4.2 Session lasted too long, closing connection") << Close(Leg.CLIENT, How.FLUSH)
    (book << Close(Leg.UPSTREAM, How.FLUSH) << End()).done()


def test_upstreams_refusal_of_data_is_told_at_the_end_of_data() -> None:
    book = held(MARK)
    book >> client(HEADERS + b"\r\n")
    (book.skip() >> upstream("451 4.3.1 full")).done()
    (book >> client(b"more\r\n")).done()
    reset(book >> client(b".\r\n") << to_client("451 4.3.1 full"))
    record = transaction_of(book)
    assert (record.because, record.recipients[0].status) == (None, Status.DEFERRED)


def test_upstreams_refusal_of_data_behind_the_clients_dot() -> None:
    book = held(MARK)
    book >> client(HEADERS + BODY + b".\r\n")
    reset(book.skip() >> upstream("554 no") << to_client("554 no"))


@pytest.mark.parametrize(
    ("content", "reply"),
    [
        (b"Subject: a\rb\r\n\r\n", "550 5.5.2 Message contains a carriage return without line feed"),
        (b"X: " + b"y" * 300_000 + b"\r\n\r\n", "552 5.3.4 Message header size exceeds limit"),
        (b"X: a\0b\r\n\r\n", "550 5.5.2 Message header contains a lone carriage return, line feed or NUL"),
    ],
)
def test_headers_that_cannot_be_judged_are_refused(content: bytes, reply: str) -> None:
    book = held(MARK)
    (book >> client(content)).done()
    book >> client(b".\r\n")
    book << to_client(reply)
    assert octets_upstream(book) in {b"", b"RSET\r\n"}


def test_a_fault_while_upstream_is_asked() -> None:
    book = held(MARK)
    (book >> client(HEADERS + b"\r\n") << to_upstream("DATA")).done()
    (book >> client(b"a\rb") << Close(Leg.UPSTREAM, How.ABORT)).done()
    book >> client(b"\r\n.\r\n")
    book << to_client("550 5.5.2 Message contains a carriage return without line feed")
    book.skip()
    assert book.session._client.state is ClientState.CLOSED


def test_too_big_while_it_passes_ends_without_the_dot() -> None:
    book = held(MARK, general=General(max_message_size=40))
    book >> client(HEADERS + b"\r\n")
    book.skip() >> upstream("354 go")
    book.skip() >> client(b"x" * 50)
    (book << Close(Leg.UPSTREAM, How.ABORT)).done()
    book >> client(b"\r\n.\r\n")
    (book << to_client("552 5.3.4 Message size exceeds limit") << Close(Leg.CLIENT, How.FLUSH) << End()).done()


def test_too_big_before_anything_passed_ends_nothing() -> None:
    book = held(MARK, general=General(max_message_size=10))
    (book >> client(HEADERS)).done()
    reset(book >> client(b"\r\n.\r\n") << to_client("552 5.3.4 Message size exceeds limit"))


def test_data_waits_for_the_answers_to_its_recipients() -> None:
    book = with_recipient(Setting(message_rules=(MARK,)), KEYWORDS)
    book >> client(b"RCPT TO:<c@mx.test>\r\nDATA\r\n")
    (book << to_upstream("RCPT TO:<c@mx.test>")).done()
    (book >> upstream("550 no") << to_client("550 no") << to_client(GO_ON)).done()


# The size is needed


def test_a_message_is_spooled_judged_and_replayed() -> None:
    book = held(BIG)
    (book >> client(HEADERS)).done()
    (book >> client(b"\r\n" + b"x" * 60) << SpoolWrite(b"\r\n" + b"x" * 60) >> Spooled(62)).done()
    book >> client(b"y" * 60 + b"\r\n.\r\n")
    (book << SpoolWrite(b"y" * 60 + b"\r\n") << to_upstream("DATA") >> Spooled(62)).done()
    (book >> upstream("354 go") << to_upstream(b"X-Big: yes\r\n" + HEADERS) << ReplaySpool()).done()
    (book >> ReplayDone() << DiscardSpool() << to_upstream(b".\r\n")).done()
    (book >> upstream("250 queued") << to_client("250 queued")).done()
    record = transaction_of(book)
    assert (record.message_rules, record.ambiguous_delivery) == (("big",), False)


def test_a_size_that_cannot_matter_spools_nothing() -> None:
    book = held(NO_SPAM, MessageRule("others", final=Final.DELIVER), NOT_BIG)
    (book >> client(HEADERS + b"\r\n") << to_upstream("DATA")).done()


def test_a_message_that_is_too_big_for_its_rule_never_goes_upstream() -> None:
    book = held(NOT_BIG)
    book >> client(HEADERS + b"\r\n" + b"x" * 200)
    book.skip() >> client(b"\r\n.\r\n")
    book << SpoolWrite(b"\r\n") << DiscardSpool() << to_client(DENIED)
    reset(book)


def test_the_disk_is_waited_for() -> None:
    book = held(BIG)
    half = b"x" * (UNWRITTEN_OCTETS // 2 + 1)
    book >> client(HEADERS + b"\r\n")
    (book.skip() >> client(half) << SpoolWrite(half)).done()
    (book >> client(half) << SpoolWrite(half) << PauseReading(Leg.CLIENT)).done()
    (book >> Spooled(2)).done()
    (book >> Spooled(len(half)) << ResumeReading(Leg.CLIENT)).done()


@pytest.mark.parametrize("ended", [True, False])
def test_a_full_disk_defers_the_message_and_ends_nothing(ended: bool) -> None:  # noqa: FBT001
    book = held(BIG)
    book >> client(HEADERS + BODY)
    book.skip()
    failed, dot = SpoolFailed("spool-full"), client(b".\r\n")
    if ended:
        book >> dot
        (book << to_upstream("DATA")).done()
        book >> failed
        book << Close(Leg.UPSTREAM, How.ABORT) << DiscardSpool()
        (book << to_client("451 4.3.0 Message cannot be stored now, try again later")).skip()
    else:
        (book >> failed << DiscardSpool()).done()
        reset(book >> dot << to_client("451 4.3.0 Message cannot be stored now, try again later"))
    record = transaction_of(book)
    assert (record.because, record.recipients[0].status) == ("spool-full", Status.DEFERRED)


def test_a_spool_that_breaks_while_it_is_replayed_ends_without_the_dot() -> None:
    book = held(BIG)
    book >> client(HEADERS + BODY + b".\r\n")
    book.skip() >> upstream("354 go")
    book.skip() >> SpoolFailed("spool-failed")
    book << Close(Leg.UPSTREAM, How.ABORT) << DiscardSpool()
    book << to_client("451 4.3.0 Message cannot be stored now, try again later") << Close(Leg.CLIENT, How.FLUSH)
    (book << End()).done()


@pytest.mark.parametrize("leg", Leg)
def test_what_is_spooled_is_discarded_with_its_session(leg: Leg) -> None:
    book = held(BIG)
    book >> client(HEADERS + BODY)
    book.skip() >> Closed(leg, "reset")
    assert DiscardSpool() in book.pending()


def test_upstream_lost_while_content_is_held() -> None:
    book = held(BIG)
    book >> client(HEADERS + BODY)
    book.skip() >> Closed(Leg.UPSTREAM, "reset")
    (book << DiscardSpool()).done()
    book >> client(b".\r\n")
    (book << to_client("451 4.4.2 Connection to the server lost") << Close(Leg.CLIENT, How.FLUSH) << End()).done()


def test_upstreams_early_refusal_while_it_is_replayed() -> None:
    book = held(BIG)
    book >> client(HEADERS + BODY + b".\r\n")
    book.skip() >> upstream("354 go")
    book.skip() >> upstream("552 too big for me")
    book << Close(Leg.UPSTREAM, How.ABORT) << DiscardSpool() << to_client("552 too big for me")
    (book << Close(Leg.CLIENT, How.FLUSH) << End()).done()


EARLY = "451 4.5.0 Protocol error of the server"


def test_a_reply_that_comes_with_354_is_no_verdict() -> None:
    book = held(MARK)
    book >> client(HEADERS + BODY + b".\r\n")
    book.skip() >> upstream(b"354 go\r\n250 queued\r\n")
    book << to_upstream(b"X-Seen: yes\r\n" + HEADERS + BODY) << Close(Leg.UPSTREAM, How.ABORT) << to_client(EARLY)
    (book << Close(Leg.CLIENT, How.FLUSH) << End()).done()


def test_a_reply_that_begins_while_it_is_replayed_is_no_verdict() -> None:
    book = held(BIG)
    book >> client(HEADERS + BODY + b".\r\n")
    book.skip() >> upstream("354 go")
    (book.skip() >> upstream(b"250 que")).done()
    book >> ReplayDone()
    book << DiscardSpool() << Close(Leg.UPSTREAM, How.ABORT) << to_client(EARLY)
    (book << Close(Leg.CLIENT, How.FLUSH) << End()).done()


# Upstream is kept awake, and the client is not kept waiting


def test_upstream_hears_noop_while_content_is_held() -> None:
    book = held(BIG)
    (book >> TimedOut(Timer.KEEP_AWAKE) << to_upstream("NOOP")).done()
    (book >> TimedOut(Timer.KEEP_AWAKE)).done()
    (book >> upstream("250 Ok")).done()
    (book >> TimedOut(Timer.KEEP_AWAKE) << to_upstream("NOOP")).done()


def test_the_reply_to_noop_gives_the_client_no_more_time() -> None:
    book = held(BIG, timers=True)
    book >> client(HEADERS)
    book.skip() >> TimedOut(Timer.KEEP_AWAKE)
    (book.skip() >> upstream("250 Ok")).done()


@pytest.mark.parametrize("answered", [True, False])
def test_an_idle_client_between_held_chunks_is_not_waited_for_though_upstream_is_awake(answered: bool) -> None:  # noqa: FBT001
    book = chunking(BIG)
    book >> client(chunk(HEADERS + b"\r\n"))
    book.skip() >> TimedOut(Timer.KEEP_AWAKE)
    if answered:
        book.skip() >> upstream("250 Ok")
    book.skip() >> TimedOut(Timer.CLIENT)
    book.skip()
    assert book.session._client.state is ClientState.CLOSED


def test_data_goes_out_behind_the_reply_to_noop() -> None:
    book = held(MARK)
    book >> TimedOut(Timer.KEEP_AWAKE)
    (book.skip() >> client(HEADERS + b"\r\n")).done()
    (book >> upstream("250 Ok") << to_upstream("DATA")).done()


def test_upstream_that_goes_while_content_is_held() -> None:
    book = held(MARK)
    book >> TimedOut(Timer.KEEP_AWAKE)
    book.skip() >> upstream("421 going down")
    (book << Close(Leg.UPSTREAM, How.ABORT)).done()
    book >> client(HEADERS + b".\r\n")
    (book << to_client("421 going down") << Close(Leg.CLIENT, How.FLUSH) << End()).done()


def test_the_time_from_the_clients_dot_is_bounded_as_a_whole() -> None:
    book = held(BIG, timers=True)
    book >> client(HEADERS + BODY + b".\r\n")
    assert SetTimer(Timer.VERDICT, timers.FINAL_S) in book.pending()
    book >> upstream("354 go")
    assert not [each for each in book.pending() if isinstance(each, SetTimer) and each.timer is Timer.VERDICT]
    book >> TimedOut(Timer.VERDICT)
    sent = book.pending()
    assert to_client("421 4.4.2 Connection to the server lost, closing connection") in sent
    assert Close(Leg.UPSTREAM, How.ABORT) in sent


def test_timers_of_held_content_end_with_it() -> None:
    book = held(MARK, timers=True)
    book >> client(HEADERS + b".\r\n")
    assert SetTimer(Timer.KEEP_AWAKE, None) in book.pending()
    book >> upstream("354 go")
    book.skip() >> upstream("250 queued")
    assert SetTimer(Timer.VERDICT, None) in book.pending()


# By BDAT


def chunk(octets: bytes, *, last: bool = False) -> bytes:
    return b"BDAT %d%b\r\n" % (len(octets), b" LAST" if last else b"") + octets


def test_chunks_are_answered_here_until_the_headers_are_whole() -> None:
    book = chunking(MARK)
    (book >> client(chunk(HEADERS[:9])) << to_client(TAKEN)).done()
    more = HEADERS[9:] + b"\r\nbo"
    book >> client(chunk(more)[:-1])
    sent = b"X-Seen: yes\r\n" + HEADERS + b"\r\nb"
    (book << to_upstream(b"BDAT %d\r\n" % (len(sent) + 1) + sent)).done()
    (book >> client(b"o") << to_upstream(b"o") >> upstream("250 so far") << to_client("250 so far")).done()
    book >> client(chunk(b"dy", last=True))
    (book << to_upstream(chunk(b"dy", last=True)) >> upstream("250 queued") << to_client("250 queued")).done()
    assert transaction_of(book).message_rules == ("mark",)


@pytest.mark.parametrize("size", [1, 3, 8, 1000])
def test_data_and_chunks_of_the_same_content_end_in_the_same_message(size: int) -> None:
    content = HEADERS + b"\r\nbody\r\n"
    by_data = held(MARK, NO_TRACE)
    by_data >> client(content + b".\r\n")
    by_data.skip() >> upstream("354 go")
    message = octets_upstream(by_data).removesuffix(b".\r\n")
    book = chunking(MARK, NO_TRACE)
    went = b""
    for start in range(0, len(content), size):
        part = content[start : start + size]
        book >> client(chunk(part, last=start + size >= len(content)))
        sent = octets_upstream(book)
        if sent:
            head, _, octets = sent.partition(b"\r\n")
            assert int(head.split()[1]) == len(octets)
            went += octets
            book >> upstream("250 Ok")
            book.skip()
    assert went == message


def test_chunks_that_are_spooled() -> None:
    book = chunking(BIG)
    book >> client(chunk(HEADERS + b"\r\n"))
    (book << SpoolWrite(b"\r") << to_client(TAKEN) >> Spooled(1)).done()
    book >> client(chunk(b"x" * 200, last=True))
    size = len(b"X-Big: yes\r\n" + HEADERS + b"\r\n") + 200
    book << SpoolWrite(b"\n" + b"x" * 199) << to_upstream(b"BDAT %d LAST\r\nX-Big: yes\r\n" % size + HEADERS)
    (book << ReplaySpool() >> Spooled(200)).done()
    book >> ReplayDone()
    (book << DiscardSpool() << to_upstream(b"x") >> upstream("250 queued") << to_client("250 queued")).done()
    assert not transaction_of(book).ambiguous_delivery


def test_the_octet_that_completes_spooled_chunks_leaves_when_that_is_on_record() -> None:
    book = chunking(BIG)
    book >> client(chunk(HEADERS + b"\r\n" + b"x" * 200, last=True))
    book.skip() >> Closed(Leg.CLIENT, "reset")
    book.skip()
    assert not transaction_of(book).ambiguous_delivery
    book = chunking(BIG)
    book >> client(chunk(HEADERS + b"\r\n" + b"x" * 200, last=True))
    book.skip() >> ReplayDone()
    (book << DiscardSpool() << to_upstream(b"x")).done()
    book >> Closed(Leg.CLIENT, "reset")
    book.skip()
    assert transaction_of(book).ambiguous_delivery


def test_a_denied_chunk_is_dropped_and_the_session_goes_on() -> None:
    book = chunking(NO_SPAM)
    (book >> client(b"BDAT 30\r\nSubject: spam\r\n\r\n")).done()
    (book >> client(b"x" * 13 + b"BDAT 6 LAST\r\nRSET\r\n") << to_client(DENIED) << to_upstream("RSET")).done()
    (book >> upstream("250 Ok") << to_client("503 5.5.1 Bad sequence of commands")).done()
    assert transaction_of(book).message_rules == ("no spam",)


def test_chunks_wait_for_the_reply_to_noop() -> None:
    book = chunking(BIG)
    book >> client(chunk(HEADERS + b"\r\n"))
    book.skip() >> client(b"BDAT 2 LAST\r\nx")
    (book << SpoolWrite(b"\n") >> TimedOut(Timer.KEEP_AWAKE) << to_upstream("NOOP")).done()
    (book >> client(b"y") << SpoolWrite(b"x")).done()
    book >> upstream("250 Ok")
    (book << to_upstream(b"BDAT %d LAST\r\n" % (len(HEADERS) + 4) + HEADERS) << ReplaySpool()).done()


def test_ehlo_between_chunks_takes_them_back() -> None:
    book = chunking(BIG)
    (book >> client(chunk(HEADERS + b"\r\n")) << SpoolWrite(b"\r") << to_client(TAKEN) >> Spooled(1)).done()
    book >> client("EHLO client.test")
    book.skip() >> upstream(b"250-mx.test\r\n250 CHUNKING\r\n")
    assert book.pending()[0] == DiscardSpool()
    granted(granted(book, SENDER), "RCPT TO:<other@mx.test>")
    book >> client(chunk(b"Subject: y\r\n\r\n", last=True))
    (book << SpoolWrite(b"\r") << to_upstream(b"BDAT 14 LAST\r\nSubject: y\r\n") << ReplaySpool()).done()


@pytest.mark.parametrize("last", [True, False])
def test_no_command_goes_into_a_chunk_that_lacks_octets(last: bool) -> None:  # noqa: FBT001
    book = chunking(MARK)
    book >> client(chunk(b"a: b\r\n\r\nto the end", last=last)[:-6])
    book.skip() >> upstream(b"4")
    (book >> client(b"he end") << Close(Leg.UPSTREAM, How.ABORT)).skip()
    assert book.session._client.state is ClientState.CLOSED


def test_a_second_message_is_held_anew() -> None:
    book = held(MARK)
    for _ in range(2):
        book >> client(HEADERS + b".\r\n")
        book.skip() >> upstream("354 go")
        book.skip() >> upstream("250 queued")
        granted(book.skip(), SENDER)
        granted(book, "RCPT TO:<b@mx.test>")
        (book >> client("DATA") << to_client(GO_ON)).done()
