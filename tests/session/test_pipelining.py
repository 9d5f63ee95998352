"""Groups of commands: one round trip upstream, every reply in its place."""

from __future__ import annotations

import pytest

from smtpproxy.audit import Status
from smtpproxy.policy.model import General
from smtpproxy.session.actions import Close, End, How, Send
from smtpproxy.session.events import Closed, Drain
from smtpproxy.session.legs import Leg
from smtpproxy.session.states import ClientState
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
)

KEYWORDS = "SIZE 100000,PIPELINING"
GROUP = f"{SENDER}\r\n{RECIPIENT}\r\nDATA\r\n".encode()
NO_RECIPIENTS = "503 5.5.1 No valid recipients"


def pipelining(setting: Setting | None = None) -> Playbook:
    return identified(setting, KEYWORDS)


def rcpts(count: int) -> bytes:
    return b"".join(b"RCPT TO:<r%d@mx.test>\r\n" % number for number in range(count))


def test_a_message_to_a_hundred_costs_upstream_one_round_trip_before_its_content() -> None:
    group = SENDER.encode() + b"\r\n" + rcpts(100) + b"DATA\r\n"
    replies = b"250 sender\r\n" + b"250 recipient\r\n" * 100 + b"354 go on\r\n"
    book = pipelining()
    book >> client(group)
    assert book.pending() == [Send(Leg.UPSTREAM, group)]
    book >> upstream(replies)
    assert book.pending() == [Send(Leg.CLIENT, replies)]
    granted(book, "text\r\n.", "250 queued")
    assert len(transaction_of(book).recipients) == 100


@pytest.mark.parametrize("size", [1, 7, 30])
def test_a_group_that_comes_in_pieces_goes_on_in_pieces(size: int) -> None:
    book = pipelining()
    sent = b""
    for start in range(0, len(GROUP), size):
        book >> client(GROUP[start : start + size])
        sent += b"".join(action.data for action in book.pending() if isinstance(action, Send))
    assert sent == GROUP


def test_an_upstream_without_pipelining_is_served_one_by_one() -> None:
    book = identified(keywords="SIZE 100000")
    (
        book
        >> client(GROUP)
        << to_upstream(SENDER)
        >> upstream("250 sender")
        << to_client("250 sender")
        << to_upstream(RECIPIENT)
        >> upstream("250 recipient")
        << to_client("250 recipient")
        << to_upstream("DATA")
    ).done()


def test_our_own_refusal_stands_in_its_place() -> None:
    book = pipelining(Setting(general=General(max_address_length=64)))
    long = "RCPT TO:<" + "x" * 60 + "@mx.test>"
    book >> client(f"{SENDER}\r\n{RECIPIENT}\r\n{long}\r\nRCPT TO:<c@mx.test>\r\n".encode())
    book << to_upstream(SENDER) << to_upstream(RECIPIENT) << to_upstream("RCPT TO:<c@mx.test>")
    book >> upstream("250 sender")
    (book << to_client("250 sender")).done()
    book >> upstream(b"250 b\r\n250 c\r\n")
    (book << to_client("250 b") << to_client("553 5.1.3 Bad recipient address") << to_client("250 c")).done()


@pytest.mark.parametrize("command", ["NOOP", "RSET", "EHLO again.test", SENDER, "VRFY x", "QUIT", "NONSENSE", "RCPT x"])
def test_what_belongs_to_no_group_waits_for_it(command: str) -> None:
    book = pipelining()
    book >> client(f"{SENDER}\r\n{RECIPIENT}\r\n{command}\r\nRCPT TO:<c@mx.test>\r\n".encode())
    (book << to_upstream(SENDER) << to_upstream(RECIPIENT)).done()
    book >> upstream("250 sender")
    (book << to_client("250 sender")).done()
    book >> upstream("250 b")
    book << to_client("250 b")
    assert book.pending()


def test_a_refused_sender_takes_its_group_along() -> None:
    book = pipelining()
    book >> client(GROUP)
    book.skip() >> upstream(b"550 not you\r\n503 no sender\r\n503 no recipient\r\n")
    (book << to_client("550 not you") << to_client("503 no sender") << to_client("503 no recipient")).done()
    record = transaction_of(book)
    assert [(each.address, each.status) for each in record.recipients] == [(b"b@mx.test", Status.REFUSED)]
    assert book.session._client.state is ClientState.IDENTIFIED
    (book >> client(SENDER) << to_upstream(SENDER)).done()


def test_data_that_was_sent_along_for_nobody() -> None:
    book = pipelining()
    book >> client(GROUP)
    book.skip() >> upstream(b"250 Ok\r\n550 no such user\r\n554 no valid recipients\r\n")
    (book << to_client("250 Ok") << to_client("550 no such user") << to_client("554 no valid recipients")).done()
    (book >> client("RSET") << to_upstream("RSET")).done()


def test_upstreams_354_for_nobody_is_not_the_clients() -> None:
    """Upstream gets an empty message for nobody, and whatever it says of it stays here (RFC 2920 s3.1)."""
    book = pipelining()
    book >> client(GROUP)
    book.skip() >> upstream(b"250 Ok\r\n550 no such user\r\n354 go on\r\n")
    book << to_client("250 Ok") << to_client("550 no such user") << to_upstream(b".\r\n") << to_client(NO_RECIPIENTS)
    book >> client(SENDER)
    book.done()
    book >> upstream("554 nobody wanted it")
    (book << to_upstream(SENDER)).done()
    assert transaction_of(book).recipients[0].status is Status.REFUSED


