"""MAIL and RCPT: what may pass by what was offered, and within which limits."""

from __future__ import annotations

import pytest

from smtpproxy.audit import SessionRecord, Status, TransactionRecord
from smtpproxy.policy.model import ESMTP_KEYWORDS, OPT_IN_KEYWORDS, Esmtp, General
from smtpproxy.session.actions import Close, End, How, Send
from smtpproxy.session.events import Closed
from smtpproxy.session.legs import Leg
from tests.session.playbook import (
    RECIPIENT,
    SENDER,
    Playbook,
    Setting,
    client,
    granted,
    greeted,
    identified,
    to_client,
    to_upstream,
    upstream,
    with_sender,
)

EVERYTHING = "SIZE 100000,8BITMIME,SMTPUTF8,DSN,ENHANCEDSTATUSCODES,PIPELINING"
BAD_PARAMETER = "501 5.5.4 Unsupported or malformed parameter"
TOO_MANY = "452 4.5.3 Too many recipients"
LIMITED = Setting(general=General(max_recipients=3))

MAIL_PARAMETERS = {
    " SIZE=10": "SIZE",
    " BODY=8BITMIME": "8BITMIME",
    " BODY=7BIT": "8BITMIME",
    " body=8bitMime": "8BITMIME",
    " SMTPUTF8": "SMTPUTF8",
    " RET=HDRS": "DSN",
    " ENVID=QQ314159": "DSN",
}
RCPT_PARAMETERS = {" NOTIFY=SUCCESS,FAILURE": "DSN", " ORCPT=rfc822;b@mx.test": "DSN"}


@pytest.mark.parametrize("parameter", MAIL_PARAMETERS)
def test_a_parameter_of_mail_passes_where_its_extension_was_offered(parameter: str) -> None:
    book = identified(keywords=EVERYTHING)
    (book >> client(SENDER + parameter) << to_upstream(SENDER + parameter)).done()


@pytest.mark.parametrize("parameter", [each for each in MAIL_PARAMETERS if each != " SIZE=10"])
def test_a_parameter_of_mail_is_refused_where_its_extension_was_not_offered(parameter: str) -> None:
    without = ",".join(each for each in EVERYTHING.split(",") if each != MAIL_PARAMETERS[parameter])
    book = identified(keywords=without)
    (book >> client(SENDER + parameter) << to_client(BAD_PARAMETER)).done()


@pytest.mark.parametrize("parameter", RCPT_PARAMETERS)
def test_a_parameter_of_rcpt_passes_where_its_extension_was_offered(parameter: str) -> None:
    book = with_sender(keywords=EVERYTHING)
    (book >> client(RECIPIENT + parameter) << to_upstream(RECIPIENT + parameter)).done()


@pytest.mark.parametrize("parameter", RCPT_PARAMETERS)
def test_a_parameter_of_rcpt_is_refused_where_its_extension_was_not_offered(parameter: str) -> None:
    book = with_sender(keywords="SIZE,8BITMIME,SMTPUTF8")
    (book >> client(RECIPIENT + parameter) << to_client(BAD_PARAMETER)).done()


@pytest.mark.parametrize(
    "parameter",
    [" BODY=9BIT", " AUTH=<>", " X-OWN=1", " SIZE=ten", " SIZE", " SIZE=1 SIZE=1"],
)
def test_what_is_not_handled_is_refused_though_upstream_may_know_it(parameter: str) -> None:
    book = identified(keywords=EVERYTHING + ",BINARYMIME,CHUNKING,REQUIRETLS,AUTH PLAIN")
    (book >> client(SENDER + parameter) << to_client(BAD_PARAMETER)).done()


def test_requiretls_that_cannot_be_kept_is_refused() -> None:
    book = identified(Setting(esmtp=Esmtp(allow=ESMTP_KEYWORDS | OPT_IN_KEYWORDS)), keywords="REQUIRETLS")
    (book >> client(SENDER + " REQUIRETLS") << to_client("550 5.7.30 REQUIRETLS support required")).done()


def test_an_extension_that_the_administrator_took_away_is_not_offered_and_not_accepted() -> None:
    esmtp = Esmtp(allow=frozenset({"SIZE"}))
    book = greeted(Setting(esmtp=esmtp))
    book >> client("EHLO client.test")
    book.skip() >> upstream(b"250-mx.test\r\n250-DSN\r\n250-CHUNKING\r\n250 8BITMIME\r\n")
    book << to_client(b"250-mx.test\r\n250 SIZE 50000000\r\n")
    (book >> client(SENDER + " BODY=8BITMIME") << to_client(BAD_PARAMETER)).done()
    book >> Closed(Leg.CLIENT, "clean")
    book.skip()
    record = book.records[-1]
    assert isinstance(record, SessionRecord)
    assert record.removed == ("DSN", "CHUNKING", "8BITMIME")


