from __future__ import annotations

from pathlib import Path

import pytest

from smtpproxy.config.problems import ConfigurationErrors
from smtpproxy.policy.message_edits import AddHeader, RemoveHeader
from smtpproxy.policy.messages import (
    Condition,
    Fields,
    Final,
    HeaderCondition,
    MessageRule,
    SizeCondition,
)
from smtpproxy.policy.wildcards import Wildcard
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
        "counts; remove_header: Subject before it leaves one"
    )
    (line,) = noticed(home, "{name: a, then: [{remove_header: SUBJECT}, {add_header: {Subject: a}}]}")
    assert "DKIM" in line


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
