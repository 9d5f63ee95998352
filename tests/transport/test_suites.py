from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from OpenSSL import SSL, crypto

from smtpproxy.policy.model import Pfs, TlsProfile
from smtpproxy.tls.facts import TlsReason, TlsVersion
from smtpproxy.transport.contexts import Contexts
from smtpproxy.transport.suites import SuiteError, expand_suites
from smtpproxy.transport.trust import TrustStore
from smtpproxy.transport.verification import facts_of
from tests.handshakes import plain_client, plain_server, shake
from tests.pki import Pair, Wanted, make_leaf

MODERN, OLD = TlsVersion.TLS1_2, TlsVersion.TLS1_0
NOBODY = TrustStore((), "")

INTERMEDIATE = (
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:"
    "ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305:"
    "DHE-RSA-AES128-GCM-SHA256:DHE-RSA-AES256-GCM-SHA384:DHE-RSA-CHACHA20-POLY1305"
)


@pytest.fixture(scope="module")
def leaf() -> Pair:
    return make_leaf(None)


@pytest.mark.parametrize(
    ("text", "pfs", "expected"),
    [
        (INTERMEDIATE, Pfs.ALLOWED, INTERMEDIATE.split(":")),
        ("ECDHE+AES256:!AESGCM:!SHA384:!SHA", Pfs.ALLOWED, ["ECDHE-ECDSA-AES256-CCM", "ECDHE-ECDSA-AES256-CCM8"]),
        ("AES128-SHA, ECDHE-RSA-AES128-SHA", Pfs.ALLOWED, ["AES128-SHA", "ECDHE-RSA-AES128-SHA"]),
        ("AES128-SHA ECDHE-RSA-AES128-SHA", Pfs.REQUIRED, ["ECDHE-RSA-AES128-SHA"]),
        ("AES128-SHA;ECDHE-RSA-AES128-SHA", Pfs.NONE, ["AES128-SHA"]),
        ("AES128-SHA:ADH-AES128-SHA:NULL-SHA:PSK-AES128-CBC-SHA", Pfs.ALLOWED, ["AES128-SHA"]),
        ("AES128-SHA:AES256-SHA:+AES128", Pfs.ALLOWED, ["AES256-SHA", "AES128-SHA"]),
        ("AES128-SHA:AES256-SHA:@STRENGTH", Pfs.ALLOWED, ["AES256-SHA", "AES128-SHA"]),
        ("AES128-SHA:@SECLEVEL=2:!3DES:!RC4:!EXPORT", Pfs.ALLOWED, ["AES128-SHA"]),
    ],
)
def test_what_a_cipher_string_stands_for(text: str, pfs: Pfs, expected: list[str]) -> None:
    assert list(expand_suites(text, MODERN, pfs)) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no suite is left"),
        (":", "no suite is left"),
        ("AES128-SHA:AES999", "'AES999' stands for no suite"),
        ("AES128-SHA:ECDHE+NONE", r"'ECDHE\+NONE' stands for no suite"),
        ("AES128-SHA:-AES999", "'-AES999' names no suite"),
        ("RC4", "'RC4' stands for no suite"),
        ("aNULL", "no suite is left"),
        ("PSK:SRP", "no suite is left"),
        ("AES128-SHA:!AES128", "no suite is left"),
        ("TLS_AES_128_GCM_SHA256", "is a suite of TLS 1.3"),
        ("AES128-SHA:@SECLEVEL=0", "@SECLEVEL=0 cannot be had: the level is 2"),
        ("AES128-SHA:@SECLEVEL=5", "@SECLEVEL=5 cannot be had: the level is 2"),
        ("AES128-SHA:@SECLEVEL=12", "only @STRENGTH is known"),
        ("AES128-SHA:@WEAKNESS", "only @STRENGTH is known"),
        ("DHE-RSA-AES128-SHA", "only DHE is left"),
        ("\u00e4", "stands for no suite"),
    ],
)
def test_what_is_refused(text: str, message: str) -> None:
    with pytest.raises(SuiteError, match=message):
        expand_suites(text, MODERN, Pfs.ALLOWED)


def test_a_legacy_profile_has_level_0_and_no_other() -> None:
    assert expand_suites("AES128-SHA:@SECLEVEL=0", OLD, Pfs.ALLOWED) == ("AES128-SHA",)
    with pytest.raises(SuiteError, match="the level is 0"):
        expand_suites("AES128-SHA:@SECLEVEL=2", OLD, Pfs.ALLOWED)


def test_both_legs_take_the_suites_of_a_profile_and_no_other(leaf: Pair) -> None:
    suite = "ECDHE-ECDSA-AES256-SHA384"
    profile = TlsProfile("test", ciphers=(suite,))
    client, server = Contexts().client(profile, NOBODY), Contexts().server(profile, leaf.chain, leaf.key, "leaf")
    for theirs, expected in (("ALL:@SECLEVEL=0", True), ("ECDHE+AESGCM", False)):
        upstream = plain_server(leaf, theirs)
        upstream.set_max_proto_version(SSL.TLS1_2_VERSION)
        met = [shake(upstream, client), shake(server, plain_client(theirs, highest=SSL.TLS1_2_VERSION))]
        assert [outcome.done for outcome in met] == [expected] * 2
        if expected:
            assert {outcome.client.connection.get_cipher_name() for outcome in met} == {suite}


def test_the_suites_of_tls13_are_those_of_the_profile(leaf: Pair) -> None:
    profile = TlsProfile("test", tls13_ciphers=("TLS_CHACHA20_POLY1305_SHA256",))
    client, server = Contexts().client(profile, NOBODY), Contexts().server(profile, leaf.chain, leaf.key, "leaf")
    met = [shake(plain_server(leaf), client), shake(server, plain_client())]
    assert {outcome.client.connection.get_cipher_name() for outcome in met} == {"TLS_CHACHA20_POLY1305_SHA256"}


@pytest.mark.parametrize(("minimum", "takes_it"), [(MODERN, False), (OLD, True)])
def test_the_level_is_that_of_the_minimum(minimum: TlsVersion, *, takes_it: bool) -> None:
    """Level 2 finds an RSA key of 1,024 bits too weak."""
    profile = TlsProfile("test", minimum, ciphers=expand_suites("ECDHE+AESGCM", minimum, Pfs.ALLOWED))
    weak = make_leaf(None, Wanted(key=rsa.generate_private_key(65537, 1024)))  # noqa: S505
    trust = TrustStore((crypto.X509.from_cryptography(weak.certificate),), "test")
    outcome = shake(plain_server(weak), Contexts().client(profile, trust))
    reason = facts_of(outcome.client.connection, None).reason
    assert (reason is not TlsReason.CERTIFICATE_TOO_WEAK) is takes_it
