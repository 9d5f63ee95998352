from __future__ import annotations

from dataclasses import replace

import pytest

from smtpproxy.policy.ahead import domains_ahead
from smtpproxy.policy.entries import Entries
from smtpproxy.policy.model import Policy
from smtpproxy.policy.rules import Audience, EncryptionRule, RecipientEncryption
from tests.session.playbook import Setting

NAMED = ("b.test", "user@a.test", "*.below.test", "192.0.2.1")


def policy(recipient: RecipientEncryption, *, enabled: bool = True) -> Policy:
    made = Setting().terms().policy
    rule = EncryptionRule("rule", recipient=recipient, audience=Audience(to=Entries.of(NAMED)), enabled=enabled)
    starttls = replace(made.action.starttls, rules=(rule,))
    return replace(made, action=replace(made.action, starttls=starttls))


@pytest.mark.parametrize("recipient", ["verified", "dane", "mta-sts"])
def test_domains_of_rules_that_judge_a_certificate_are_known_ahead(recipient: str) -> None:
    assert list(domains_ahead([policy(RecipientEncryption(recipient))])) == ["a.test", "b.test"]


@pytest.mark.parametrize("recipient", ["none", "allowed", "preferred", "required"])
def test_where_any_certificate_will_do_nothing_is_looked_up(recipient: str) -> None:
    assert list(domains_ahead([policy(RecipientEncryption(recipient))])) == []


def test_what_is_disabled_names_nobody() -> None:
    dane = RecipientEncryption.DANE
    assert list(domains_ahead([policy(dane, enabled=False), replace(policy(dane), enabled=False)])) == []
