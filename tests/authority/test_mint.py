from __future__ import annotations

import itertools
import shutil
import socket
import subprocess
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID
from OpenSSL import SSL

from smtpproxy.authority.create import create_authority
from smtpproxy.authority.credentials import Credential, make_credential
from smtpproxy.authority.mint import LeafKeys, Mint, make_leaf_keys
from smtpproxy.policy.certificates import Leaf, LeafKey, Signer
from smtpproxy.policy.model import Pfs, TlsProfile
from smtpproxy.tls.facts import PeerCertificate
from smtpproxy.transport.contexts import Contexts
from smtpproxy.transport.verification import parse_peer_certificate
from tests.authority.read import read
from tests.handshakes import plain_client, shake
from tests.pki import DAY, NOW, Wanted, make_intermediate, make_leaf, make_root

HOUR = timedelta(hours=1)
SECOND = timedelta(seconds=1)


@pytest.fixture(scope="module")
def keys() -> LeafKeys:
    return make_leaf_keys()


@pytest.fixture(scope="module")
def proxy_authority() -> Credential:
    return create_authority("Proxy Authority", NOW)


@pytest.fixture(scope="module")
def untrusted_authority() -> Credential:
    return create_authority("Untrusted Authority", NOW)


@pytest.fixture
def mint(proxy_authority: Credential, untrusted_authority: Credential, keys: LeafKeys) -> Mint:
    return Mint(proxy_authority, untrusted_authority, keys)


def upstream(wanted: Wanted | None = None) -> PeerCertificate:
    return parse_peer_certificate(make_leaf(None, wanted).certificate.public_bytes(Encoding.DER))


def trusted(certificate: PeerCertificate | None = None, name: str = "mx.example.net") -> Leaf:
    return Leaf(Signer.PROXY_AUTHORITY, LeafKey.ECDSA, certificate, name)


def test_a_leaf_read_back(mint: Mint, proxy_authority: Credential) -> None:
    leaf = mint.leaf(trusted(upstream()), NOW).certificate
    found = read(leaf)
    assert found.flags == [
        ("basicConstraints", True, "CA:FALSE"),
        ("keyUsage", True, "digital_signature"),
        ("extendedKeyUsage", False, ExtendedKeyUsageOID.SERVER_AUTH.dotted_string),
        ("subjectKeyIdentifier", False, found.key_identifier),
        ("authorityKeyIdentifier", False, read(proxy_authority.certificate).key_identifier),
        ("subjectAltName", False, ""),
    ]
    assert (found.subject, found.issuer) == ("CN=mx.example.net", "CN=Proxy Authority")
    assert (found.not_before, found.not_after) == (NOW - HOUR, NOW - HOUR + 7 * DAY - SECOND)
    leaf.verify_directly_issued_by(proxy_authority.certificate)


def test_an_rsa_leaf_may_decrypt_the_key_exchange(mint: Mint) -> None:
    found = read(mint.leaf(replace(trusted(upstream()), key=LeafKey.RSA), NOW).certificate)
    assert ("keyUsage", True, "digital_signature, key_encipherment") in found.flags


def test_names_are_copied_verbatim_and_in_order(mint: Mint) -> None:
    email = x509.RFC822Name("postmaster@example.net")
    names = ("MX.Example.net", "192.0.2.1", "*.example.net", "2001:db8::1", "m_x.example.net", "partial*.example.net")
    leaf = mint.leaf(trusted(upstream(Wanted(names=names, extra_names=(email,)))), NOW)
    assert read(leaf.certificate).names == [
        x509.DNSName("MX.Example.net"),
        x509.IPAddress(ip_address("192.0.2.1")),
        x509.DNSName("*.example.net"),
        x509.IPAddress(ip_address("2001:db8::1")),
        x509.DNSName("m_x.example.net"),
        x509.DNSName("partial*.example.net"),
    ]


def test_no_name_is_added_that_upstream_does_not_have(mint: Mint) -> None:
    leaf = mint.leaf(trusted(upstream(Wanted(names=()))), NOW)
    found = read(leaf.certificate)
    assert (found.names, found.subject) == ([], "CN=mx.example.net")


def test_an_upstream_that_names_itself_nowhere(mint: Mint) -> None:
    leaf = mint.leaf(trusted(upstream(Wanted(names=(), common_name=None))), NOW)
    found = read(leaf.certificate)
    assert (found.names, found.subject) == ([], "O=server without a name")


