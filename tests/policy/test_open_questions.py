"""What cannot be told of a rule, or need not be looked up for it, before all is known."""

from __future__ import annotations

from ipaddress import ip_address

from smtpproxy.policy.entries import Entries
from smtpproxy.policy.judging import needs_of
from smtpproxy.policy.legs import LegFacts, Reached
from smtpproxy.policy.matching import Fit, Parties, fit
from smtpproxy.policy.model import PeerPolicies
from smtpproxy.policy.requirement import Requirement
from smtpproxy.policy.rules import Audience, EncryptionRule, NameSources, OnFailure, RecipientEncryption
from smtpproxy.smtp.addresses import parse_forward_path
from smtpproxy.tls.facts import Chain, TlsFacts, TlsVersion

RECIPIENT, _ = parse_forward_path(b"<b@bank.example>")
SENDER, _ = parse_forward_path(b"<a@inside.test>")


def test_a_network_may_be_met_while_upstream_is_not_dialled() -> None:
    audience = Audience(to=Entries.of(["192.0.2.0/24"]))
    assert fit(audience, Parties(recipient=RECIPIENT)) is Fit.MAYBE
    dialled = Parties(recipient=RECIPIENT, destination=ip_address("198.51.100.1"))
    assert fit(audience, dialled) is Fit.OTHER_RECIPIENT


def test_a_network_may_be_met_while_the_client_is_not_known() -> None:
    audience = Audience(from_=Entries.of(["10.0.0.0/8"]))
    assert fit(audience, Parties(sender=SENDER)) is Fit.MAYBE
    assert fit(audience, Parties(sender=SENDER, client=ip_address("192.0.2.1"))) is Fit.OTHER_SENDER


def exchangers_needed(match: NameSources, *, learns_name: bool) -> bool:
    rule = EncryptionRule("rule", recipient=RecipientEncryption.VERIFIED, match=match)
    invalid = TlsFacts(TlsVersion.TLS1_3, "", chain=Chain.INVALID)
    legs = LegFacts(client=None, reached=Reached.ENCRYPTED, upstream=invalid, learns_name=learns_name)
    return bool(needs_of(Requirement.of(rule, OnFailure()), legs, PeerPolicies(), RECIPIENT))


def test_mail_exchangers_are_looked_up_only_where_they_can_help() -> None:
    assert not exchangers_needed(NameSources(), learns_name=False)
    assert exchangers_needed(NameSources(), learns_name=True)
    assert exchangers_needed(NameSources(mx_insecure=True), learns_name=False)
