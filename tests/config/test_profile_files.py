"""What TLS profiles name: loaded once, relative to the home, and told of where it is odd."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from smtpproxy.config.load import load_configuration
from smtpproxy.config.snapshot import pack, unpack
from smtpproxy.config.values import Configuration
from smtpproxy.policy.model import ClientCertificate, Pfs
from tests.pki import DAY, NOW, Pair, Wanted, make_leaf, make_root

POLICY = """\
policies:
  - {{name: Out, direction: {}, source: [10.0.0.0/8], proxy_action: Mine, upstream: {{host: a.test}}}}
"""


@pytest.fixture
def root(home: Path) -> Pair:
    root = make_root("Own Root")
    write(home, "certs/own.pem", root.pem)
    write(home, "certs/own.crl", revocation_list(root))
    client = make_leaf(root, Wanted(("gw.test",), purposes=(ExtendedKeyUsageOID.CLIENT_AUTH,)))
    write(home, "certs/client.pem", client.pem)
    write(home, "certs/client.key", client.key_pem)
    return root


def write(home: Path, name: str, octets: bytes) -> None:
    path = home / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(0o600)
    path.write_bytes(octets)


def revocation_list(issuer: Pair, days: int = 30) -> bytes:
    builder = x509.CertificateRevocationListBuilder(issuer.certificate.subject, NOW - 60 * DAY, NOW + days * DAY)
    return builder.sign(issuer.key, hashes.SHA256()).public_bytes(Encoding.PEM)


def load(home: Path, profile: str, direction: str = "outbound") -> Configuration:
    kind = "client" if direction == "outbound" else "server"
    action = f"kind: {kind}\ntls: {{profile: Mine}}\nstarttls: {{profile: Mine}}\n"
    write(home, "config/smtpproxy.yaml", POLICY.format(direction).encode())
    write(home, "config/proxy-actions/Mine.yaml", action.encode())
    write(home, "config/tls-profiles/Mine.yaml", profile.encode())
    return load_configuration(home / "config" / "smtpproxy.yaml")


def notices(home: Path, profile: str, direction: str = "outbound") -> list[str]:
    usual = ("port 465", "SPF and DNSBL")
    found = load(home, profile, direction).notices
    return [each.replace(f"{home}/config/", "") for each in found if not any(words in each for words in usual)]


EVERYTHING = """\
trusted: certs/own.pem
crl: [certs/own.crl]
client_certificate: {certificate: certs/client.pem, key: certs/client.key}
ciphers: ECDHE-ECDSA-AES256-SHA384:AES128-SHA:!aNULL
tls13_ciphers: [TLS_AES_256_GCM_SHA384]
pfs: required
"""


def test_every_key(home: Path, root: Pair) -> None:
    configuration = load(home, EVERYTHING)
    profile = configuration.policies[0].action.implicit_profile
    assert profile.ciphers == ("ECDHE-ECDSA-AES256-SHA384",)
    assert profile.tls13_ciphers == ("TLS_AES_256_GCM_SHA384",)
    assert (profile.trusted, profile.crl, profile.pfs) == ("certs/own.pem", ("certs/own.crl",), Pfs.REQUIRED)
    assert profile.client_certificate == ClientCertificate("certs/client.pem", "certs/client.key")
    (files,) = configuration.profiles.values()
    assert files.trust.source == str(home / "certs" / "own.pem")
    assert files.trust.listed == {root.certificate.subject.public_bytes()}
    assert files.shown is not None
    assert len(files.shown.certificates) == 1
    assert not any("Mine.yaml" in notice for notice in configuration.notices)


def test_a_profile_that_names_no_file_shares_the_gateways_authorities(home: Path) -> None:
    assert load(home, "pfs: required\n").profiles == {}


@pytest.mark.usefixtures("root")
def test_lists_go_with_the_gateways_authorities_as_well(home: Path) -> None:
    configuration = load(home, "crl: [certs/own.crl]\n")
    trust = configuration.profiles["Mine"].trust
    assert trust.authorities == configuration.certificates.trusted.authorities
    assert len(trust.lists) == 1


@pytest.mark.usefixtures("root")
@pytest.mark.parametrize(
    ("profile", "expected"),
    [
        ("client_certificate: {certificate: certs/client.pem, key: certs/client.key}", ""),
        (
            "client_certificate: {certificate: certs/proxy-server.pem, key: certs/proxy-server.key}",
            (
                "tls-profiles/Mine.yaml:1:21: client_certificate: its extended key usage does not allow it for a TLS "
                "client, so upstreams will refuse it"
            ),
        ),
        (
            'ciphers: AES128-SHA\nminimum_protocol: "tls1.3"',
            (
                "tls-profiles/Mine.yaml:1:10: ciphers: never used, since minimum_protocol: tls1.3 leaves out what they "
                "are of; see tls13_ciphers"
            ),
        ),
        (
            "tls13_ciphers: [TLS_AES_128_CCM_SHA256]\npfs: none",
            "tls-profiles/Mine.yaml:1:16: tls13_ciphers: never used, since pfs: none leaves out TLS 1.3",
        ),
        (
            "trusted: certs/own.pem\ncertificate_validation: off\ncrl: [certs/own.crl]",
            "tls-profiles/Mine.yaml:3:6: crl: upstreams are not looked for in it, since certificate_validation is off",
        ),
        (
            'minimum_protocol: "tls1.1"',
            (
                "smtpproxy.yaml:2:74: policies[0].proxy_action: in Mine TLS profile Mine is a legacy one: it takes "
                "TLS 1.1, which RFC 8996 forbids, and keys and digests of any strength; keep it to hosts that speak "
                "nothing newer"
            ),
        ),
    ],
)
def test_what_is_odd(home: Path, profile: str, expected: str) -> None:
    assert notices(home, profile) == ([expected] if expected else [])


def test_a_list_out_of_date(home: Path, root: Pair) -> None:
    write(home, "certs/old.crl", revocation_list(root, days=-1))
    (notice,) = notices(home, "trusted: certs/own.pem\ncrl:\n  - certs/own.crl\n  - certs/old.crl\n")
    assert notice.startswith("tls-profiles/Mine.yaml:4:5: crl[1]: certs/old.crl: valid only from ")


@pytest.mark.parametrize(
    ("ciphers", "expected"),
    [
        ("ECDHE+AESGCM", []),
        ("ECDHE+aRSA+AESGCM", ["have none for the ECDSA key of certificates.proxy_server[0]"]),
    ],
)
def test_suites_that_no_key_fits(home: Path, ciphers: str, expected: list[str]) -> None:
    found = notices(home, f"ciphers: {ciphers}\n", "inbound")
    assert len(found) == len(expected)
    for notice, words in zip(found, expected, strict=True):
        assert words in notice
    assert notices(home, f"ciphers: {ciphers}\n", "outbound") == []  # a leaf has the key that is needed


def test_a_legacy_profile_that_no_policy_uses_is_quiet(home: Path) -> None:
    write(home, "config/tls-profiles/Other.yaml", b'minimum_protocol: "tls1.0"\n')
    assert notices(home, "") == []


@pytest.mark.usefixtures("root")
def test_another_process_has_the_same_of_it(home: Path) -> None:
    configuration = load(home, EVERYTHING)
    copy = unpack(pack(configuration))
    assert copy == replace(
        configuration,
        embedded=None,
        metrics=None,
        control=None,
        notices=(),
        certificates=copy.certificates,
        profiles=copy.profiles,
    )
    (files,), (copied,) = configuration.profiles.values(), copy.profiles.values()
    assert repr(copied) == repr(files)
    assert copied.trust.authorities[0].digest("sha256") == files.trust.authorities[0].digest("sha256")
    assert [each.der for each in copied.trust.lists] == [each.der for each in files.trust.lists]
    assert copied.shown is not None
    assert files.shown is not None
    assert copied.shown.certificates == files.shown.certificates
    assert copied.shown.key.private_numbers() == files.shown.key.private_numbers()
    assert copy.certificates.proxy_authority == configuration.certificates.proxy_authority
    assert copy.certificates.proxy_server == configuration.certificates.proxy_server
