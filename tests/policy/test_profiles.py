from __future__ import annotations

import pytest

from smtpproxy.policy.model import Pfs, TlsProfile
from smtpproxy.policy.profiles import needs_rsa, profile_problem
from smtpproxy.tls.facts import TlsVersion


def test_tls13_without_forward_secrecy_is_refused_and_explained() -> None:
    problem = profile_problem(TlsProfile("test", TlsVersion.TLS1_3, Pfs.NONE))
    assert problem is not None
    assert "pfs: none" in problem
    assert "minimum_protocol: tls1.2" in problem


@pytest.mark.parametrize("pfs", list(Pfs))
@pytest.mark.parametrize("version", list(TlsVersion))
def test_every_other_combination_can_be_carried_out(version: TlsVersion, pfs: Pfs) -> None:
    if (version, pfs) != (TlsVersion.TLS1_3, Pfs.NONE):
        assert profile_problem(TlsProfile("test", version, pfs)) is None


def test_only_a_profile_without_forward_secrecy_needs_rsa() -> None:
    assert [needs_rsa(TlsProfile("test", pfs=pfs)) for pfs in (Pfs.NONE, Pfs.ALLOWED, Pfs.REQUIRED)] == [
        True,
        False,
        False,
    ]


@pytest.mark.parametrize(
    ("ciphers", "minimum", "expected"),
    [
        ((), TlsVersion.TLS1_2, False),
        (("ECDHE-RSA-AES128-GCM-SHA256",), TlsVersion.TLS1_2, True),
        (("ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES128-GCM-SHA256"), TlsVersion.TLS1_2, False),
        (("AES128-SHA",), TlsVersion.TLS1_0, True),
        (("AES128-SHA",), TlsVersion.TLS1_3, False),
    ],
)
def test_suites_for_rsa_alone_need_rsa(ciphers: tuple[str, ...], minimum: TlsVersion, *, expected: bool) -> None:
    assert needs_rsa(TlsProfile("test", minimum, ciphers=ciphers)) is expected
