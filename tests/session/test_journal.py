"""Records: every transaction once, every session once, each field from what happened."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from smtpproxy.audit import Judgement, RecipientResult, SessionRecord, Status, TlsRecord, TransactionRecord
from smtpproxy.policy.model import General
from smtpproxy.policy.rules import RecipientEncryption, SenderEncryption
from smtpproxy.session.actions import Audit, End
from smtpproxy.session.events import (
    ClientConnected,
    ClientHelloSeen,
    Closed,
    Drain,
    Event,
    TimedOut,
    TlsFailed,
    Upgraded,
    UpstreamConnected,
    UpstreamFailed,
    WriteBlocked,
)
from smtpproxy.session.legs import Leg
from smtpproxy.session.session import Session
from smtpproxy.session.terms import Circumstances
from smtpproxy.session.timers import Timer
from smtpproxy.smtp import catalogue
from smtpproxy.smtp.replies import Reply
from smtpproxy.tls.facts import TlsFailure, TlsReason
from tests.session.playbook import (
    CONNECTED,
    ORIGIN,
    RECIPIENT,
    SENDER,
    Playbook,
    Setting,
    client,
    client_hello,
    granted,
    greeted,
    identified,
    in_content,
    session_of,
    tls_facts,
    transaction_of,
    upstream,
    with_recipient,
    with_sender,
)
from tests.session.stages import dialling, implicit, refused_certificate, sent_dot

SMALL = General(max_message_size=5)

BY_DEFAULT = Judgement("default")


def reply(text: str) -> Reply:
    return Reply(int(text[:3]), (text[4:].encode(),))


def secured() -> Playbook:
    """Both legs on TLS, identified."""
    book = greeted()
    book >> client("EHLO clear.test")
    book.skip() >> upstream(b"250-mx.test\r\n250 STARTTLS\r\n")
    book.skip() >> upstream("220 go on")
    book.skip() >> Upgraded(Leg.UPSTREAM, tls_facts("mx.test"))
    book.skip() >> upstream(b"250-mx.test\r\n250-X-OWN\r\n250-DSN\r\n250 CHUNKING\r\n")
    book.skip() >> client("STARTTLS")
    book.skip() >> ClientHelloSeen(client_hello("mx.test"))
    book.skip() >> Upgraded(Leg.CLIENT, tls_facts())
    book.skip() >> client("EHLO secret.test")
    book.skip() >> upstream(b"250-mx.test\r\n250-X-OWN\r\n250-DSN\r\n250 CHUNKING\r\n")
    return book.skip()


def test_every_field_of_a_success() -> None:
    book = secured()
    granted(book, SENDER)
    granted(book, RECIPIENT, "250 first")
    granted(book, "RCPT TO:<c@mx.test>", "550 5.1.1 unknown")
    granted(book, "DATA", "354 go on")
    granted(book, "one\ntwo\r\n.", "250 2.0.0 queued as 1")
    granted(book, "QUIT", "221 bye")
    assert transaction_of(book) == TransactionRecord(
        origin=ORIGIN,
        number=1,
        helo=b"secret.test",
        sender=b"a@client.test",
        recipients=(
            RecipientResult(b"b@mx.test", Status.ACCEPTED, reply("250 2.0.0 queued as 1"), judgement=BY_DEFAULT),
            RecipientResult(b"c@mx.test", Status.REFUSED, reply("550 5.1.1 unknown"), judgement=BY_DEFAULT),
        ),
        rules=("default",),
        message_rules=(),
        client_tls=tls_facts(),
        upstream_tls=tls_facts("mx.test"),
        upstream_tls_failure=None,
        downgraded=False,
        size_octets=9,
        reply=reply("250 2.0.0 queued as 1"),
        because=None,
        inspected=True,
        not_inspected_because=None,
        normalized=True,
        ambiguous_delivery=False,
        duration_s=0.0,
    )
    assert session_of(book) == SessionRecord(
        origin=ORIGIN,
        ended="quit",
        helo=b"secret.test",
        client_tls=tls_facts(),
        upstream_tls=tls_facts("mx.test"),
        upstream_tls_failure=None,
        downgraded=False,
        removed=("X-OWN",),
        transactions=1,
        faults=(),
        client_octets_in=session_of(book).client_octets_in,
        client_octets_out=session_of(book).client_octets_out,
        upstream_octets_in=session_of(book).upstream_octets_in,
        upstream_octets_out=session_of(book).upstream_octets_out,
        duration_s=0.0,
    )
    assert [(each.leg, each.outcome) for each in book.records if isinstance(each, TlsRecord)] == [
        ("upstream", tls_facts("mx.test")),
        ("client", tls_facts()),
    ]


def test_octets_are_counted_on_each_leg_in_each_direction() -> None:
    book = identified(keywords="")
    granted(book, "NOOP")
    granted(book, "QUIT", "221 bye")
    record = session_of(book)
    ehlo, offered = "EHLO client.test", "250-mx.test\r\n250-PIPELINING\r\n250-SIZE 50000000\r\n250 LIMITS RCPTMAX=1000"
    assert record.client_octets_in == octets(ehlo, "NOOP", "QUIT")
    assert record.upstream_octets_out == octets(ehlo, "NOOP", "QUIT")
    assert record.upstream_octets_in == octets("220 mx.test ESMTP", "250 mx.test", "250 Ok", "221 bye")
    assert record.client_octets_out == octets("220 mx.test ESMTP", offered, "250 Ok", "221 bye")


def octets(*lines: str) -> int:
    return sum(len(line) + 2 for line in lines)


def test_durations_are_those_of_the_clock() -> None:
    time_s = [100.0]
    session = Session(Setting().terms(), Circumstances(ORIGIN, lambda: time_s[0], lambda: time_s[0], CONNECTED))
    records = []
    for event, seconds in (
        (ClientConnected(), 1.0),
        (UpstreamConnected(), 1.0),
        (upstream("220 mx.test"), 1.0),
        (client("EHLO client.test"), 1.0),
        (upstream("250 mx.test"), 1.0),
        (client(SENDER), 1.0),
        (upstream("250 Ok"), 5.0),
        (client(RECIPIENT), 5.0),
        (Closed(Leg.CLIENT, "clean"), 0.0),
    ):
        records += [action.record for action in session.receive(event) if isinstance(action, Audit)]
        time_s[0] += seconds
    transaction, last = records
    assert isinstance(transaction, TransactionRecord)
    assert isinstance(last, SessionRecord)
    assert (transaction.duration_s, last.duration_s) == (11.0, 16.0)


def test_a_refusal_of_mail_by_us() -> None:
    book = identified(Setting(recipient=RecipientEncryption.REQUIRED))
    book >> client("MAIL FROM:<a@client.test> SIZE=7")
    book.skip()
    record = transaction_of(book)
    assert (record.sender, record.recipients, record.number) == (b"a@client.test", (), 1)
    assert (record.reply, record.because) == (catalogue.TLS_NOT_OFFERED_REJECT, "upstream-tls-not-offered")
    assert (record.inspected, record.not_inspected_because) == (False, "no-content")


@pytest.mark.parametrize(
    ("setting", "because"),
    [
        (Setting(sender=SenderEncryption.REQUIRED), "sender-encryption-required"),
        (Setting(recipient=RecipientEncryption.REQUIRED), "upstream-tls-not-offered"),
    ],
)
def test_what_this_proxy_refused_is_told_in_the_record_and_not_to_the_client(setting: Setting, because: str) -> None:
    book = identified(setting)
    book >> client(SENDER)
    assert because.encode() not in b"".join(getattr(action, "data", b"") for action in book.pending())
    assert transaction_of(book).because == because


def test_a_refusal_of_mail_by_upstream() -> None:
    book = granted(identified(), SENDER, "550 5.7.1 not you")
    record = transaction_of(book)
    assert (record.reply, record.because, record.recipients) == (reply("550 5.7.1 not you"), None, ())


def test_recipients_each_have_their_own_result() -> None:
    book = with_sender()
    granted(book, "RCPT TO:<taken@mx.test>", "250 Ok")
    granted(book, "RCPT TO:<later@mx.test>", "451 later")
    granted(book, "RCPT TO:<never@mx.test>", "550 never")
    book >> client("RCPT TO:<never@mx.test> NOTIFY=NEVER")  # not on offer
    book.skip()
    granted(book, "DATA", "354 go on")
    granted(book, ".", "554 5.7.1 spam")
    refused = reply("554 5.7.1 spam")
    assert transaction_of(book).recipients == (
        RecipientResult(b"taken@mx.test", Status.REFUSED, refused, judgement=BY_DEFAULT),
        RecipientResult(b"later@mx.test", Status.DEFERRED, reply("451 later"), judgement=BY_DEFAULT),
        RecipientResult(b"never@mx.test", Status.REFUSED, reply("550 never"), judgement=BY_DEFAULT),
        RecipientResult(b"never@mx.test", Status.REFUSED, catalogue.BAD_PARAMETER, "parameter-not-offered"),
    )


def test_an_abandoned_transaction() -> None:
    book = with_recipient()
    book >> Closed(Leg.CLIENT, "reset")
    book.skip()
    record = transaction_of(book)
    assert record.recipients == (RecipientResult(b"b@mx.test", Status.ABANDONED, None, judgement=BY_DEFAULT),)
    assert (record.reply, record.because, record.size_octets) == (None, None, 0)
    assert (record.inspected, record.not_inspected_because) == (False, "no-content")


def test_transactions_are_numbered_and_counted() -> None:
    book = identified()
    granted(book, SENDER, "550 no")
    granted(book, SENDER)
    granted(book, "RSET")
    granted(book, SENDER)
    book >> Closed(Leg.CLIENT, "clean")
    book.skip()
    numbers = [record.number for record in book.records if isinstance(record, TransactionRecord)]
    assert (numbers, session_of(book).transactions) == ([1, 2, 3], 3)


def test_what_was_said_in_clear_is_not_in_the_record_of_what_was_said_inside_tls() -> None:
    book = identified(Setting(recipient=RecipientEncryption.NONE))
    book >> client("STARTTLS")
    book.skip() >> ClientHelloSeen(client_hello())
    book.skip() >> Upgraded(Leg.CLIENT, tls_facts())
    book.skip() >> Closed(Leg.CLIENT, "clean")
    book.skip()
    assert session_of(book).helo == b""


def test_faults_are_counted_in_the_order_of_their_first_occurrence() -> None:
    book = identified()
    book >> client(b"NONSENSE\r\nRCPT TO:<b@mx.test>\r\nMAIL nonsense\r\nNONSENSE\r\n")
    book.skip() >> Closed(Leg.CLIENT, "clean")
    book.skip()
    assert session_of(book).faults == (("unknown-command", 2), ("out-of-order", 1), ("argument-syntax", 1))


def test_a_record_bears_no_content_and_no_command_argument_but_the_envelope() -> None:
    book = in_content()
    book >> client(b"Subject: secret\r\n\r\nsecret\r\n.\r\n")
    book.skip() >> upstream("250 queued")
    book.skip() >> client(b"NOOP secret\r\nVRFY secret\r\nAUTH PLAIN secret\r\nXSECRET\r\n")
    for _ in range(2):
        book.skip() >> upstream("250 Ok")
    book.skip() >> Closed(Leg.CLIENT, "clean")
    book.skip()
    assert len(book.records) == 2
    assert "secret" not in repr(book.records).lower()


# One record a session, one End


ENDS: list[tuple[str, Callable[[], Playbook], list[Event]]] = [
    ("client-clean", identified, [Closed(Leg.CLIENT, "clean")]),
    ("client-reset", dialling, [Closed(Leg.CLIENT, "reset")]),
    ("upstream-closed-clean", identified, [Closed(Leg.UPSTREAM, "clean")]),
    ("upstream-connection-refused", dialling, [UpstreamFailed("connection-refused")]),
    ("upstream-timed-out", dialling, [TimedOut(Timer.UPSTREAM)]),
    ("upstream-refused-session", dialling, [UpstreamConnected(), upstream("554 no")]),
    ("upstream-closing", greeted, [upstream("421 bye")]),
    ("upstream-closing", identified, [client("NOOP"), upstream("421 bye")]),
    ("upstream-closing", sent_dot, [upstream("421 bye")]),
    ("unsolicited-reply", identified, [upstream("250 what")]),
    ("unexpected-reply-code", identified, [client("NOOP"), upstream("354 what")]),
    ("reply-syntax", identified, [client("NOOP"), upstream("nonsense")]),
    ("octets-behind-upstream-starttls", greeted, [
        client("EHLO client.test"),
        upstream(b"250-mx.test\r\n250 STARTTLS\r\n"),
        upstream("220 go on\r\n250"),
    ]),
    ("quit", identified, [client("QUIT"), upstream("221 bye")]),
    ("quit", refused_certificate, [client("QUIT")]),
    ("early-talk", dialling, [client("EHLO client.test")]),
    ("other-protocol", greeted, [client("GET / HTTP/1.1")]),
    ("bare-lf", greeted, [client(b"NOOP\n")]),
    ("line-without-end", greeted, [client(b"x" * 70_000)]),
    ("bdat-not-offered", identified, [client("BDAT 0 LAST")]),
    ("too-many-errors", identified, [client(b"X\r\n" * 21)]),
    ("too-many-junk-commands", refused_certificate, [client(b"NOOP\r\n" * 101)]),
    ("octets-behind-refused-data", with_recipient, [client(b"DATA\r\nx"), upstream("451 no")]),
    ("message-too-big", lambda: in_content(Setting(general=SMALL)), [client(b"12345\r\n.\r\n")]),
    ("bare-cr", in_content, [client(b"\r1\r\n.\r\n")]),
    ("upstream-refused-early", in_content, [upstream("550 no"), client(b".\r\n")]),
    ("reply-before-end-of-data", in_content, [upstream("250 no"), client(b".\r\n")]),
    ("client-idle", identified, [TimedOut(Timer.CLIENT)]),
    ("client-too-slow", in_content, [TimedOut(Timer.CLIENT)]),
    ("client-handshake-timed-out", implicit, [TimedOut(Timer.CLIENT)]),
    ("client-tls-not-tls", implicit, [TlsFailed(Leg.CLIENT, TlsFailure(TlsReason.NOT_TLS))]),
    ("client-does-not-read", identified, [WriteBlocked(Leg.CLIENT), TimedOut(Timer.CLIENT_WRITE)]),
    ("upstream-does-not-read", in_content, [
        WriteBlocked(Leg.UPSTREAM),
        TimedOut(Timer.UPSTREAM_WRITE),
        client(b".\r\n"),
    ]),
    ("session-too-old", identified, [TimedOut(Timer.AGE)]),
    ("session-too-old", in_content, [TimedOut(Timer.AGE), TimedOut(Timer.AGE)]),
    ("shutting-down", identified, [Drain()]),
    ("shutting-down", dialling, [Drain()]),
]  # fmt: skip


@pytest.mark.parametrize(("ended", "make", "events"), ENDS)
def test_a_session_ends_once_and_says_how(ended: str, make: Callable[[], Playbook], events: list[Event]) -> None:
    book = make()
    begun = len([record for record in book.records if isinstance(record, TransactionRecord)])
    for event in events:
        book.skip() >> event
    actions = book.pending()
    assert [type(action) for action in actions].count(End) == 1
    assert actions[-1] == End()
    record = session_of(book)
    assert book.records[-1] is record
    assert record.ended == ended
    in_transaction = make in (with_recipient, in_content, sent_dot) or ended == "message-too-big"
    transactions = [each for each in book.records if isinstance(each, TransactionRecord)]
    assert len(transactions) - begun == in_transaction
    assert record.transactions == len(transactions)
    for event in [*events, Closed(Leg.CLIENT, "clean"), Closed(Leg.UPSTREAM, "clean")]:
        book >> event
        book.done()
    assert book.records[-1] is record