def test_names_without_a_subject_are_critical(mint: Mint) -> None:
    found = read(mint.leaf(trusted(upstream(Wanted(common_name=None))), NOW).certificate)
    assert found.subject == ""
    assert ("subjectAltName", True, "") in found.flags


def test_a_certificate_that_cannot_be_parsed_has_no_names(mint: Mint) -> None:
    peer = replace(upstream(), der=b"no certificate", fingerprint="damaged")
    assert read(mint.leaf(trusted(peer), NOW).certificate).subject == "O=server without a name"
    der = upstream().der.replace(b"mx.example.net", b"mx.example.n\xe9t")
    found = read(mint.leaf(trusted(parse_peer_certificate(der)), NOW).certificate)
    assert found.names == []


@pytest.mark.parametrize(
    ("name", "names"),
    [
        ("mx.example.net", [x509.DNSName("mx.example.net")]),
        ("MX.Example.net.", [x509.DNSName("mx.example.net")]),
        ("192.0.2.1", [x509.IPAddress(ip_address("192.0.2.1"))]),
        ("not a name", []),
    ],
)
def test_without_a_certificate_the_one_name_is_certified(mint: Mint, name: str, names: list[x509.GeneralName]) -> None:
    leaf = mint.leaf(Leaf(Signer.UNTRUSTED_AUTHORITY, LeafKey.ECDSA, None, name), NOW)
    assert read(leaf.certificate).names == names


def test_the_untrusted_authority_signs_what_it_should(mint: Mint, untrusted_authority: Credential) -> None:
    leaf = mint.leaf(Leaf(Signer.UNTRUSTED_AUTHORITY, LeafKey.ECDSA, upstream(), "mx.example.net"), NOW)
    leaf.certificate.verify_directly_issued_by(untrusted_authority.certificate)
    assert read(leaf.certificate).issuer == "CN=Untrusted Authority"


def test_the_processs_keys_are_used(mint: Mint, keys: LeafKeys) -> None:
    peer = upstream()
    ecdsa = mint.leaf(trusted(peer), NOW)
    other = mint.leaf(replace(trusted(peer), key=LeafKey.RSA), NOW)
    assert (ecdsa.key, other.key) == (keys.ecdsa, keys.rsa)
    assert ecdsa.certificate.public_key() == keys.ecdsa.public_key()
    assert other.certificate.public_key() == keys.rsa.public_key()
    assert keys.rsa.key_size == 2048


@pytest.mark.parametrize("days", [1, 3, 6])
def test_a_leaf_does_not_outlive_upstreams_certificate(mint: Mint, days: int) -> None:
    leaf = mint.leaf(trusted(upstream(Wanted(not_after=NOW + days * DAY))), NOW)
    assert read(leaf.certificate).not_after == NOW + days * DAY


def test_an_expired_upstream_gives_a_leaf_that_is_in_date(mint: Mint) -> None:
    leaf = mint.leaf(trusted(upstream(Wanted(not_after=NOW - SECOND))), NOW)
    assert read(leaf.certificate).not_after == NOW - HOUR + 7 * DAY - SECOND


def test_a_leaf_does_not_outlive_its_authority(untrusted_authority: Credential, keys: LeafKeys) -> None:
    mint = Mint(create_authority("Short", NOW, days=2), untrusted_authority, keys)
    assert read(mint.leaf(trusted(upstream()), NOW).certificate).not_after == NOW + 2 * DAY


def test_a_leaf_is_minted_once_for_each_certificate_signer_and_key(mint: Mint) -> None:
    one, two = upstream(), upstream()
    wanted = [
        Leaf(signer, key, certificate, name)
        for signer, key, certificate in itertools.product(Signer, LeafKey, [one, two])
        for name in ["mx.example.net"]
    ]
    first = [mint.leaf(leaf, NOW) for leaf in wanted]
    assert len({credential.fingerprint for credential in first}) == 8
    assert all(mint.leaf(leaf, NOW) is credential for leaf, credential in zip(wanted, first, strict=True))
    assert len({credential.certificate.serial_number for credential in first}) == 8


def test_the_name_asked_for_does_not_matter_where_a_certificate_is_copied(mint: Mint) -> None:
    peer = upstream()
    assert mint.leaf(trusted(peer, "a.example"), NOW) is mint.leaf(trusted(peer, "b.example"), NOW)


