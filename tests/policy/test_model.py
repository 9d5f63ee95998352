"""The configured model: what it derives from what is configured, and the product's defaults."""

from __future__ import annotations

import pytest

from smtpproxy.policy.model import (
    ESMTP_KEYWORDS,
    BareNewline,
    CertificateValidation,
    Esmtp,
    General,
    Pfs,
    PortKind,
    TlsProfile,
    UpstreamHost,
)
from smtpproxy.policy.rules import EncryptionRule, Failure, Offer, OnFailure, RecipientEncryption, SenderEncryption
from smtpproxy.tls.facts import TlsVersion


def test_an_upstream_has_a_port_for_each_kind() -> None:
    assert [UpstreamHost("mx.test").port(kind) for kind in (PortKind.SMTP, PortKind.SMTPS)] == [25, 465]
    host = UpstreamHost("mx.test", smtp=2525, smtps=4650)
    assert [host.port(kind) for kind in (PortKind.SMTP, PortKind.SMTPS)] == [2525, 4650]


def test_the_defaults_are_those_of_the_contract() -> None:
    assert TlsProfile("x") == TlsProfile("x", TlsVersion.TLS1_2, Pfs.ALLOWED, CertificateValidation.AUDIT)
    assert OnFailure() == OnFailure(Failure.REJECT, Failure.TEMPFAIL, Failure.TEMPFAIL)
    rule = EncryptionRule("x", SenderEncryption.OPTIONAL, RecipientEncryption.PREFERRED, Offer.HONEST)
    assert EncryptionRule("x") == rule
    assert General() == General(
        idle_timeout_s=600,
        max_session_age_s=3600,
        max_sessions=5000,
        max_sessions_per_source=100,
        max_recipients=1000,
        max_address_length=256,
        max_message_size=50_000_000,
        bare_newline=BareNewline.NORMALIZE,
    )


@pytest.mark.parametrize("keyword", ["REQUIRETLS", "STARTTLS", "XCLIENT", "BURL"])
def test_what_is_not_handled_or_not_asked_for_may_not_pass(keyword: str) -> None:
    assert keyword not in ESMTP_KEYWORDS
    assert keyword not in Esmtp().allow
