"""Content: as it came, or not at all; the 250 is upstream's own, and the dot goes out once or never."""

from __future__ import annotations

import pytest

from smtpproxy.audit import SessionRecord, Status, TransactionRecord
from smtpproxy.policy.model import BareNewline, General
from smtpproxy.session.actions import Action, Close, End, How, Send
from smtpproxy.session.events import Closed
from smtpproxy.session.legs import Leg
from tests.session.playbook import (
    Playbook,
    Setting,
    client,
    granted,
    in_content,
    to_client,
    to_upstream,
    transaction_of,
    upstream,
    with_recipient,
)

REJECT = Setting(general=General(bare_newline=BareNewline.REJECT))
CONTENT = b"Subject: x\r\n\r\n..a dot was stuffed\r\n..\r\nno newline at \t the end \xff\0\r\n"
BARE_CR = "550 5.5.2 Message contains a carriage return without line feed"
BARE_LF = "550 5.5.2 Message contains a line feed without carriage return"
TOO_BIG = "552 5.3.4 Message size exceeds limit"


def upstream_octets(actions: list[Action]) -> bytes:
    return b"".join(action.data for action in actions if isinstance(action, Send) and action.leg is Leg.UPSTREAM)


def told_at_the_end(book: Playbook, reply: str, end: bytes = b".\r\n") -> None:
    """The rest of the content goes nowhere; at its end the client is told ``reply`` and the session is over."""
    book >> client(b"more content\r\n")
    book.done()
    book >> client(end)
    (book << to_client(reply) << Close(Leg.CLIENT, How.FLUSH) << End()).done()


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 1000])
def test_content_is_what_came_in_whatever_the_cut(size: int) -> None:
    book = in_content()
    wire = CONTENT + b".\r\n"
    sent = b""
    for start in range(0, len(wire), size):
        book >> client(wire[start : start + size])
        sent += upstream_octets(book.pending())
    assert sent == wire
    book >> upstream("250 queued")
    (book << to_client("250 queued")).done()


def test_content_flows_chunk_by_chunk() -> None:
    book = in_content()
    (
        book
        >> client(b"line one\r\nline t")
        << to_upstream(b"line one\r\nline t")
        >> client(b"wo\r\n.\r\n")
        << to_upstream(b"wo\r\n.\r\n")
    ).done()


def test_the_empty_message() -> None:
    book = in_content()
    (book >> client(b".\r\n") << to_upstream(b".\r\n") >> upstream("250 queued") << to_client("250 queued")).done()
    record = transaction_of(book)
    assert (record.inspected, record.not_inspected_because, record.size_octets) == (True, None, 0)


@pytest.mark.parametrize("reply", ["250 2.0.0 queued", "451 4.3.0 later", "554 5.7.1 spam", "250-one\r\n250 two"])
def test_the_verdict_is_upstreams_own(reply: str) -> None:
    book = in_content()
    book >> client(CONTENT + b".\r\n")
    (book.skip() >> upstream(reply) << to_client(reply)).done()


LOOK_ALIKES = [
    b"a\n.\n",
    b"a\n.\r\n",
    b"a\r\n.\n",
    b"a\r.\r",
    b"a\r.\r\n",
    b"a\r\n.\r",
    b"a\r\n.\rb",
    b"a\r\r\n.\rc",
    b"a\r\n.\0\r\n",
    b"a\r\n. \r\n",
    b"a\r\n..\r\n",
    b"\n.\r\n",
    b"a\r\n.\n.\r",
    b"a\xe0\xa0\x8d\xe0\xa0\x8a.\r\n",
    b"a\x8d\x8a.\x8d\x8a",
]
SMUGGLED = b"MAIL FROM:<smuggled@client.test>\r\nRCPT TO:<victim@mx.test>\r\nDATA\r\nforged\r\n.\r\n"


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("look_alike", LOOK_ALIKES)
@pytest.mark.parametrize("size", [1, 4, 10_000])
def test_what_looks_like_an_end_is_none_for_anybody(look_alike: bytes, normalize: bool, size: int) -> None:  # noqa: FBT001 - one of two settings
    book = in_content(Setting() if normalize else REJECT)
    wire = look_alike + SMUGGLED
    sent = b""
    for start in range(0, len(wire), size):
        book >> client(wire[start : start + size])
        actions = book.pending()
        sent += upstream_octets(actions)
    assert ends_in(sent) <= {len(sent)}
    assert b"\n.\n" not in sent
    assert b"\r.\r" not in sent
    assert not sent.replace(b"\r\n", b"").count(b"\n")
    assert not sent.replace(b"\r\n", b"").count(b"\r")


