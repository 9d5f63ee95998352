"""What hostile peers found; each stays found."""

from __future__ import annotations

import pytest

from smtpproxy.audit import Incident, SessionRecord, TransactionRecord
from smtpproxy.policy.entries import Entries
from smtpproxy.policy.model import CertificateValidation
from smtpproxy.policy.rules import Audience, EncryptionRule, RecipientEncryption, SenderEncryption
from smtpproxy.session.actions import Close, End, How, Send
from smtpproxy.session.events import (
    ClientConnected,
    ClientFinished,
    Drain,
    Expire,
    TlsFailed,
    UpstreamConnected,
    WriteBlocked,
    WriteUnblocked,
)
from smtpproxy.session.legs import Leg
from smtpproxy.tls.facts import TlsFailure, TlsReason
from tests.session.playbook import Playbook, Setting, client, greeted, identified, to_client, to_upstream, upstream

FORGED = b"RSET\r\nMAIL FROM:<evil@client.test>\r\nRCPT TO:<victim@mx.test>\r\nDATA\r\nforged\r\n.\r\n"
ENDED = (Close(Leg.CLIENT, How.FLUSH), Close(Leg.UPSTREAM, How.FLUSH), End())


def ends(book: Playbook) -> None:
    for action in ENDED:
        book << action
    book.done()


def sent_upstream(book: Playbook) -> bytes:
    return b"".join(each.data for each in book.pending() if isinstance(each, Send) and each.leg is Leg.UPSTREAM)


@pytest.mark.parametrize("refused_recipient", [True, False])
def test_a_body_behind_data_that_is_refused_here_is_not_heard(refused_recipient: bool) -> None:  # noqa: FBT001
    book = identified()
    book >> client("MAIL FROM:<a@client.test>")
    book.skip() >> upstream("250 Ok")
    book.skip()
    if refused_recipient:
        book >> client("RCPT TO:<b@mx.test>")
        book.skip() >> upstream("550 no")
        book.skip()
    book >> client(b"DATA\r\n" + FORGED)
    book << to_client("503 5.5.1 No valid recipients")
    ends(book)
    assert any(isinstance(each, Incident) for each in book.records)


def test_data_alone_that_is_refused_ends_nothing() -> None:
    book = identified()
    (book >> client("DATA") << to_client("503 5.5.1 Bad sequence of commands") >> client("NOOP")) << to_upstream("NOOP")


def test_a_client_that_sends_no_more_behind_its_dot_still_gets_its_250() -> None:
    book = identified()
    for line, reply in (("MAIL FROM:<a@c.test>", "250 Ok"), ("RCPT TO:<b@mx.test>", "250 Ok"), ("DATA", "354 go")):
        book >> client(line)
        book.skip() >> upstream(reply)
        book.skip()
    book >> client(b"body\r\n.\r\nQUIT\r\n")
    (book << to_upstream(b"body\r\n.\r\n") >> ClientFinished("clean")).done()
    (book >> upstream("250 queued") << to_client("250 queued") << to_upstream("QUIT")).done()
    book >> upstream("221 bye")
    book << to_client("221 bye")
    ends(book)
    (transaction,) = [each for each in book.records if isinstance(each, TransactionRecord)]
    assert not transaction.ambiguous_delivery


def test_a_client_that_sends_no_more_hears_its_pipelined_commands_out() -> None:
    book = greeted()
    book >> client(b"NOOP\r\nNOOP\r\nunfinished")
    (book << to_upstream("NOOP") >> ClientFinished("truncated")).done()
    (book >> upstream("250 one") << to_client("250 one") << to_upstream("NOOP")).done()
    book >> upstream("250 two")
    book << to_client("250 two")
    ends(book)
    (session,) = [each for each in book.records if isinstance(each, SessionRecord)]
    assert session.ended == "client-truncated"


def test_content_that_a_client_breaks_off_is_never_finished() -> None:
    book = identified()
    for line, reply in (("MAIL FROM:<a@c.test>", "250 Ok"), ("RCPT TO:<b@mx.test>", "250 Ok"), ("DATA", "354 go")):
        book >> client(line)
        book.skip() >> upstream(reply)
        book.skip()
    book >> client(b"half a body\r\n.")
    book.skip() >> ClientFinished("clean")
    (book << Close(Leg.CLIENT, How.FLUSH) << Close(Leg.UPSTREAM, How.ABORT) << End()).done()


