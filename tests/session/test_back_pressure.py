"""Nothing grows: what one side does not take, the other is not asked for."""

from __future__ import annotations

from smtpproxy.audit import SessionRecord
from smtpproxy.endpoint import Endpoint
from smtpproxy.session.actions import Action, Close, Connect, End, How, PauseReading, ResumeReading, Send
from smtpproxy.session.dialogue import QUEUE_OCTETS
from smtpproxy.session.events import Closed, TlsFailed, WriteBlocked, WriteUnblocked
from smtpproxy.session.legs import Leg
from smtpproxy.tls.facts import TlsFailure, TlsReason
from tests.session.playbook import (
    Playbook,
    client,
    greeted,
    identified,
    in_content,
    to_client,
    to_upstream,
    upstream,
    with_recipient,
)

NOOPS = b"NOOP\r\n" * (QUEUE_OCTETS // 6 + 1)


def test_a_full_queue_stops_reading_until_it_has_been_worked_off() -> None:
    book = identified()
    book >> client("RSET")
    book.skip() >> client(NOOPS)
    (book << PauseReading(Leg.CLIENT)).done()
    book >> upstream("250 Ok")
    (book << to_client("250 Ok") << to_upstream("NOOP") << ResumeReading(Leg.CLIENT)).done()


def test_content_that_did_not_wait_for_354_is_read_on_when_it_comes() -> None:
    book = with_recipient()
    book >> client("DATA")
    book.skip() >> client(b"a line of content\r\n" * 4000)
    (book << PauseReading(Leg.CLIENT)).done()
    book >> upstream("354 go on")
    content = book.pending()
    assert content[0] == to_client("354 go on")
    assert ResumeReading(Leg.CLIENT) in content
    book >> client(b".\r\n")
    (book << to_upstream(b".\r\n")).done()


def test_what_comes_behind_the_dot_is_bounded_too() -> None:
    book = in_content()
    book >> client(b".\r\n")
    book.skip() >> client(NOOPS)
    (book << PauseReading(Leg.CLIENT)).done()
    book >> upstream("250 queued")
    (book << to_client("250 queued") << to_upstream("NOOP")).skip()


def test_a_queue_that_ends_the_session_is_not_read_on() -> None:
    book = identified()
    book >> client("RSET")
    book.skip() >> client(b"NOOP \n" + NOOPS)
    book << PauseReading(Leg.CLIENT)
    book >> upstream("250 Ok")
    assert book.pending()[-1] == End()


def test_upstream_that_takes_no_content_stops_the_client() -> None:
    book = in_content()
    book >> client(b"some content\r\n")
    book << to_upstream(b"some content\r\n")
    book >> WriteBlocked(Leg.UPSTREAM)
    book << PauseReading(Leg.CLIENT)
    book >> WriteUnblocked(Leg.UPSTREAM)
    (book << ResumeReading(Leg.CLIENT)).done()


def test_upstream_that_is_gone_blocks_nobody() -> None:
    book = in_content()
    book >> WriteBlocked(Leg.UPSTREAM)
    book << PauseReading(Leg.CLIENT)
    book >> Closed(Leg.UPSTREAM, "reset")
    (book << ResumeReading(Leg.CLIENT)).done()


def test_upstream_that_refuses_content_while_it_blocks_frees_the_client_to_end_it() -> None:
    book = in_content()
    book >> WriteBlocked(Leg.UPSTREAM)
    book << PauseReading(Leg.CLIENT)
    book >> upstream("552 too much")
    (book << Close(Leg.UPSTREAM, How.ABORT) << ResumeReading(Leg.CLIENT)).done()


def test_upstream_that_is_met_again_blocks_nobody() -> None:
    book = greeted()
    book >> client("EHLO client.test")
    book.skip() >> upstream(b"250-mx.test\r\n250 STARTTLS\r\n")
    book.skip() >> upstream("220 go on")
    book.skip() >> WriteBlocked(Leg.UPSTREAM)
    book << PauseReading(Leg.CLIENT)
    book >> TlsFailed(Leg.UPSTREAM, TlsFailure(TlsReason.PEER_ALERT))
    (book << Connect(Endpoint("mx.test", 25)) << ResumeReading(Leg.CLIENT)).done()


def test_a_client_lost_while_upstream_blocks_is_not_read_on() -> None:
    book = in_content()
    book >> WriteBlocked(Leg.UPSTREAM)
    book << PauseReading(Leg.CLIENT)
    book >> Closed(Leg.CLIENT, "reset")
    (book << Close(Leg.UPSTREAM, How.ABORT) << End()).done()


def test_a_client_that_leaves_its_replies_unread_gets_no_more() -> None:
    book = identified()
    book >> WriteBlocked(Leg.CLIENT)
    book << PauseReading(Leg.CLIENT) << PauseReading(Leg.UPSTREAM)
    book >> client(b"FOO\r\n" * 15)  # was read before
    book.done()
    book >> WriteUnblocked(Leg.CLIENT)
    replies = book.pending()
    assert replies[:2] == [ResumeReading(Leg.CLIENT), ResumeReading(Leg.UPSTREAM)]
    assert sum(action.data.count(b"\r\n") for action in replies if isinstance(action, Send)) == 15


def test_two_reasons_not_to_read_have_both_to_go() -> None:
    book = in_content()
    book >> WriteBlocked(Leg.UPSTREAM)
    book << PauseReading(Leg.CLIENT)
    book >> WriteBlocked(Leg.CLIENT)
    book << PauseReading(Leg.UPSTREAM)
    book >> WriteUnblocked(Leg.UPSTREAM)
    book.done()
    book >> WriteUnblocked(Leg.CLIENT)
    (book << ResumeReading(Leg.CLIENT) << ResumeReading(Leg.UPSTREAM)).done()


def test_ten_thousand_noops_in_one_go_are_answered_one_by_one_until_it_is_enough() -> None:
    book = identified()
    book >> client(b"NOOP\r\n" * 10_000)
    actions = _answer_all(book)
    to_the_client = _lines_to_the_client(actions)
    assert to_the_client[:-1] == [b"250 Ok\r\n"] * (len(to_the_client) - 1)
    assert to_the_client[-1].startswith(b"421 4.7.0 ")
    assert actions[-1] == End()
    assert len(to_the_client) <= 101
    assert _session_record(book).ended == "too-many-junk-commands"


def test_ten_thousand_unknown_commands_end_the_session_after_a_few() -> None:
    book = identified()
    book >> client(b"NONSENSE\r\n" * 10_000)
    replies = [line[:9] for line in _lines_to_the_client(book.pending())]
    assert replies == [b"500 5.5.1"] * 20 + [b"421 4.7.0"]
    assert _session_record(book).faults == (("unknown-command", 21),)


def _lines_to_the_client(actions: list[Action]) -> list[bytes]:
    sent = [action.data for action in actions if isinstance(action, Send) and action.leg is Leg.CLIENT]
    return b"".join(sent).splitlines(keepends=True)


def _answer_all(book: Playbook) -> list[Action]:
    """Answer each command that comes upstream, until none comes."""
    actions = book.pending()
    seen = list(actions)
    while any(isinstance(action, Send) and action.leg is Leg.UPSTREAM for action in actions):
        book >> upstream("250 Ok")
        actions = book.pending()
        seen += actions
    return seen


def _session_record(book: Playbook) -> SessionRecord:
    record = book.records[-1]
    assert isinstance(record, SessionRecord)
    return record
