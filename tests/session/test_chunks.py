"""BDAT: octets that are counted and never read as anything else."""

from __future__ import annotations

import pytest

from smtpproxy.audit import Status, TransactionRecord
from smtpproxy.policy.model import Esmtp, General
from smtpproxy.session import timers
from smtpproxy.session.actions import Close, End, How, Send, SetTimer
from smtpproxy.session.events import ClientFinished, Closed
from smtpproxy.session.legs import Leg
from smtpproxy.session.states import ClientState
from smtpproxy.session.timers import Timer
from tests.session.playbook import (
    RECIPIENT,
    SENDER,
    Playbook,
    Setting,
    client,
    granted,
    identified,
    to_client,
    to_upstream,
    transaction_of,
    upstream,
    with_recipient,
    with_sender,
)

KEYWORDS = "SIZE 100000,PIPELINING,CHUNKING,BINARYMIME,8BITMIME"
OUT_OF_ORDER = "503 5.5.1 Bad sequence of commands"
NO_RECIPIENTS = "503 5.5.1 No valid recipients"
TOO_BIG = "552 5.3.4 Message size exceeds limit"
BINARY = b"RSET\r\nQUIT\r\n.\r\n\n.\n\r\0\xff.\r\n"


def chunking(setting: Setting | None = None) -> Playbook:
    return with_recipient(setting, KEYWORDS)


def sent(book: Playbook, leg: Leg) -> bytes:
    return b"".join(action.data for action in book.pending() if isinstance(action, Send) and action.leg is leg)


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_octets_pass_as_they_are_whatever_they_are_and_however_they_are_cut(size: int) -> None:
    wire = b"BDAT %d LAST\r\n" % len(BINARY) + BINARY
    book = chunking()
    went = b""
    for start in range(0, len(wire), size):
        book >> client(wire[start : start + size])
        went += sent(book, Leg.UPSTREAM)
    assert went == wire
    (book >> upstream("250 queued") << to_client("250 queued")).done()
    record = transaction_of(book)
    assert (record.size_octets, record.inspected, record.normalized) == (len(BINARY), True, False)
    assert record.recipients[0].status is Status.ACCEPTED


def test_chunk_by_chunk_each_with_upstreams_reply() -> None:
    book = chunking()
    (
        book
        >> client(b"BDAT 3\r\none")
        << to_upstream(b"BDAT 3\r\none")
        >> upstream("250 3 octets")
        << to_client("250 3 octets")
        >> client(b"BDAT 0\r\n")
        << to_upstream(b"BDAT 0\r\n")
        >> upstream("250 0 octets")
        << to_client("250 0 octets")
        >> client(b"BDAT 0 LAST\r\n")
        << to_upstream(b"BDAT 0 LAST\r\n")
        >> upstream("250 queued")
        << to_client("250 queued")
    ).done()
    assert transaction_of(book).size_octets == 3


def test_a_chunk_waits_for_the_reply_to_the_one_before() -> None:
    book = chunking()
    book >> client(b"BDAT 1\r\naBDAT 1 LAST\r\nbNOOP\r\n")
    (book << to_upstream(b"BDAT 1\r\na") >> upstream("250 a")) << to_client("250 a")
    (book << to_upstream(b"BDAT 1 LAST\r\nb") >> upstream("250 queued"))
    (book << to_client("250 queued") << to_upstream("NOOP")).done()


def test_a_whole_message_in_one_burst() -> None:
    book = identified(keywords=KEYWORDS)
    book >> client(f"{SENDER}\r\n{RECIPIENT}\r\nBDAT 4 LAST\r\ntextQUIT\r\n".encode())
    book << to_upstream(f"{SENDER}\r\n{RECIPIENT}\r\n".encode())
    book >> upstream(b"250 Ok\r\n250 Ok\r\n")
    book << to_client(b"250 Ok\r\n250 Ok\r\n") << to_upstream(b"BDAT 4 LAST\r\ntext")
    book >> upstream("250 queued")
    (book << to_client("250 queued") << to_upstream("QUIT")).done()