def ends_in(content: bytes) -> set[int]:
    """Return the offsets behind every end of data in ``content``, as a strict server reads it."""
    ends = {3} if content.startswith(b".\r\n") else set()
    start = 0
    while (found := content.find(b"\r\n.\r\n", start)) >= 0:
        ends.add(found + 5)
        start = found + 1
    return ends


def test_a_bare_lf_becomes_crlf_and_is_recorded() -> None:
    book = in_content()
    (
        book
        >> client(b"one\ntwo\n.three\r\n")
        << to_upstream(b"one\r\ntwo\r\n..three\r\n")
        >> client(b".\r\n")
        << to_upstream(b".\r\n")
        >> upstream("250 queued")
        << to_client("250 queued")
    ).done()
    assert transaction_of(book).normalized


def test_a_bare_lf_is_refused_where_it_is_to_be_rejected() -> None:
    book = in_content(REJECT)
    book >> client(b"one\ntwo\r\n")
    (book << Close(Leg.UPSTREAM, How.ABORT)).done()
    told_at_the_end(book, BARE_LF)
    record = transaction_of(book)
    assert (record.because, record.normalized, record.ambiguous_delivery) == ("bare-lf", False, False)


@pytest.mark.parametrize("setting", [Setting(), REJECT])
def test_a_bare_cr_is_always_refused(setting: Setting) -> None:
    book = in_content(setting)
    book >> client(b"one\rtwo\r\n")
    (book << Close(Leg.UPSTREAM, How.ABORT)).done()
    told_at_the_end(book, BARE_CR)


def test_a_fault_in_the_last_chunk_keeps_the_dot_back() -> None:
    book = in_content()
    book >> client(b"one\r\n")
    book << to_upstream(b"one\r\n")
    book >> client(b"two\rthree\r\n.\r\n")
    (book << Close(Leg.UPSTREAM, How.ABORT) << to_client(BARE_CR) << Close(Leg.CLIENT, How.FLUSH) << End()).done()


def test_the_message_that_has_just_the_size() -> None:
    book = in_content(Setting(general=General(max_message_size=10)))
    (book >> client(b"12345678\r\n.\r\n") << to_upstream(b"12345678\r\n.\r\n")).done()


@pytest.mark.parametrize("cut", [3, 11, 13])
def test_the_message_that_is_too_big(cut: int) -> None:
    book = in_content(Setting(general=General(max_message_size=10)))
    wire = b"123456789\r\n.\r\n"
    book >> client(wire[:cut])
    sent = upstream_octets(book.pending())
    book >> client(wire[cut:])
    actions = book.pending()
    sent += upstream_octets(actions)
    assert b".\r\n" not in sent
    assert actions[-3:] == [to_client(TOO_BIG), Close(Leg.CLIENT, How.FLUSH), End()]
    record = transaction_of(book)
    assert (record.because, record.size_octets, record.inspected) == ("message-too-big", 11, True)


def test_what_follows_a_refused_message_is_not_heard() -> None:
    book = in_content(REJECT)
    book >> client(b"one\ntwo\r\n.\r\n" + SMUGGLED)
    (book << Close(Leg.UPSTREAM, How.ABORT) << to_client(BARE_LF) << Close(Leg.CLIENT, How.FLUSH) << End()).done()


# Upstream speaks early


@pytest.mark.parametrize(
    ("early", "told"),
    [
        ("250 queued already", "451 4.5.0 Protocol error of the server"),
        ("354 go on still", "451 4.5.0 Protocol error of the server"),
        ("452 disk full", "452 disk full"),
        ("552 too much", "552 too much"),
        ("421 going down", "421 going down"),
        ("nonsense", "451 4.5.0 Protocol error of the server"),
    ],
)
def test_upstream_that_speaks_before_the_end_is_heard_at_the_end(early: str, told: str) -> None:
    book = in_content()
    book >> client(b"some content\r\n")
    book.skip() >> upstream(early)
    (book << Close(Leg.UPSTREAM, How.ABORT)).done()
    told_at_the_end(book, told)
    record = transaction_of(book)
    assert record.reply is not None
    assert not record.reply.is_positive
    assert not record.ambiguous_delivery
    assert [each.status for each in record.recipients] != [Status.ACCEPTED]