def test_removed_capabilities_stay_out_of_the_record_where_they_are_not_to_be_logged() -> None:
    book = identified(Setting(esmtp=Esmtp(log_denied=False)), keywords="CHUNKING")
    book >> Closed(Leg.CLIENT, "clean")
    book.skip()
    record = book.records[-1]
    assert isinstance(record, SessionRecord)
    assert record.removed == ()


def test_size_is_kept_from_an_upstream_that_does_not_know_it() -> None:
    book = identified(keywords="8BITMIME")
    (book >> client(SENDER + " SIZE=10 BODY=8BITMIME") << to_upstream(SENDER + " BODY=8BITMIME")).done()


def test_behind_helo_nothing_was_offered() -> None:
    book = greeted()
    book >> client("HELO client.test")
    book.skip() >> upstream(b"250-mx.test\r\n250-SIZE 1000\r\n250 8BITMIME\r\n")
    book << to_client("250 mx.test")
    (book >> client(SENDER + " SIZE=10") << to_client(BAD_PARAMETER) >> client(SENDER) << to_upstream(SENDER)).done()


@pytest.mark.parametrize(
    ("size", "passes"), [(49_999_999, True), (50_000_000, True), (50_000_001, False), (10**20 - 1, False)]
)
def test_the_declared_size(size: int, passes: bool) -> None:  # noqa: FBT001 - a column of the table
    book = identified()
    line = f"{SENDER} SIZE={size}"
    too_big = to_client("552 5.3.4 Message size exceeds limit")
    (book >> client(line) << (to_upstream(line) if passes else too_big)).done()


@pytest.mark.parametrize(("upstream_size", "offered"), [("SIZE 1000", 1000), ("SIZE 0", 5000), ("SIZE", 5000)])
def test_the_smaller_size_is_offered(upstream_size: str, offered: int) -> None:
    book = greeted(Setting(general=General(max_message_size=5000)))
    book >> client("EHLO client.test")
    book.skip() >> upstream(f"250-mx.test\r\n250 {upstream_size}")
    (book << to_client(f"250-mx.test\r\n250-PIPELINING\r\n250-SIZE {offered}\r\n250 LIMITS RCPTMAX=1000")).done()


# Addresses


def mail_from(address: str) -> bytes:
    return f"MAIL FROM:<{address}>\r\n".encode()


def test_an_8bit_address_needs_smtputf8() -> None:
    book = identified(keywords=EVERYTHING)
    (
        book
        >> client(mail_from("ä@client.test"))
        << to_client("501 5.1.7 Bad sender address")
        >> client(b"MAIL FROM:<\xc3\xa4@client.test> SMTPUTF8\r\n")
        << to_upstream(b"MAIL FROM:<\xc3\xa4@client.test> SMTPUTF8\r\n")
        >> upstream("250 Ok")
        << to_client("250 Ok")
        >> client("RCPT TO:<ö@mx.test>")
        << to_upstream("RCPT TO:<ö@mx.test>")
    ).done()


def test_an_8bit_recipient_needs_a_transaction_that_declared_it() -> None:
    book = with_sender(keywords=EVERYTHING)
    (book >> client("RCPT TO:<ö@mx.test>") << to_client("553 5.1.3 Bad recipient address")).done()


@pytest.mark.parametrize(
    ("line", "reply"),
    [
        (b"MAIL FROM:<\xff@client.test> SMTPUTF8\r\n", "501 5.1.7 Bad sender address"),
        (b"MAIL FROM:a@client.test\r\n", "501 5.5.4 Syntax error in command arguments"),
        (b"MAIL FROM:<a@client.test\r\n", "501 5.1.7 Bad sender address"),
        (b"MAIL FROM:<a@client.test>junk\r\n", BAD_PARAMETER),
        (b"MAIL FROM:<a b@client.test>\r\n", "501 5.1.7 Bad sender address"),
        (b"MAIL\r\n", "501 5.5.4 Syntax error in command arguments"),
        (mail_from("a" * 300 + "@client.test"), "501 5.1.7 Bad sender address"),
        (mail_from("a@" + "b." * 140 + "test"), "501 5.1.7 Bad sender address"),
    ],
)
def test_a_sender_that_is_none(line: bytes, reply: str) -> None:
    book = identified(keywords=EVERYTHING)
    (book >> client(line) << to_client(reply)).done()


def test_the_configured_length_of_an_address() -> None:
    book = identified(Setting(general=General(max_address_length=20)))
    (
        book
        >> client(mail_from("a" * 9 + "@client.test"))  # 21 octets
        << to_client("501 5.1.7 Bad sender address")
        >> client(mail_from("a" * 8 + "@client.test"))
        << to_upstream(mail_from("a" * 8 + "@client.test"))
        >> upstream("250 Ok")
        << to_client("250 Ok")
        >> client("RCPT TO:<" + "b" * 13 + "@mx.test>")  # 21 octets
        << to_client("553 5.1.3 Bad recipient address")
    ).done()