def test_the_chunk_of_a_burst_whose_recipients_are_all_refused_is_dropped() -> None:
    book = identified(keywords=KEYWORDS)
    book >> client(f"{SENDER}\r\n{RECIPIENT}\r\nBDAT 6 LAST\r\nRSET\r\nNOOP\r\n".encode())
    book.skip() >> upstream(b"250 Ok\r\n550 no\r\n")
    (book << to_client(b"250 Ok\r\n550 no\r\n") << to_client(NO_RECIPIENTS) << to_upstream("NOOP")).done()


@pytest.mark.parametrize("size", [1, 4, 100])
def test_a_chunk_out_of_order_is_read_and_dropped(size: int) -> None:
    wire = b"BDAT 12\r\nRSET\r\nQUIT\r\nNOOP\r\n"
    book = identified(keywords=KEYWORDS)
    went: dict[Leg, bytes] = dict.fromkeys(Leg, b"")
    for start in range(0, len(wire), size):
        book >> client(wire[start : start + size])
        for action in book.pending():
            assert isinstance(action, Send)
            went[action.leg] += action.data
    assert went == {Leg.CLIENT: OUT_OF_ORDER.encode() + b"\r\n", Leg.UPSTREAM: b"NOOP\r\n"}


def test_a_chunk_out_of_order_is_answered_behind_its_octets() -> None:
    book = identified(keywords=KEYWORDS)
    book >> client(b"BDAT 6\r\nRSE")
    book.done()
    (book >> client(b"T\r\n") << to_client(OUT_OF_ORDER)).done()


def test_many_chunks_of_a_refused_message_are_no_fault_of_the_client() -> None:
    book = identified(keywords=KEYWORDS)
    book >> client(b"BDAT 3\r\none" * 100 + b"NOOP\r\n")
    for _ in range(100):
        book << to_client(OUT_OF_ORDER)
    (book << to_upstream("NOOP")).done()


def test_data_and_bdat_never_mix() -> None:
    book = chunking()
    book >> client(b"BDAT 1\r\na")
    book.skip() >> upstream("250 a")
    (book.skip() >> client("DATA") << to_client(OUT_OF_ORDER)).done()
    (book >> client(RECIPIENT) << to_client(OUT_OF_ORDER) >> client(SENDER) << to_client(OUT_OF_ORDER)).done()
    (book >> client(b"BDAT 1 LAST\r\nb") << to_upstream(b"BDAT 1 LAST\r\nb")).done()


def test_content_behind_a_data_that_came_too_late_is_an_attack() -> None:
    book = chunking()
    book >> client(b"BDAT 1\r\na")
    book.skip() >> upstream("250 a")
    book.skip() >> client(b"DATA\r\nRSET\r\n")
    (book << to_client(OUT_OF_ORDER) << Close(Leg.CLIENT, How.FLUSH) << Close(Leg.UPSTREAM, How.FLUSH) << End()).done()


def test_binary_content_needs_bdat() -> None:
    book = with_recipient(keywords=KEYWORDS, mail=SENDER + " BODY=BINARYMIME")
    (book >> client("DATA") << to_client("503 5.5.1 BINARYMIME content must be sent with BDAT")).done()
    (book >> client(b"BDAT 2 LAST\r\n\0\n") << to_upstream(b"BDAT 2 LAST\r\n\0\n")).done()


def test_a_binary_data_with_content_behind_it_is_an_attack() -> None:
    book = with_recipient(keywords=KEYWORDS, mail=SENDER + " BODY=BINARYMIME")
    book >> client(b"DATA\r\nRSET\r\n")
    assert sent(book, Leg.UPSTREAM) == b""
    assert book.session._client.state is ClientState.CLOSED