def test_a_success_that_came_before_the_dot_is_never_the_clients() -> None:
    """Even where the client's end of data is already waiting to be read."""
    book = with_recipient()
    book >> client("DATA")
    book.skip() >> client(b"some content\r\n")
    book.done()
    book >> upstream(b"354 go on\r\n250 queued\r\n")
    book << to_client("354 go on") << to_upstream(b"some content\r\n") << Close(Leg.UPSTREAM, How.ABORT)
    book.done()
    told_at_the_end(book, "451 4.5.0 Protocol error of the server")


@pytest.mark.parametrize("begun", [b"2", b"250-", b"250-queued\r\n", b"250 queued\r"])
def test_a_success_that_was_begun_before_the_dot_keeps_the_dot_back(begun: bytes) -> None:
    book = in_content()
    book >> upstream(begun)
    book.done()
    book >> client(b"some content\r\n.\r\n")
    (
        book
        << Close(Leg.UPSTREAM, How.ABORT)
        << to_client("451 4.5.0 Protocol error of the server")
        << Close(Leg.CLIENT, How.FLUSH)
        << End()
    ).done()
    record = transaction_of(book)
    assert (record.because, record.ambiguous_delivery) == ("reply-before-end-of-data", False)


# Lost


def test_upstream_lost_in_content() -> None:
    book = in_content()
    book >> client(b"some content\r\n")
    book.skip() >> Closed(Leg.UPSTREAM, "reset")
    book.done()
    told_at_the_end(book, "451 4.4.2 Connection to the server lost")
    record = transaction_of(book)
    assert (record.because, record.ambiguous_delivery) == ("upstream-closed-reset", False)


def test_upstream_lost_behind_the_dot() -> None:
    book = in_content()
    book >> client(b"some content\r\n.\r\n")
    book.skip() >> Closed(Leg.UPSTREAM, "reset")
    lost = "421 4.4.2 Connection to the server lost, closing connection"
    (book << to_client(lost) << Close(Leg.CLIENT, How.FLUSH) << End()).done()
    record = transaction_of(book)
    assert record.ambiguous_delivery
    assert record.reply is not None
    assert record.reply.to_wire() == lost.encode() + b"\r\n"
    assert [each.status for each in record.recipients] == [Status.DEFERRED]


def test_client_lost_in_content() -> None:
    book = in_content()
    book >> client(b"some content\r\n")
    book.skip() >> Closed(Leg.CLIENT, "reset")
    (book << Close(Leg.UPSTREAM, How.ABORT) << End()).done()
    record = transaction_of(book)
    assert (record.inspected, record.not_inspected_because) == (False, "content-incomplete")
    assert not record.ambiguous_delivery
    assert [each.status for each in record.recipients] == [Status.ABANDONED]


def test_client_lost_behind_the_dot() -> None:
    book = in_content()
    book >> client(b"some content\r\n.\r\n")
    book.skip() >> Closed(Leg.CLIENT, "reset")
    (book << Close(Leg.UPSTREAM, How.ABORT) << End()).done()
    record = transaction_of(book)
    assert (record.inspected, record.ambiguous_delivery, record.reply) == (True, True, None)


def test_both_lost_after_the_verdict_leave_no_doubt() -> None:
    book = in_content()
    book >> client(b"some content\r\n.\r\n")
    book.skip() >> upstream("250 queued")
    book.skip() >> Closed(Leg.CLIENT, "reset")
    (book << Close(Leg.UPSTREAM, How.FLUSH) << End()).done()
    record = transaction_of(book)
    assert (record.ambiguous_delivery, [each.status for each in record.recipients]) == (False, [Status.ACCEPTED])


# DATA