def test_content_that_did_not_wait_is_an_attack_where_upstreams_354_is_for_nobody() -> None:
    book = pipelining()
    book >> client(GROUP + b"MAIL FROM:<forged@x.test>\r\n.\r\n")
    book.skip() >> upstream(b"250 Ok\r\n550 no such user\r\n354 go on\r\n")
    sent = [action for action in book.pending() if isinstance(action, Send) and action.leg is Leg.UPSTREAM]
    assert sent == [to_upstream(b".\r\n")]
    assert book.session._client.state is ClientState.CLOSED


def test_content_behind_a_pipelined_data_is_content() -> None:
    book = pipelining()
    book >> client(GROUP + b"RSET\r\n.\r\nNOOP\r\n")
    book << to_upstream(GROUP)
    book.done()
    book >> upstream(b"250 Ok\r\n250 Ok\r\n354 go on\r\n")
    book << to_client(b"250 Ok\r\n250 Ok\r\n354 go on\r\n") << to_upstream(b"RSET\r\n.\r\n")
    book.done()
    book >> upstream("250 queued")
    (book << to_client("250 queued") << to_upstream("NOOP")).done()


def test_the_limit_of_recipients_waits_for_those_that_may_be_refused() -> None:
    book = pipelining(Setting(general=General(max_recipients=2)))
    book >> client(SENDER.encode() + b"\r\n" + rcpts(3) + b"DATA\r\n")
    book << to_upstream(SENDER.encode() + b"\r\n" + rcpts(2))
    book.done()
    book >> upstream(b"250 Ok\r\n250 r0\r\n550 r1\r\n")
    book << to_client(b"250 Ok\r\n250 r0\r\n550 r1\r\n") << to_upstream("RCPT TO:<r2@mx.test>") << to_upstream("DATA")
    book.done()


def test_a_recipient_beyond_the_limit_is_refused_in_its_place() -> None:
    book = pipelining(Setting(general=General(max_recipients=2)))
    book >> client(SENDER.encode() + b"\r\n" + rcpts(3) + b"DATA\r\n")
    book.skip() >> upstream(b"250 Ok\r\n250 r0\r\n250 r1\r\n")
    book << to_client(b"250 Ok\r\n250 r0\r\n250 r1\r\n") << to_client("452 4.5.3 Too many recipients")
    (book << to_upstream("DATA")).done()


def test_nothing_of_ours_follows_a_farewell() -> None:
    book = pipelining(Setting(general=General(max_address_length=64)))
    long = "RCPT TO:<" + "x" * 60 + "@mx.test>"
    book >> client(f"{SENDER}\r\n{RECIPIENT}\r\n{long}\r\n".encode())
    book.skip() >> upstream(b"250 Ok\r\n421 going down\r\n")
    (book << to_client("250 Ok") << to_client("421 going down") << Close(Leg.CLIENT, How.FLUSH)).skip()


def test_a_farewell_within_a_group_ends_the_session() -> None:
    book = pipelining()
    book >> client(GROUP)
    book.skip() >> upstream(b"250 Ok\r\n421 going down\r\n")
    book << to_client("250 Ok") << to_client("421 going down") << Close(Leg.CLIENT, How.FLUSH)
    (book << Close(Leg.UPSTREAM, How.FLUSH) << End()).done()


def test_upstream_lost_within_a_group() -> None:
    book = pipelining()
    book >> client(GROUP)
    book.skip() >> upstream("250 Ok")
    book.skip() >> Closed(Leg.UPSTREAM, "reset")
    (book << to_client("421 4.4.2 Connection to the server lost, closing connection")).skip()
    record = transaction_of(book)
    assert [each.status for each in record.recipients] == [Status.ABANDONED]


def test_a_recipient_granted_behind_a_refused_sender_is_a_break_of_the_protocol() -> None:
    book = pipelining()
    book >> client(GROUP)
    book.skip() >> upstream(b"550 not you\r\n250 but you\r\n")
    book << to_client("550 not you") << Close(Leg.UPSTREAM, How.ABORT)
    (book << to_client("421 4.5.0 Protocol error of the server, closing connection")).skip()


def test_a_second_message_of_the_session_is_a_group_too() -> None:
    book = pipelining()
    for _ in range(2):
        book >> client(GROUP)
        (book << to_upstream(GROUP) >> upstream(b"250 Ok\r\n250 Ok\r\n354 go\r\n")).skip()
        granted(book, "text\r\n.", "250 queued")
    assert len(book.records) == 2


@pytest.mark.parametrize(
    ("content", "reply", "farewell"),
    [
        (b"content\r\n.\r\n", "550 no", "550 no"),
        (b"a\rb\r\n.\r\n", "354 go on", "550 5.5.2 Message contains a carriage return without line feed"),
    ],
)
def test_content_that_came_too_early_in_a_session_that_is_to_end(content: bytes, reply: str, farewell: str) -> None:
    book = with_recipient()
    book >> client(b"DATA\r\n" + content)
    (book.skip() >> Drain()).done()
    book >> upstream(reply)
    actions = book.pending()
    sent = b"".join(each.data for each in actions if isinstance(each, Send) and each.leg is Leg.CLIENT)
    assert sent.endswith(farewell.encode() + b"\r\n")
    assert actions[-1] == End()