def test_a_chunk_over_the_limit_is_dropped_and_upstream_forgets_the_message() -> None:
    book = chunking(Setting(general=General(max_message_size=10)))
    book >> client(b"BDAT 6\r\n123456")
    book.skip() >> upstream("250 6 octets")
    book.skip() >> client(b"BDAT 5 LAST\r\n12345NOOP\r\n")
    (book << to_upstream("RSET")).done()
    book >> upstream("250 reset")
    (book << to_client(TOO_BIG) << to_upstream("NOOP")).done()
    record = transaction_of(book)
    assert (record.because, record.recipients[0].status) == ("message-too-big", Status.REFUSED)
    (book >> upstream("250 Ok") << to_client("250 Ok") >> client(SENDER) << to_upstream(SENDER)).done()


def test_the_first_chunk_may_be_over_the_limit() -> None:
    book = chunking(Setting(general=General(max_message_size=10)))
    book >> client(b"BDAT 999999999999 LAST\r\n1234")
    (book << to_upstream("RSET") >> upstream("250 reset")).done()
    book >> Closed(Leg.CLIENT, "reset")
    book.skip()


def test_a_chunk_that_upstream_refuses_ends_the_message() -> None:
    book = chunking()
    book >> client(b"BDAT 3\r\noneBDAT 3\r\ntwoBDAT 5 LAST\r\nRSET\n")
    book.skip() >> upstream("452 4.3.1 full")
    (book << to_upstream("RSET") << to_client("452 4.3.1 full")).done()
    book >> upstream("250 reset")
    (book << to_client(OUT_OF_ORDER) << to_client(OUT_OF_ORDER)).done()
    assert transaction_of(book).recipients[0].status is Status.DEFERRED


def test_an_upstream_that_does_not_forget_is_of_no_use() -> None:
    book = chunking()
    book >> client(b"BDAT 3\r\none")
    book.skip() >> upstream("452 full")
    book.skip() >> upstream("500 what")
    book << Close(Leg.UPSTREAM, How.ABORT)
    (book << to_client("421 4.5.0 Protocol error of the server, closing connection")).skip()
    assert book.session._client.state is ClientState.CLOSED


def test_rset_between_chunks() -> None:
    book = chunking()
    book >> client(b"BDAT 3\r\none")
    book.skip() >> upstream("250 3")
    (book.skip() >> client("RSET") << to_upstream("RSET") >> upstream("250 Ok") << to_client("250 Ok")).done()
    assert transaction_of(book).recipients[0].status is Status.ABANDONED
    (book >> client(b"BDAT 2 LAST\r\nxx") << to_client(OUT_OF_ORDER)).done()


def test_ehlo_between_chunks_takes_them_back() -> None:
    book = chunking()
    book >> client(b"BDAT 4\r\nsome")
    book.skip() >> upstream("250 4 octets")
    granted(granted(granted(book.skip(), "EHLO client.test", "250-mx.test\r\n250 CHUNKING"), SENDER), RECIPIENT)
    (book >> client(b"BDAT 5 LAST\r\nother") << to_upstream(b"BDAT 5 LAST\r\nother")).done()
    (book >> upstream("250 queued") << to_client("250 queued")).done()
    first, second = (record for record in book.records if isinstance(record, TransactionRecord))
    assert (first.size_octets, first.inspected) == (4, False)
    assert (second.size_octets, second.inspected) == (5, True)


def test_upstream_that_speaks_within_a_chunk_is_closed_and_the_client_told_behind_its_octets() -> None:
    book = chunking()
    book >> client(b"BDAT 6\r\none")
    book.skip() >> upstream("552 5.3.4 too big")
    (book << Close(Leg.UPSTREAM, How.ABORT)).done()
    book >> client(b"two")
    (book << to_client("552 5.3.4 too big") << Close(Leg.CLIENT, How.FLUSH) << End()).done()


