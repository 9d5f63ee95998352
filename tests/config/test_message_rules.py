from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path

import pytest

from smtpproxy.config.problems import ConfigurationErrors
from smtpproxy.policy.entries import Entries
from smtpproxy.policy.envelopes import EnvelopeCondition, MailboxCondition, Mailboxes
from smtpproxy.policy.message_edits import AddHeader, RemoveHeader, ReplaceHeader, SetEncryption, TagSubject
from smtpproxy.policy.messages import (
    Condition,
    Fields,
    Final,
    HeaderCondition,
    MessageRule,
    SizeCondition,
)
from smtpproxy.policy.model import ProxyAction
from smtpproxy.policy.rules import RecipientEncryption
from smtpproxy.policy.tls_level import TlsLevelHeader
from smtpproxy.policy.wildcards import Wildcard
from smtpproxy.smtp.addresses import parse_forward_path
from tests.config.test_load import POLICY, load, notices


def loaded(home: Path, action: str) -> tuple[MessageRule, ...]:
    text = POLICY.replace("outbound,", "outbound, proxy_action: Mine,")
    return load(home, text, actions_Mine=action).policies[0].action.message_rules


def noticed(home: Path, *rules: str) -> list[str]:
    """Return what is noticed about rules, each on a line of its own from line 3 on."""
    action = "kind: client\nmessage_rules:\n" + "".join(f"  - {rule}\n" for rule in rules)
    prefix = "proxy-actions/Mine.yaml:"
    found = notices(home, actions_Mine=action)
    assert all(line.startswith(prefix) for line in found)
    return [line.removeprefix(prefix) for line in found]


def test_there_are_none_by_default(home: Path) -> None:
    assert loaded(home, "kind: client\n") == ()


def test_every_key(home: Path) -> None:
    action = """
kind: client
message_rules:
  - name: tag
    enabled: true
    when: {header: {name: subject, matches: "*[?]*"}}
    then: [{add_header: {x-TLSLevel: Require}}, {remove_header: X-Internal}]
    final: none
  - {name: off, enabled: false, final: deny}
  - name: big
    when:
      size: {over: 10MB, under: 20MB}
      header:
        - {name: From, does_not_match: "*@example.com>"}
        - {name: X-Approved, absent: true}
        - {name: X-Queue}
    final: deny
  - {name: rest, when: {}, final: deliver}
"""
    assert loaded(home, action) == (
        MessageRule(
            "tag",
            Condition(headers=(HeaderCondition(b"subject", Wildcard("*[?]*")),)),
            (AddHeader(b"x-TLSLevel", b"Require"), RemoveHeader(b"X-Internal")),
        ),
        MessageRule(
            "big",
            Condition(
                SizeCondition(10_000_000, 20_000_000),
                (
                    HeaderCondition(b"From", Wildcard("*@example.com>"), Fields.NONE),
                    HeaderCondition(b"X-Approved", fields=Fields.NONE),
                    HeaderCondition(b"X-Queue"),
                ),
            ),
            final=Final.DENY,
        ),
        MessageRule("rest", final=Final.DELIVER),
    )


def loaded_action(home: Path, action: str, **files: str) -> ProxyAction:
    text = POLICY.replace("outbound,", "outbound, proxy_action: Mine,")
    return load(home, text, actions_Mine=action, **files).policies[0].action


def test_every_key_of_the_envelope_and_every_action(home: Path) -> None:
    action = """
kind: client
message_rules:
  - name: partners
    when:
      direction: outbound
      sender: {matches: "*@sales.*.example"}
      recipient: {matches: ["@partners", "*.Bücher.example", Boss@a.example], does_not_match: "*@*.bücher.*"}
      client: [10.0.0.0/8, "@partners", "2001:db8::1"]
    then:
      - {replace_header: {X-Level: high}}
      - {set_encryption: mta-sts}
      - {tag_subject: " [PARTNER] "}
  - {name: one client, when: {client: 192.0.2.1}}
tls_level_header: {honour: true, strip: false}
"""
    made = loaded_action(home, action, lists_partners="partner.example\n192.0.2.0/24\n")
    partners, one_client = made.message_rules
    envelope = partners.when.envelope
    assert envelope is not None
    assert envelope.sender == MailboxCondition(Mailboxes(Entries.union([]), (Wildcard("*@sales.*.example"),)))
    assert envelope.recipient is not None
    matches, others = envelope.recipient.matches, envelope.recipient.does_not_match
    assert matches is not None
    for address, expected in (
        ("x@PARTNER.example", True),
        ("x@mail.xn--bcher-kva.example", True),
        ("boss@A.example", True),
        ("x@bücher.example", False),
        ("other@a.example", False),
    ):
        assert matches.has(parse_forward_path(f"<{address}>".encode())[0]) is expected
    assert others == Mailboxes(Entries.union([]), (Wildcard("*@*.xn--bcher-kva.*"),))
    assert envelope.client is not None
    for client, expected in (("10.1.2.3", True), ("192.0.2.9", True), ("2001:db8::1", True), ("2001:db8::2", False)):
        assert envelope.client.has_address(ip_address(client)) is expected
    assert partners.then == (
        ReplaceHeader(b"X-Level", b"high"),
        SetEncryption(RecipientEncryption.MTA_STS),
        TagSubject("[PARTNER]"),
    )
    assert one_client.when.envelope == EnvelopeCondition(client=Entries.of(["192.0.2.1"]))
    assert made.tls_level_header == TlsLevelHeader(honour=True, strip=False)
    assert RecipientEncryption.MTA_STS in made.levels_in_reach


