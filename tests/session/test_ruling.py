"""Messages that ask for encryption themselves, and message rules for some envelopes only."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from smtpproxy.audit import Status
from smtpproxy.policy.encryption import Plan
from smtpproxy.policy.entries import Entries
from smtpproxy.policy.envelopes import EnvelopeCondition, MailboxCondition, Mailboxes
from smtpproxy.policy.knowledge import Answer, Knowledge, MailHost, Tlsa, TlsaSet
from smtpproxy.policy.message_edits import AddHeader, Edit, SetEncryption
from smtpproxy.policy.messages import Condition, Final, MessageRule, SizeCondition
from smtpproxy.policy.model import CertificateValidation
from smtpproxy.policy.rules import EncryptionRule, Failure, OnFailure, RecipientEncryption
from smtpproxy.policy.tls_level import TlsLevelHeader
from smtpproxy.session.actions import LookUp
from smtpproxy.session.events import PeerFacts, TlsFailed, Upgraded, UpstreamConnected
from smtpproxy.session.legs import Leg
from smtpproxy.session.recipients import MAX_KNOWN
from smtpproxy.smtp import catalogue
from smtpproxy.tls.facts import Chain, TlsFacts, TlsFailure, TlsReason
from tests.session.playbook import (
    RECIPIENT,
    SENDER,
    Playbook,
    Setting,
    client,
    ehlo_reply,
    granted,
    greeted,
    identified,
    tls_facts,
    to_client,
    to_upstream,
    transaction_of,
    upstream,
    with_recipient,
)

NONE, REQUIRED, PREFERRED = RecipientEncryption.NONE, RecipientEncryption.REQUIRED, RecipientEncryption.PREFERRED
VERIFIED, DANE = RecipientEncryption.VERIFIED, RecipientEncryption.DANE
HONOUR = TlsLevelHeader(honour=True)
OFF = RecipientEncryption.NONE
GO_ON = "354 End data with <CR><LF>.<CR><LF>"
TAKEN = "250 2.0.0 Chunk received"
NOT_OFFERED = catalogue.TLS_NOT_OFFERED_REJECT.to_wire()
NOT_OFFERED_NOW = catalogue.TLS_NOT_OFFERED_TEMPFAIL.to_wire()
TLS_FAILED = catalogue.TLS_REFUSED_TEMPFAIL.to_wire()
LOOK_UP_FAILED = catalogue.LOOK_UP_FAILED.to_wire()
KEYWORDS = "SIZE 100000,PIPELINING,CHUNKING"
REST = b"Subject: x\r\n\r\nbody\r\n"


def field(value: bytes) -> bytes:
    return b"X-TlsLevel: " + value + b"\r\n"


def asks(*levels: RecipientEncryption, when: Condition | None = None) -> MessageRule:
    return MessageRule("asks", when or Condition(), tuple(SetEncryption(level) for level in levels))


def to(*entries: str) -> Condition:
    return Condition(envelope=EnvelopeCondition(recipient=MailboxCondition(Mailboxes(Entries.of(entries)))))


def in_clear(*rules: MessageRule, **changes: object) -> Playbook:
    """A session with one recipient, whose upstream offers no TLS."""
    setting = Setting(message_rules=rules, **{"tls_level_header": HONOUR, **changes})  # type: ignore[arg-type]
    return with_recipient(setting, KEYWORDS)


def on_tls(*rules: MessageRule, facts: TlsFacts | None = None, **changes: object) -> Playbook:
    """The same with an upstream on TLS, before MAIL."""
    setting = Setting(message_rules=rules, **{"tls_level_header": HONOUR, **changes})  # type: ignore[arg-type]
    book = greeted(setting, address=ip_address("198.51.100.1"))
    book >> client("EHLO client.test")
    (book.skip() >> upstream(ehlo_reply("STARTTLS")) << to_upstream("STARTTLS")).done()
    book >> upstream("220 go on")
    book.skip() >> Upgraded(Leg.UPSTREAM, facts or tls_facts("mx.test"))
    book.skip() >> upstream(ehlo_reply(KEYWORDS))
    return book.skip()


def data(book: Playbook, content: bytes) -> Playbook:
    """Send content by DATA, which is held, up to its end."""
    (book >> client("DATA") << to_client(GO_ON)).done()
    return book >> client(content + b".\r\n")


def delivered(book: Playbook, content: bytes) -> Playbook:
    (book << to_upstream("DATA") >> upstream("354 go") << to_upstream(content + b".\r\n")).done()
    return (book >> upstream("250 queued") << to_client("250 queued")).done()


def refused(book: Playbook, reply: str | bytes) -> None:
    """Nothing but RSET went upstream, and the session goes on."""
    (book << to_client(reply) << to_upstream("RSET") >> upstream("250 Ok")).done()
    (book >> client("NOOP") << to_upstream("NOOP")).done()


# x-TLSLevel


def test_require_on_a_clear_leg_is_refused_at_the_dot() -> None:
    book = in_clear()
    assert NOT_OFFERED.startswith(b"550 5.7.4 ")
    refused(data(book, field(b"Require") + REST), NOT_OFFERED)
    record = transaction_of(book)
    assert (record.because, record.recipients[0].status) == ("upstream-tls-not-offered", Status.REFUSED)
    assert (record.asked, record.findings) == (("required",), ())


def test_require_on_tls_passes_without_the_field() -> None:
    book = granted(granted(on_tls(), SENDER), RECIPIENT)
    delivered(data(book, field(b"Require") + REST), REST)
    assert transaction_of(book).asked == ("required",)


def test_try_passes_in_clear() -> None:
    book = in_clear()
    delivered(data(book, field(b"Try") + REST), REST)
    assert transaction_of(book).asked == ("preferred",)


def test_try_lowers_no_rule() -> None:
    book = in_clear(asks(REQUIRED))
    refused(data(book, field(b"Try") + REST), NOT_OFFERED)


def test_the_field_may_stay() -> None:
    book = in_clear(tls_level_header=TlsLevelHeader(honour=True, strip=False))
    content = field(b"Try") + REST
    delivered(data(book, content), content)


def test_where_it_is_not_honoured_it_streams_on() -> None:
    book = in_clear(tls_level_header=TlsLevelHeader())
    content = field(b"Require") + REST
    (book >> client("DATA") << to_upstream("DATA") >> upstream("354 go") << to_client("354 go")).done()
    (book >> client(content) << to_upstream(content)).done()


def test_a_rule_that_adds_the_field_is_the_first_to_be_heard() -> None:
    rule = MessageRule("label", to("mx.test"), (AddHeader(b"x-TLSLevel", b"Require"),))
    book = in_clear(rule)
    refused(data(book, field(b"Try") + REST), NOT_OFFERED)
    record = transaction_of(book)
    assert (record.message_rules, record.findings) == (("label",), ("tls-level-repeated",))


@pytest.mark.parametrize(
    ("content", "findings"),
    [
        (field(b"Require") + field(b"Try"), ("tls-level-repeated",)),
        (field(b"Requires"), ("tls-level-unreadable",)),
    ],
)
def test_what_is_odd_about_the_field_is_recorded(content: bytes, findings: tuple[str, ...]) -> None:
    book = in_clear()
    refused(data(book, content + REST), NOT_OFFERED)
    assert transaction_of(book).findings == findings


def test_a_message_without_the_field_passes_byte_for_byte() -> None:
    book = in_clear()
    delivered(data(book, REST), REST)
    assert transaction_of(book).asked == ()


def test_a_header_that_is_too_long_to_be_judged_is_refused() -> None:
    book = in_clear()
    refused(
        data(book, b"X: " + b"y" * 300_000 + b"\r\n" + field(b"Require")), "552 5.3.4 Message header size exceeds limit"
    )


# By BDAT


def chunk(octets: bytes, *, last: bool = False) -> bytes:
    return b"BDAT %d%b\r\n" % (len(octets), b" LAST" if last else b"") + octets


def test_require_by_chunks_is_refused_at_their_end() -> None:
    book = in_clear()
    (book >> client(chunk(field(b"Require"))) << to_client(TAKEN)).done()
    refused(book >> client(chunk(REST, last=True)), NOT_OFFERED)


def test_chunks_behind_the_header_of_a_refused_message_are_dropped() -> None:
    book = in_clear()
    book >> client(chunk(field(b"Require") + REST))
    book << to_client(NOT_OFFERED) << to_upstream("RSET")
    (book >> upstream("250 Ok")).done()
    assert transaction_of(book).because == "upstream-tls-not-offered"


def test_require_by_chunks_on_tls_passes_without_the_field() -> None:
    book = granted(granted(on_tls(), SENDER), RECIPIENT)
    book >> client(chunk(field(b"Require") + REST, last=True))
    (book << to_upstream(chunk(REST, last=True)) >> upstream("250 queued") << to_client("250 queued")).done()


# Message rules that ask for encryption


@pytest.mark.parametrize("tries", [True, False])
def test_a_message_that_may_ask_makes_the_plan_eager(tries: bool) -> None:  # noqa: FBT001
    rules = (asks(REQUIRED if tries else VERIFIED, when=to("bank.test")),)
    setting = Setting(recipient=NONE, message_rules=rules)
    assert setting.terms().plan is Plan.EAGER
    assert Setting(recipient=NONE).terms().plan is Plan.NEVER
    assert Setting(recipient=NONE, tls_level_header=HONOUR).terms().plan is Plan.EAGER


def test_a_rule_asks_for_the_mail_it_is_for() -> None:
    rule = asks(REQUIRED, when=to("mx.test"))
    refused(data(in_clear(rule), REST), NOT_OFFERED)
    book = in_clear(asks(REQUIRED, when=to("bank.test")), tls_level_header=TlsLevelHeader())
    (book >> client("DATA") << to_upstream("DATA")).done()


def test_a_rule_that_asks_by_size_is_judged_at_the_end() -> None:
    rule = asks(REQUIRED, when=Condition(SizeCondition(over=100)))
    book = in_clear(rule, tls_level_header=TlsLevelHeader())
    book >> client("DATA")
    book.skip() >> client(REST + b"x" * 100 + b"\r\n")
    book.skip() >> client(b".\r\n")
    assert to_client(NOT_OFFERED) in book.pending()


@pytest.mark.parametrize("failed", [True, False])
def test_how_it_is_told(failed: bool) -> None:  # noqa: FBT001
    on_failure = OnFailure(not_offered=Failure.TEMPFAIL, handshake=Failure.TEMPFAIL)
    if not failed:
        refused(data(in_clear(asks(REQUIRED), on_failure=on_failure), REST), NOT_OFFERED_NOW)
        return
    book = greeted(Setting(message_rules=(asks(REQUIRED),), on_failure=on_failure))
    book >> client("EHLO client.test")
    book.skip() >> upstream(ehlo_reply("STARTTLS"))
    book.skip() >> upstream("220 go on")
    book.skip() >> TlsFailed(Leg.UPSTREAM, TlsFailure(TlsReason.VALIDATION_FAILURE))
    book.skip() >> UpstreamConnected()
    book.skip() >> upstream("220 mx.test")
    book.skip() >> upstream(ehlo_reply(KEYWORDS))
    refused(data(granted(granted(book.skip(), SENDER), RECIPIENT), REST), TLS_FAILED)


@pytest.mark.parametrize(
    ("facts", "passes"),
    [
        (tls_facts("mx.test"), True),
        (tls_facts("mx.test", chain=Chain.INVALID, reason=TlsReason.CERTIFICATE_NOT_TRUSTED), False),
        (tls_facts("other.test"), False),
    ],
)
def test_a_message_may_ask_for_a_certificate(facts: TlsFacts, *, passes: bool) -> None:
    book = granted(on_tls(asks(VERIFIED), facts=facts, validation=CertificateValidation.OFF), SENDER)
    (book >> client(RECIPIENT) << to_upstream(RECIPIENT)).done()  # nothing could be looked up that would help
    book >> upstream("250 Ok")
    if passes:
        delivered(data(book.skip(), REST), REST)
    else:
        refused(data(book.skip(), REST), TLS_FAILED)


def test_what_a_message_may_ask_about_is_looked_up_with_its_recipient() -> None:
    book = granted(on_tls(asks(DANE)), SENDER)
    book >> client(RECIPIENT)
    (book << LookUp("mx.test", tlsa=True, sts=False)).skip()
    book >> PeerFacts(Knowledge("mx.test", Answer.FAILED))
    (book << to_upstream(RECIPIENT) >> upstream("250 Ok") << to_client("250 Ok")).done()
    refused(data(book, REST), LOOK_UP_FAILED)


def test_what_is_known_of_many_domains_is_known_at_the_end_of_the_message() -> None:
    dane = EncryptionRule("dane", recipient=DANE)
    book = granted(on_tls(rules=(dane,), facts=tls_facts("mx.test")), SENDER)
    for number in range(MAX_KNOWN + 1):
        domain, recipient = f"d{number}.test", f"RCPT TO:<b@d{number}.test>"
        (book >> client(recipient) << LookUp(domain, tlsa=True, sts=False)).skip()
        book >> PeerFacts(_with_records(domain))
        (book << to_upstream(recipient) >> upstream("250 Ok") << to_client("250 Ok")).skip()
    delivered(data(book, field(b"Try") + REST), REST)


def _with_records(domain: str) -> Knowledge:
    peer = tls_facts("mx.test").peer
    assert peer is not None
    tlsa = TlsaSet(Answer.FOUND, secure=True, records=(Tlsa(3, 0, 0, peer.der),))
    host = MailHost("mx.test", 10, frozenset({ip_address("198.51.100.1")}), secure=True, tlsa=tlsa)
    return Knowledge(domain, Answer.FOUND, secure=True, hosts=(host,))


def test_two_recipients_of_a_message_are_refused_together() -> None:
    book = in_clear(asks(REQUIRED, when=to("bank.test")), tls_level_header=TlsLevelHeader())
    book = granted(book, "RCPT TO:<c@bank.test>")
    refused(data(book, REST), NOT_OFFERED)
    assert [each.status for each in transaction_of(book).recipients] == [Status.REFUSED, Status.REFUSED]


# Envelopes


def test_only_recipients_that_upstream_took_count() -> None:
    deny = MessageRule("deny", to("mx.test"), final=Final.DENY)
    book = identified(Setting(message_rules=(deny,)), KEYWORDS)
    book = granted(granted(book, SENDER), "RCPT TO:<c@other.test>")
    (book >> client(RECIPIENT) << to_upstream(RECIPIENT) >> upstream("550 no") << to_client("550 no")).done()
    (book >> client("DATA") << to_upstream("DATA")).done()


def test_data_that_is_pipelined_waits_until_the_recipients_are_known() -> None:
    deny = MessageRule("deny", to("mx.test"), final=Final.DENY)
    book = granted(identified(Setting(message_rules=(deny,)), KEYWORDS), SENDER)
    (book >> client(f"{RECIPIENT}\r\nDATA\r\n".encode()) << to_upstream(RECIPIENT)).done()
    (book >> upstream("250 Ok") << to_client("250 Ok") << to_client(GO_ON)).done()
    refused(book >> client(REST + b".\r\n"), "554 5.7.1 Message refused")


@pytest.mark.parametrize(("network", "marked"), [("192.0.2.0/24", True), ("198.51.100.0/24", False)])
def test_the_client_is_asked_about_by_its_address(network: str, *, marked: bool) -> None:
    edits: tuple[Edit, ...] = (AddHeader(b"X-Seen", b"yes"),)
    rule = MessageRule("mark", Condition(envelope=EnvelopeCondition(client=Entries.of([network]))), edits)
    book = in_clear(rule)
    delivered(data(book, REST), (b"X-Seen: yes\r\n" if marked else b"") + REST)