def test_a_client_lost_within_the_last_chunk_leaves_nothing_whole() -> None:
    book = chunking()
    book >> client(b"BDAT 6 LAST\r\none")
    book.skip() >> Closed(Leg.CLIENT, "reset")
    (book << Close(Leg.UPSTREAM, How.ABORT) << End()).done()
    record = transaction_of(book)
    assert not record.ambiguous_delivery
    assert not record.inspected


def test_a_client_that_stops_within_a_chunk_is_not_waited_for() -> None:
    book = chunking()
    book >> client(b"BDAT 6\r\none")
    book.skip() >> ClientFinished("clean")
    (book << Close(Leg.CLIENT, How.FLUSH) << Close(Leg.UPSTREAM, How.ABORT) << End()).done()


def test_a_client_lost_behind_the_last_chunk_may_get_its_message_twice() -> None:
    book = chunking()
    book >> client(b"BDAT 3 LAST\r\none")
    book.skip() >> Closed(Leg.CLIENT, "reset")
    book.skip()
    assert transaction_of(book).ambiguous_delivery


@pytest.mark.parametrize("line", ["BDAT", "BDAT x", "BDAT 5 FIRST", "BDAT -1"])
def test_a_chunk_of_unknown_size_ends_the_session(line: str) -> None:
    book = chunking()
    book >> client(line)
    book << to_client("501 5.5.4 Syntax error in command arguments") << Close(Leg.CLIENT, How.FLUSH)
    (book << Close(Leg.UPSTREAM, How.FLUSH) << End()).done()


def test_a_chunk_whose_line_is_too_long_ends_the_session() -> None:
    book = chunking()
    book >> client(b"BDAT " + b" " * 2048 + b"6 LAST\r\nRSET\r\n")
    (book << to_client("500 5.5.2 Line too long") << Close(Leg.CLIENT, How.FLUSH)).skip()
    assert book.session._client.state is ClientState.CLOSED


@pytest.mark.parametrize("keywords", ["SIZE", KEYWORDS])
def test_a_chunk_that_was_not_offered_ends_the_session(keywords: str) -> None:
    allow = frozenset({"SIZE"}) if "CHUNKING" in keywords else Esmtp().allow
    book = with_recipient(Setting(esmtp=Esmtp(allow=allow)), keywords)
    book >> client(b"BDAT 6\r\nRSET\r\n")
    book << to_client("502 5.5.1 Command not implemented") << Close(Leg.CLIENT, How.FLUSH)
    (book << Close(Leg.UPSTREAM, How.FLUSH) << End()).done()


def test_no_recipient_no_chunk() -> None:
    book = with_sender(keywords=KEYWORDS)
    (book >> client(b"BDAT 3 LAST\r\nabc") << to_client(NO_RECIPIENTS)).done()
    (book >> client(RECIPIENT) << to_upstream(RECIPIENT)).done()


def test_the_same_content_by_data_and_by_bdat_is_the_same_message() -> None:
    by_data, by_bdat = chunking(), chunking()
    granted(by_data, "DATA", "354 go")
    granted(by_data, "one\r\n..two\r\n.", "250 queued")
    by_bdat >> client(b"BDAT 11 LAST\r\none\r\n.two\r\n")
    by_bdat.skip() >> upstream("250 queued")
    records = [transaction_of(book) for book in (by_data, by_bdat)]
    assert [record.recipients[0].status for record in records] == [Status.ACCEPTED, Status.ACCEPTED]
    by_bdat.skip()


def test_each_chunk_has_the_whole_window_to_come() -> None:
    book = with_recipient(keywords=KEYWORDS, timers=True)
    for _ in range(2):
        book >> client(b"BDAT 4\r\nso")
        assert SetTimer(Timer.CLIENT, timers.RATE_WINDOW_S) in book.pending()
        book >> client(b"me")
        book.skip() >> upstream("250 4 octets")
        book.skip()