def test_a_name_alone_is_cached_by_itself(mint: Mint) -> None:
    first = mint.leaf(trusted(name="mx.example.net"), NOW)
    assert mint.leaf(trusted(name="MX.example.net"), NOW) is first
    assert mint.leaf(trusted(name="mx.example.org"), NOW) is not first


def test_a_name_is_never_taken_for_a_fingerprint(mint: Mint) -> None:
    peer = upstream()
    assert mint.leaf(trusted(name=peer.fingerprint), NOW) is not mint.leaf(trusted(peer), NOW)


def test_half_of_its_life_before_the_end_a_leaf_is_minted_anew(mint: Mint) -> None:
    leaf = trusted(upstream())
    first = mint.leaf(leaf, NOW)
    assert mint.leaf(leaf, NOW + 3 * DAY) is first
    second = mint.leaf(leaf, NOW + 4 * DAY)
    assert second is not first
    assert read(second.certificate).not_after == NOW - HOUR + 11 * DAY - SECOND


def test_a_leaf_that_ends_with_upstreams_certificate_is_kept_to_its_end(mint: Mint) -> None:
    leaf = trusted(upstream(Wanted(not_after=NOW + DAY)))
    first = mint.leaf(leaf, NOW)
    assert mint.leaf(leaf, NOW + DAY - SECOND) is first
    assert mint.leaf(leaf, NOW + DAY) is not first