def test_the_null_sender_and_the_postmaster_pass() -> None:
    book = identified()
    (
        book
        >> client("MAIL FROM:<>")
        << to_upstream("MAIL FROM:<>")
        >> upstream("250 Ok")
        << to_client("250 Ok")
        >> client("RCPT TO:<postmaster>")
        << to_upstream("RCPT TO:<postmaster>")
    ).done()


def test_a_null_recipient_does_not() -> None:
    book = with_sender()
    (book >> client("RCPT TO:<>") << to_client("553 5.1.3 Bad recipient address")).done()


# How many


def test_too_many_recipients_are_deferred_and_the_others_get_their_mail() -> None:
    book = with_sender(LIMITED)
    for _ in range(3):
        granted(book, RECIPIENT)
    for _ in range(3):
        (book >> client(RECIPIENT) << to_client(TOO_MANY)).done()
    granted(book, "DATA", "354 go on")
    book >> client(b".\r\n")
    book.skip() >> upstream("250 queued")
    book.skip()
    (record,) = book.records
    assert isinstance(record, TransactionRecord)
    assert [each.status for each in record.recipients] == [Status.ACCEPTED] * 3 + [Status.DEFERRED] * 3
    assert [each.because for each in record.recipients] == [None] * 3 + ["too-many-recipients"] * 3


def test_those_left_over_go_into_the_next_transaction() -> None:
    book = with_sender(LIMITED)
    for _ in range(3):
        granted(book, RECIPIENT)
    (book >> client(RECIPIENT) << to_client(TOO_MANY)).done()
    granted(book, "RSET")
    granted(book, SENDER)
    (book >> client(RECIPIENT) << to_upstream(RECIPIENT)).done()


def test_a_client_that_never_stops_asking_for_more_is_closed_upon() -> None:
    book = with_sender(LIMITED)
    for _ in range(3):
        granted(book, RECIPIENT)
    book >> client(f"{RECIPIENT}\r\n".encode() * 10_000)
    sent = book.pending()
    replies = [line[:3] for action in sent if isinstance(action, Send) for line in action.data.splitlines()]
    assert replies == [b"452"] * (3 + 20) + [b"421"]
    assert sent[-3:] == [Close(Leg.CLIENT, How.FLUSH), Close(Leg.UPSTREAM, How.FLUSH), End()]


def test_recipients_that_upstream_refuses_are_counted_too() -> None:
    """Else a client that guesses addresses makes the list grow without end."""
    book = with_sender(LIMITED)
    for _ in range(6):
        granted(book, RECIPIENT, "550 no such user")
    (book >> client(RECIPIENT) << to_client(TOO_MANY)).done()
    asked = _asked_until_the_end(book)
    assert asked == 20
    transaction = book.records[0]
    assert isinstance(transaction, TransactionRecord)
    assert len(transaction.recipients) == 6


def _asked_until_the_end(book: Playbook) -> int:
    for count in range(1, 1000):
        book >> client(RECIPIENT)
        if End() in book.pending():
            return count
    raise AssertionError("no end")


def test_a_parameter_of_rcpt_beyond_ascii_needs_smtputf8() -> None:
    line = RECIPIENT + " ORCPT=utf-8;ü@mx.test"
    book = with_sender(keywords=EVERYTHING)
    (book >> client(line) << to_client(BAD_PARAMETER)).done()
    book = with_sender(keywords=EVERYTHING, mail=SENDER + " SMTPUTF8")
    (book >> client(line) << to_upstream(line)).done()


@pytest.mark.parametrize("domain", ["ba\u200dnk.test", "\u2603.test", "b\u0378nk.test"])
def test_a_domain_of_which_idna_makes_none_is_refused(domain: str) -> None:
    book = with_sender(keywords=EVERYTHING, mail=f"{SENDER} SMTPUTF8")
    (book >> client(f"RCPT TO:<b@{domain}>") << to_client("553 5.1.3 Bad recipient address")).done()
    book = identified(keywords=EVERYTHING)
    (book >> client(f"MAIL FROM:<a@{domain}> SMTPUTF8") << to_client("501 5.1.7 Bad sender address")).done()


@pytest.mark.parametrize("domain", ["b\u00fccher.test", "b\u00fccher\u3002test", "xn--n3h.test"])
def test_a_domain_of_which_idna_makes_one_passes_as_it_was_written(domain: str) -> None:
    book = with_sender(keywords=EVERYTHING, mail=f"{SENDER} SMTPUTF8")
    (book >> client(f"RCPT TO:<b@{domain}>") << to_upstream(f"RCPT TO:<b@{domain}>")).done()