def test_by_default_the_field_of_a_message_is_not_honoured(home: Path) -> None:
    made = loaded_action(home, "kind: client\n")
    assert made.tls_level_header == TlsLevelHeader(honour=False, strip=True)
    assert made.levels_in_reach == frozenset()


def test_a_rule_for_the_other_direction_never_applies(home: Path) -> None:
    rules = ["{name: in, when: {direction: inbound}, final: deny}", "{name: out, when: {direction: outbound}}"]
    action = f"kind: client\nmessage_rules: [{', '.join(rules)}]\n"
    assert [rule.name for rule in loaded_action(home, action).message_rules] == ["out"]
    (line,) = noticed(home, *rules)
    assert line == (
        "3:34: message_rules[0].when.direction: never applies, since policies with an action of kind client are "
        "outbound"
    )


def test_a_rule_that_is_switched_off_is_checked_all_the_same(home: Path) -> None:
    with pytest.raises(ConfigurationErrors, match=r"message_rules\[0\].final: 'refuse' is not allowed here"):
        loaded(home, "kind: client\nmessage_rules: [{name: a, enabled: false, final: refuse}]\n")


def test_more_rules_than_may_be(home: Path) -> None:
    rules = "".join(f"  - {{name: r{number}}}\n" for number in range(101))
    with pytest.raises(ConfigurationErrors, match=r"message_rules\[100\]: more than 100 is not available yet"):
        loaded(home, f"kind: client\nmessage_rules:\n{rules}")


@pytest.mark.parametrize(
    "rules",
    [
        ["{name: a, then: [{remove_header: X-Internal}, {add_header: {X-New: a}}]}"],
        ["{name: a, enabled: false, final: deny}", "{name: b, final: deny}"],
        ["{name: a}", "{name: b, when: {header: {name: To}}, final: deny}", "{name: c, final: deny}"],
        ["{name: a, when: {size: {over: 49999999}}, final: deny}"],
        ["{name: a, enabled: false, then: [{remove_header: Subject}]}"],
    ],
)
def test_nothing_to_notice(home: Path, rules: list[str]) -> None:
    assert noticed(home, *rules) == []


def test_notice_that_dkim_breaks(home: Path) -> None:
    (line,) = noticed(home, "{name: a, then: [{remove_header: subject}]}")
    assert line == (
        "3:38: message_rules[0].then[0].remove_header: senders sign subject, so DKIM will fail for the mail that it is "
        "taken from"
    )


def test_notice_of_a_field_that_would_be_there_twice(home: Path) -> None:
    (line,) = noticed(home, "{name: a, then: [{add_header: {Subject: a}}]}")
    assert line == (
        "3:35: message_rules[0].then[0].add_header: a message has one Subject, and receivers differ about which of two "
        "counts; replace_header leaves one"
    )
    (line,) = noticed(home, "{name: a, then: [{remove_header: SUBJECT}, {add_header: {Subject: a}}]}")
    assert "DKIM" in line


@pytest.mark.parametrize("edit", ["replace_header: {from: a@b.example}", "tag_subject: '[EXTERN]'"])
def test_notice_that_dkim_breaks_where_a_field_is_changed(home: Path, edit: str) -> None:
    (line,) = noticed(home, f"{{name: a, then: [{{{edit}}}]}}")
    name = "from" if "from" in edit else "Subject"
    assert line.endswith(f": senders sign {name}, so DKIM will fail for the mail that it is changed in")


def test_notice_of_a_level_that_nothing_acts_on(home: Path) -> None:
    rule = "{name: a, then: [{add_header: {X-tlslevel: Require}}]}"
    (line,) = noticed(home, rule)
    assert line == (
        "3:35: message_rules[0].then[0].add_header: nothing here acts on the field; set tls_level_header.honour to "
        "true, or use set_encryption"
    )
    assert (
        notices(home, actions_Mine=f"kind: client\nmessage_rules: [{rule}]\ntls_level_header: {{honour: true}}") == []
    )


def test_notice_of_rules_that_never_apply(home: Path) -> None:
    rules = ["{name: a, final: deny}", "{name: off, enabled: false}", "{name: b, final: deny}", "{name: c}"]
    why = "never applies, since 'a' before it takes every message (deny); move it up"
    assert noticed(home, *rules) == [f"5:12: message_rules[2].name: {why}", f"6:12: message_rules[3].name: {why}"]


def test_notice_of_a_size_that_is_refused_already(home: Path) -> None:
    (line,) = noticed(home, "{name: a, when: {size: {over: 50MB}}, final: deny}")
    assert line == (
        "3:35: message_rules[0].when.size.over: never applies, since what is over general.max_message_size, 50MB, is "
        "refused already"
    )
