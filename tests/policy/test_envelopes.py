from __future__ import annotations

from ipaddress import ip_address

import pytest

from smtpproxy.policy.entries import Entries
from smtpproxy.policy.envelopes import Envelope, EnvelopeCondition, MailboxCondition, Mailboxes
from smtpproxy.policy.message_edits import AddHeader
from smtpproxy.policy.messages import (
    Condition,
    Final,
    MessageRule,
    Need,
    SizeCondition,
    need_of,
    reachable,
    rules_for,
)
from smtpproxy.policy.wildcards import Wildcard
from smtpproxy.smtp.addresses import Path, parse_forward_path, parse_reverse_path


def path(address: str) -> Path:
    octets = f"<{address}>".encode()
    return parse_reverse_path(octets)[0] if not address else parse_forward_path(octets)[0]


def among(*texts: str) -> Mailboxes:
    patterns = tuple(Wildcard(text) for text in texts if "@" in text and "*" in text)
    return Mailboxes(Entries.of(text for text in texts if not ("@" in text and "*" in text)), patterns)


def envelope(*recipients: str, sender: str = "a@client.test", client: str | None = "192.0.2.9") -> Envelope:
    return Envelope(path(sender), tuple(map(path, recipients)), ip_address(client) if client else None)


PARTNERS = among("partner.example", "*.partner.example", "boss@other.example")


@pytest.mark.parametrize(
    ("mailboxes", "address", "expected"),
    [
        (PARTNERS, "x@partner.example", True),
        (PARTNERS, "x@PARTNER.Example", True),
        (PARTNERS, "x@mail.partner.example", True),
        (PARTNERS, "BOSS@other.example", True),
        (PARTNERS, "other@other.example", False),
        (among("*"), "x@partner.example", True),
        (among("*"), "", True),
        (among("*@*.example"), "x@partner.example", True),
        (among("*@*.example"), "x@PARTNER.EXAMPLE", True),
        (among("*@*.example"), "x@example", False),
        (among("Sales-*@partner.example"), "sales-de@partner.example", True),
        (among("sales-*@partner.example"), '"sales-de"@partner.example', True),
        (among("sales-*@partner.example"), "sales@partner.example", False),
        (among("*@xn--bcher-kva.*"), "x@bücher.example", True),
        (among("*@*"), "", False),
        (among("*@*"), "postmaster", False),
        (among("*@[*"), "x@[192.0.2.1]", True),
    ],
)
def test_mailboxes(mailboxes: Mailboxes, address: str, *, expected: bool) -> None:
    assert mailboxes.has(path(address)) is expected


def test_recipients_are_asked_about_together() -> None:
    some, none = MailboxCondition(matches=PARTNERS), MailboxCondition(does_not_match=PARTNERS)
    partners, others = "x@partner.example", "y@elsewhere.example"
    for recipients, expected in (((partners,), True), ((others,), False), ((others, partners), True)):
        paths = tuple(map(path, recipients))
        assert some.holds(paths) is expected
        assert none.holds(paths) is not expected


def test_both_must_hold() -> None:
    condition = MailboxCondition(among("*@*.example"), among("boss@partner.example"))
    assert condition.holds((path("x@partner.example"),))
    assert not condition.holds((path("x@partner.example"), path("boss@partner.example")))
    assert not condition.holds((path("x@elsewhere.test"),))


def test_sender_recipient_and_client_must_all_hold() -> None:
    condition = EnvelopeCondition(
        MailboxCondition(among("client.test")), MailboxCondition(PARTNERS), Entries.of(["192.0.2.0/24"])
    )
    assert condition.holds(envelope("x@partner.example"))
    assert not condition.holds(envelope("x@partner.example", sender="a@other.test"))
    assert not condition.holds(envelope("x@elsewhere.example"))
    assert not condition.holds(envelope("x@partner.example", client="198.51.100.1"))


def test_a_client_without_an_address_is_none_of_a_list() -> None:
    assert not EnvelopeCondition(client=Entries.of(["0.0.0.0/0", "::/0"])).holds(envelope("x@y.example", client=None))
    assert EnvelopeCondition(client=Entries.of(["*"])).holds(envelope("x@y.example", client=None))


# Rules for an envelope

MARK = (AddHeader(b"X", b"1"),)
TO_PARTNERS = Condition(envelope=EnvelopeCondition(recipient=MailboxCondition(PARTNERS)))
BIG_TO_PARTNERS = Condition(SizeCondition(over=10), envelope=TO_PARTNERS.envelope)


def test_only_the_rules_for_an_envelope_ask_for_anything() -> None:
    rules = (MessageRule("partners", TO_PARTNERS, MARK), MessageRule("big", BIG_TO_PARTNERS, MARK))
    assert need_of(rules) is Need.WHOLE
    assert need_of(rules_for(rules, envelope("x@elsewhere.example"))) is Need.NOTHING
    assert need_of(rules_for(rules[:1], envelope("x@partner.example"))) is Need.HEADERS
    assert need_of(rules_for(rules, envelope("x@partner.example"))) is Need.WHOLE


def test_a_rule_for_some_envelopes_hides_none_behind_it_but_for_those() -> None:
    rules = (MessageRule("partners", TO_PARTNERS, final=Final.DELIVER), MessageRule("big", BIG_TO_PARTNERS))
    assert reachable(rules) == rules
    assert need_of(rules_for(rules, envelope("x@partner.example"))) is Need.HEADERS