def test_no_more_leaves_are_kept_than_the_limit(mint: Mint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("smtpproxy.authority.mint.MAX_LEAVES", 2)
    small = Mint(mint.authorities[Signer.PROXY_AUTHORITY], mint.authorities[Signer.UNTRUSTED_AUTHORITY], mint._keys)
    first = small.leaf(trusted(name="a.example"), NOW)
    small.leaf(trusted(name="b.example"), NOW)
    small.leaf(trusted(name="c.example"), NOW)
    assert small.leaf(trusted(name="a.example"), NOW) is not first


def test_a_certificate_of_many_names_is_not_kept(mint: Mint) -> None:
    names = tuple(f"host{number}.example.net" for number in range(500))
    leaf = trusted(upstream(Wanted(names=names)))
    first = mint.leaf(leaf, NOW)
    assert len(read(first.certificate).names) == 500
    assert mint.leaf(leaf, NOW) is not first


def test_a_huge_certificate_lends_no_names(mint: Mint) -> None:
    names = tuple(f"host{number}.a-rather-long-name.example.net" for number in range(1000))
    assert read(mint.leaf(trusted(upstream(Wanted(names=names))), NOW).certificate).names == []


def test_the_root_is_not_sent_but_an_intermediate_is(untrusted_authority: Credential, keys: LeafKeys) -> None:
    root = make_root()
    pair = make_intermediate(root, "Intermediate Proxy Authority", path_length=0)
    authority = make_credential([pair.certificate, root.certificate], pair.key)
    leaf = Mint(authority, untrusted_authority, keys).leaf(trusted(upstream()), NOW)
    assert leaf.certificates[1:] == (pair.certificate,)
    leaf.certificate.verify_directly_issued_by(pair.certificate)


@pytest.mark.parametrize(
    ("key", "algorithm"),
    [
        (ec.generate_private_key(ec.SECP384R1()), "ecdsa-with-SHA384"),
        (ec.generate_private_key(ec.SECP521R1()), "ecdsa-with-SHA512"),
        (rsa.generate_private_key(65537, 2048), "sha256WithRSAEncryption"),
    ],
)
def test_authorities_with_other_keys_sign_too(
    untrusted_authority: Credential,
    keys: LeafKeys,
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey,
    algorithm: str,
) -> None:
    pair = make_root(wanted=Wanted((), "Other", key=key, authority=True, purposes=()))
    mint = Mint(make_credential(pair.chain, pair.key), untrusted_authority, keys)
    leaf = mint.leaf(trusted(upstream()), NOW).certificate
    leaf.verify_directly_issued_by(pair.certificate)
    assert leaf.signature_algorithm_oid._name == algorithm


def test_what_a_client_gets_in_a_handshake(mint: Mint, proxy_authority: Credential) -> None:
    minted = mint.leaf(trusted(upstream()), NOW)
    context = Contexts().server(TlsProfile("test"), minted.certificates, minted.key, minted.fingerprint)
    outcome = shake(context, plain_client())
    shown = outcome.client.connection.get_peer_cert_chain(as_cryptography=True)
    assert shown is not None
    assert tuple(shown) == minted.certificates
    shown[0].verify_directly_issued_by(proxy_authority.certificate)


@pytest.mark.parametrize("key", list(LeafKey), ids=lambda key: key.value)
@pytest.mark.parametrize(
    ("wanted", "name"),
    [
        (Wanted(), "mx.example.net"),
        (Wanted(names=("*.example.net",), common_name=None), "mx.example.net"),
        (Wanted(names=("mx.example.net",), not_after=NOW - DAY), "mx.example.net"),
    ],
    ids=["plain", "wildcard without subject", "expired"],
)
def test_openssl_verifies_the_leaf_strictly(
    mint: Mint, proxy_authority: Credential, tmp_path: Path, wanted: Wanted, name: str, key: LeafKey
) -> None:
    minted = mint.leaf(replace(trusted(upstream(wanted)), key=key), NOW)
    assert s_client(minted, proxy_authority, name, tmp_path) == "Verify return code: 0 (ok)"


def test_openssl_refuses_another_name_and_the_other_authority(
    mint: Mint, proxy_authority: Credential, untrusted_authority: Credential, tmp_path: Path
) -> None:
    minted = mint.leaf(trusted(upstream()), NOW)
    assert "hostname mismatch" in s_client(minted, proxy_authority, "mx.example.org", tmp_path)
    assert "unable to verify the first certificate" in s_client(minted, untrusted_authority, "mx.example.net", tmp_path)


def s_client(shown: Credential, trusted_root: Credential, name: str, folder: Path) -> str:
    """Return what the system's openssl says of the certificate that a context of ours shows."""
    (folder / "root.pem").write_bytes(trusted_root.certificate.public_bytes(Encoding.PEM))
    context = Contexts().server(TlsProfile("test"), shown.certificates, shown.key, shown.fingerprint)
    options = ["-x509_strict", "-verify_hostname", name, "-servername", name, "-CAfile", str(folder / "root.pem")]
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(10)
        target = f"127.0.0.1:{listener.getsockname()[1]}"
        with subprocess.Popen(
            ["openssl", "s_client", "-connect", target, *options],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        ) as client:
            accepted = listener.accept()[0]
            connection = SSL.Connection(context, accepted)
            connection.set_accept_state()
            connection.do_handshake()
            output = client.communicate(timeout=10)[0]
            accepted.close()
    return next(line.strip() for line in output.splitlines() if "Verify return code" in line)


@pytest.mark.skipif(shutil.which("gnutls-cli") is None, reason="gnutls-cli is not installed")
def test_gnutls_takes_an_rsa_leaf_without_forward_secrecy(
    mint: Mint, proxy_authority: Credential, tmp_path: Path
) -> None:
    minted = mint.leaf(replace(trusted(upstream()), key=LeafKey.RSA), NOW)
    output = gnutls_client(minted, proxy_authority, "mx.example.net", tmp_path)
    assert "Description: (TLS1.2-X.509)-(RSA)-(AES-" in output
    assert "Handshake was completed" in output


def gnutls_client(shown: Credential, trusted_root: Credential, name: str, folder: Path) -> str:
    """Return what gnutls-cli says of a handshake with a context of ours that has no forward secrecy."""
    (folder / "root.pem").write_bytes(trusted_root.certificate.public_bytes(Encoding.PEM))
    profile = TlsProfile("test", pfs=Pfs.NONE)
    context = Contexts().server(profile, shown.certificates, shown.key, shown.fingerprint)
    options = ["--x509cafile", str(folder / "root.pem"), "--verify-hostname", name, "--sni-hostname", name]
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(10)
        port = listener.getsockname()[1]
        with subprocess.Popen(
            ["gnutls-cli", *options, "--port", str(port), "127.0.0.1"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as client:
            accepted = listener.accept()[0]
            connection = SSL.Connection(context, accepted)
            connection.set_accept_state()
            with suppress(SSL.Error):  # what the client says of it is what counts
                connection.do_handshake()
            accepted.close()
            return client.communicate(timeout=10)[0]