def test_a_client_that_sends_no_more_and_reads_nothing_is_waited_for() -> None:
    book = greeted()
    book >> WriteBlocked(Leg.CLIENT)
    book.skip() >> ClientFinished("clean")
    book.done() >> WriteUnblocked(Leg.CLIENT)
    assert book.pending()[-1] == End()


_BANK = EncryptionRule(
    "bank",
    recipient=RecipientEncryption.REQUIRED,
    audience=Audience(to=Entries.of(["partner.test"]), from_=Entries.of(["a.test"])),
)


@pytest.mark.parametrize(
    "setting",
    [
        Setting(recipient=RecipientEncryption.REQUIRED),
        Setting(sender=SenderEncryption.REQUIRED),
        Setting(rules=(_BANK, EncryptionRule("default"))),
    ],
)
@pytest.mark.parametrize("line", ["VRFY secret@partner.test", "HELP secret@partner.test"])
def test_no_name_goes_where_mail_may_not(setting: Setting, line: str) -> None:
    book = identified(setting)
    book >> client(line)
    assert sent_upstream(book) == b""
    book >> client("NOOP secret@partner.test")
    (book << to_upstream("NOOP")).done()


@pytest.mark.parametrize("validation", list(CertificateValidation))
def test_octets_in_clear_behind_upstreams_220_are_an_attack_in_the_next_segment_too(
    validation: CertificateValidation,
) -> None:
    book = greeted(Setting(validation=validation))
    book >> client("EHLO client.test")
    book.skip() >> upstream(b"250-mx.test\r\n250 STARTTLS\r\n")
    book.skip() >> upstream("220 go ahead")
    book.skip() >> TlsFailed(Leg.UPSTREAM, TlsFailure(TlsReason.NOT_TLS, "wrong version number"))
    told, *rest = book.pending()
    assert told == to_client("421 4.7.0 Secure connection to the server failed, closing connection")
    assert rest[-1] == End()
    assert [each.token for each in book.records if isinstance(each, Incident)] == ["octets-behind-upstream-starttls"]


def test_only_220_is_a_greeting() -> None:
    book = Playbook()
    book >> ClientConnected()
    book.skip() >> UpstreamConnected()
    book.skip() >> upstream("221 bye")
    assert book.pending()[-1] == End()
    assert [each.token for each in book.records if isinstance(each, Incident)] == ["unexpected-reply-code"]


@pytest.mark.parametrize("octets", [b"\x16\x03\x01\x02\x00\x01", b"\x03\x00\x00\x13\x0e", b"\0", b" "])
def test_octets_that_begin_no_command_end_the_session_without_the_end_of_a_line(octets: bytes) -> None:
    book = identified()
    book >> client(octets)
    book << to_client("554 5.5.1 This is an SMTP service")
    ends(book)


def in_flight() -> Playbook:
    book = identified()
    for line, reply in (("MAIL FROM:<a@c.test>", "250 Ok"), ("RCPT TO:<b@mx.test>", "250 Ok"), ("DATA", "354 go")):
        book >> client(line)
        book.skip() >> upstream(reply)
        book.skip()
    return book


def test_a_drain_deadline_in_content_ends_it_without_the_dot() -> None:
    book = in_flight() >> client(b"half\r\n")
    book.skip() >> Drain()
    book.done() >> Expire()
    (book << Close(Leg.CLIENT, How.FLUSH) << Close(Leg.UPSTREAM, How.ABORT) << End()).done()


def test_a_drain_deadline_behind_the_dot_is_an_ambiguous_delivery() -> None:
    book = in_flight() >> client(b"whole\r\n.\r\n")
    book.skip() >> Expire()
    book << to_client("421 4.3.2 Service shutting down, closing connection")
    (book << Close(Leg.CLIENT, How.FLUSH) << Close(Leg.UPSTREAM, How.ABORT) << End()).done()
    (transaction,) = [each for each in book.records if isinstance(each, TransactionRecord)]
    assert transaction.ambiguous_delivery