def test_data_that_is_refused_leaves_the_transaction() -> None:
    book = with_recipient()
    (
        book
        >> client("DATA")
        << to_upstream("DATA")
        >> upstream("451 4.3.0 not now")
        << to_client("451 4.3.0 not now")
        >> client("RSET")
        << to_upstream("RSET")
        >> upstream("250 Ok")
        << to_client("250 Ok")
    ).done()
    record = transaction_of(book)
    assert (record.inspected, record.not_inspected_because) == (False, "no-content")
    assert [each.status for each in record.recipients] == [Status.DEFERRED]


@pytest.mark.parametrize("pipelined", [b"Subject: x\r\n\r\nMAIL FROM:<smuggled@client.test>\r\n.\r\n", b"."])
def test_content_behind_data_that_is_refused_is_never_taken_for_commands(pipelined: bytes) -> None:
    book = with_recipient()
    book >> client(b"DATA\r\n" + pipelined)
    book << to_upstream("DATA")
    book >> upstream("554 5.5.1 no valid recipients")
    (
        book
        << to_client("554 5.5.1 no valid recipients")
        << Close(Leg.CLIENT, How.FLUSH)
        << Close(Leg.UPSTREAM, How.FLUSH)
        << End()
    ).done()
    session = book.records[-1]
    assert isinstance(session, SessionRecord)
    assert session.ended == "octets-behind-refused-data"


def test_content_that_did_not_wait_for_354_is_content() -> None:
    book = with_recipient()
    book >> client(b"DATA\r\nSubject: x\r\n\r\nRSET\r\n.\r\nNOOP\r\n")
    (
        book
        << to_upstream("DATA")
        >> upstream("354 go on")
        << to_client("354 go on")
        << to_upstream(b"Subject: x\r\n\r\nRSET\r\n.\r\n")
        >> upstream("250 queued")
        << to_client("250 queued")
        << to_upstream("NOOP")
    ).done()


def test_data_without_recipients_never_goes_upstream() -> None:
    book = granted(with_recipient(), "RSET")
    granted(book, "MAIL FROM:<a@client.test>")
    (book >> client("DATA") << to_client("503 5.5.1 No valid recipients")).done()


# One after the other


def test_a_second_message() -> None:
    book = in_content()
    granted(book, "first\r\n.", "250 first queued")
    granted(book, "MAIL FROM:<>")
    granted(book, "RCPT TO:<c@mx.test>")
    granted(book, "DATA", "354 go on")
    (
        book
        >> client(b"second\r\n.\r\n")
        << to_upstream(b"second\r\n.\r\n")
        >> upstream("250 second queued")
        << to_client("250 second queued")
    ).done()
    first, second = [record for record in book.records if isinstance(record, TransactionRecord)]
    assert (first.number, first.sender, second.number, second.sender) == (1, b"a@client.test", 2, b"")
    assert [each.address for each in second.recipients] == [b"c@mx.test"]


def test_commands_pipelined_behind_the_dot_wait_for_the_verdict() -> None:
    book = in_content()
    (
        book
        >> client(b"content\r\n.\r\nMAIL FROM:<>\r\nQUIT\r\n")
        << to_upstream(b"content\r\n.\r\n")
        >> upstream("250 queued")
        << to_client("250 queued")
        << to_upstream("MAIL FROM:<>")
        >> upstream("250 Ok")
        << to_client("250 Ok")
        << to_upstream("QUIT")
    ).done()


@pytest.mark.parametrize("command", ["RSET", "EHLO client.test", "HELO client.test"])
def test_a_transaction_that_is_given_up_is_reported(command: str) -> None:
    book = with_recipient()
    granted(book, command, "250 mx.test")
    record = transaction_of(book)
    assert (record.reply, [each.status for each in record.recipients]) == (None, [Status.ABANDONED])
    (book >> client("RCPT TO:<c@mx.test>") << to_client("503 5.5.1 Bad sequence of commands")).done()


def test_rset_that_upstream_refuses_gives_nothing_up() -> None:
    book = granted(with_recipient(), "RSET", "451 not now")
    assert book.records == []
    (book >> client("DATA") << to_upstream("DATA")).done()


def test_mail_in_a_transaction_is_out_of_order() -> None:
    book = with_recipient()
    (
        book
        >> client("MAIL FROM:<other@client.test>")
        << to_client("503 5.5.1 Bad sequence of commands")
        >> client("DATA")
        << to_upstream("DATA")
    ).done()
