from __future__ import annotations

import os
import stat
import subprocess
from base64 import b64encode
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat

from smtpproxy.authority.create import create_authority
from smtpproxy.authority.credentials import (
    CredentialError,
    load_authority,
    load_credential,
    make_credential,
    save_credential,
)
from tests.pki import DAY, NOW, Pair, Wanted, make_intermediate, make_leaf, make_root


@dataclass(frozen=True)
class Files:
    """Where a test writes a certificate and its key."""

    certificate: Path
    key: Path

    def write(self, certificates: bytes, key: bytes) -> None:
        self.certificate.write_bytes(certificates)
        self.key.write_bytes(key)
        self.key.chmod(0o600)

    def put(self, pair: Pair) -> None:
        self.write(pair.pem, pair.key_pem)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path / "server.pem", tmp_path / "server.key")


def _armoured(der: bytes) -> bytes:
    body = b64encode(der).decode()
    return f"-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----\n".encode()


def problem(files: Files, now: datetime = NOW) -> CredentialError:
    with pytest.raises(CredentialError) as caught:
        load_credential(files.certificate, files.key, now)
    return caught.value


def test_a_chain_and_its_key_are_loaded(files: Files) -> None:
    pair = make_leaf(make_intermediate(make_root(), "Intermediate"))
    files.put(pair)
    credential = load_credential(files.certificate, files.key)
    assert credential.certificates == pair.chain
    assert credential.certificate == pair.certificate
    assert credential.key.private_numbers() == pair.key.private_numbers()
    assert credential.notices == ()


def test_both_may_stand_in_one_file(files: Files) -> None:
    pair = make_leaf(make_root())
    files.certificate.write_bytes(pair.key_pem + pair.pem)
    files.certificate.chmod(0o600)
    assert load_credential(files.certificate, files.certificate).certificates == pair.chain


def test_the_fingerprint_of_one_certificate_is_the_usual_one(files: Files) -> None:
    files.put(make_leaf(make_root()))
    command = ["openssl", "x509", "-in", str(files.certificate), "-noout", "-fingerprint", "-sha256"]
    shown = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    fingerprint = load_credential(files.certificate, files.key).fingerprint
    assert shown.strip().partition("=")[2].replace(":", "").lower() == fingerprint


def test_credentials_are_the_same_by_fingerprint_and_show_no_key() -> None:
    pair = make_leaf(make_root())
    one, two = make_credential(pair.chain, pair.key), make_credential(pair.chain, pair.key, ["a notice"])
    assert one == two
    assert hash(one) == hash(two)
    assert make_credential(make_root().chain, pair.key) != one
    assert "key" not in repr(one)
    assert "PrivateKey" not in repr(one)


def test_missing_files_are_named(files: Files) -> None:
    assert problem(files).path == files.certificate
    assert "does not exist" in problem(files).message
    files.certificate.write_bytes(make_leaf(None).pem)
    assert problem(files).path == files.key


def test_a_folder_is_no_file(files: Files) -> None:
    files.certificate.mkdir()
    assert "cannot be read: Is a directory" in problem(files).message


def test_a_device_without_end_is_not_read_to_the_end(files: Files) -> None:
    assert "so no certificate" in problem(Files(Path("/dev/zero"), files.key)).message


def test_no_certificate_in_the_file(files: Files) -> None:
    pair = make_leaf(None)
    files.write(pair.key_pem, pair.key_pem)
    assert "has no PEM certificate" in problem(files).message
    files.write(b"\xff\x00 not text", pair.key_pem)
    assert "has no PEM certificate" in problem(files).message


def test_a_damaged_certificate(files: Files) -> None:
    pair = make_leaf(None)
    files.write(pair.pem.replace(b"MII", b"AAA", 1), pair.key_pem)
    assert "damaged" in problem(files).message


def test_a_certificate_whose_extensions_are_damaged(files: Files) -> None:
    pair = make_leaf(None)
    der = pair.certificate.public_bytes(Encoding.DER).replace(b"mx.example.net", b"mx.example.n\xe9t")
    damaged = x509.load_der_x509_certificate(der)
    files.write(damaged.public_bytes(Encoding.PEM), pair.key_pem)
    assert "certificate 1: damaged" in problem(files).message


def test_no_key_in_the_file(files: Files) -> None:
    pair = make_leaf(None)
    files.write(pair.pem, pair.pem)
    found = problem(files)
    assert (found.path, "has no PEM private key" in found.message) == (files.key, True)


@pytest.mark.parametrize("number", ["p", "q", "d", "dmp1", "dmq1", "iqmp"])
def test_an_rsa_key_with_a_damaged_number(files: Files, number: str) -> None:
    key = rsa.generate_private_key(65537, 2048)
    pair = make_leaf(None, Wanted(key=key))
    octets = int(getattr(key.private_numbers(), number)).to_bytes(256).lstrip(b"\0")
    damaged = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()).replace(
        octets, octets[:-1] + bytes([octets[-1] ^ 2])
    )
    files.write(pair.pem, _armoured(damaged))
    found = problem(files)
    assert (found.path, "damaged" in found.message) == (files.key, True)


def test_an_encrypted_key(files: Files) -> None:
    pair = make_leaf(None)
    secret = pair.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    files.write(pair.pem, secret)
    assert "encrypted" in problem(files).message


def test_a_key_of_another_certificate(files: Files) -> None:
    files.write(make_leaf(None).pem, make_leaf(None).key_pem)
    found = problem(files)
    assert found.path == files.key
    assert f"does not belong to the certificate in {files.certificate}" in found.message


def test_a_key_of_another_kind(files: Files) -> None:
    secret = ed25519.Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    files.write(make_leaf(None).pem, secret)
    assert "not an RSA or ECDSA key" in problem(files).message


@pytest.mark.parametrize(
    ("key", "words"),
    [
        (rsa.generate_private_key(65537, 1024), "an RSA key of 1024 bits is too short"),  # noqa: S505  # on purpose
        (ec.generate_private_key(ec.SECP256K1()), "curve secp256k1 is not supported"),
    ],
)
def test_a_key_that_peers_refuse(files: Files, key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey, words: str) -> None:
    files.put(make_leaf(None, Wanted(key=key)))
    found = problem(files)
    assert found.path == files.certificate
    assert found.message.startswith(f"certificate 1: {words}")


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()])
def test_curves_that_peers_take(files: Files, curve: ec.EllipticCurve) -> None:
    pair = make_leaf(None, Wanted(key=ec.generate_private_key(curve)))
    files.put(pair)
    assert load_credential(files.certificate, files.key).certificates == pair.chain


def test_a_chain_out_of_order(files: Files) -> None:
    pair = make_leaf(make_intermediate(make_intermediate(make_root(), "One"), "Two"))
    swapped = Pair(pair.certificate, pair.key, tuple(reversed(pair.issuers)))
    files.put(swapped)
    assert "certificate 1 is not signed by certificate 2" in problem(files).message


def test_an_issuer_of_the_same_name_is_not_the_issuer(files: Files) -> None:
    pair = make_leaf(make_root("Same Name"))
    files.put(Pair(pair.certificate, pair.key, (make_root("Same Name").certificate,)))
    assert "certificate 1 is not signed by certificate 2" in problem(files).message


def chain_of(length: int, names: tuple[str, ...] = ()) -> Pair:
    signer = make_root()
    for number in range(length - 1):
        signer = make_intermediate(signer, f"Link {number}")
    return make_leaf(signer, Wanted(names=("mx.example.net", *names)))


def test_the_longest_chain(files: Files) -> None:
    files.put(chain_of(10))
    assert len(load_credential(files.certificate, files.key).certificates) == 10
    files.put(chain_of(11))
    assert "has 11 certificates, at most 10" in problem(files).message


def test_a_chain_of_too_many_octets(files: Files) -> None:
    files.put(chain_of(2, tuple(f"host{number}.a-rather-long-name.example.net" for number in range(900))))
    assert "at most 32768" in problem(files).message


def test_a_sha1_signature(files: Files) -> None:
    files.put(make_leaf(None))
    sha1 = files.certificate.with_name("sha1.pem")
    root = make_root()
    for name, octets in (("root.pem", root.pem), ("root.key", root.key_pem)):
        files.certificate.with_name(name).write_bytes(octets)
    command = "openssl x509 -in server.pem -CA root.pem -CAkey root.key -set_serial 7 -sha1 -days 9 -out sha1.pem"
    subprocess.run(command.split(), cwd=files.certificate.parent, check=True, capture_output=True)
    assert "signed with SHA1" in problem(Files(sha1, files.key)).message


def test_what_works_but_should_be_heard_of(files: Files) -> None:
    files.put(make_leaf(make_root(), Wanted(not_before=NOW - 2 * DAY, not_after=NOW - DAY)))
    files.key.chmod(0o644)
    mode, dates = load_credential(files.certificate, files.key, NOW).notices
    assert f"{files.key}: mode 0644" in mode
    assert f"{files.certificate}: valid only from {NOW - 2 * DAY:%Y-%m-%d}" in dates


def test_a_group_that_owns_keys_is_common_practice(files: Files) -> None:
    files.put(make_leaf(None))
    files.key.chmod(0o640)
    assert load_credential(files.certificate, files.key).notices == ()


def test_an_authority_is_loaded(files: Files) -> None:
    files.put(make_root())
    assert load_authority(files.certificate, files.key).notices == ()


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        (Wanted(), "CA:FALSE"),
        (Wanted((), "Old", not_after=NOW - DAY / 24, authority=True), "renew the authority"),
        (Wanted((), "Early", not_before=NOW + DAY, authority=True), "renew the authority"),
    ],
)
def test_what_is_no_authority(files: Files, wanted: Wanted, words: str) -> None:
    files.put(make_root(wanted=wanted))
    with pytest.raises(CredentialError, match=words) as caught:
        load_authority(files.certificate, files.key, NOW)
    assert caught.value.path == files.certificate


@pytest.mark.parametrize(
    ("extensions", "words"),
    [
        ("keyUsage = cRLSign\nsubjectKeyIdentifier = hash\nbasicConstraints = CA:TRUE", "lacks keyCertSign"),
        ("subjectKeyIdentifier = hash\nbasicConstraints = CA:TRUE", "lacks the extension keyUsage"),
        ("keyUsage = keyCertSign\nsubjectKeyIdentifier = none\nbasicConstraints = CA:TRUE", "subjectKeyIdentifier"),
        ("keyUsage = keyCertSign\nsubjectKeyIdentifier = hash", "lacks the extension basicConstraints"),
    ],
)
def test_an_authority_that_lacks_an_extension(files: Files, extensions: str, words: str) -> None:
    folder = files.certificate.parent
    (folder / "config").write_text(f"[req]\ndistinguished_name = dn\n[dn]\n[ext]\n{extensions}\n")
    command = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=x -days 9 -config config"
        " -extensions ext -keyout server.key -out server.pem"
    )
    subprocess.run(command.split(), cwd=folder, check=True, capture_output=True)
    with pytest.raises(CredentialError, match=words):
        load_authority(files.certificate, files.key)


def test_what_is_saved_can_be_loaded_and_is_private(files: Files) -> None:
    credential = create_authority("Test", NOW)
    umask = os.umask(0)
    try:
        save_credential(credential, files.certificate, files.key)
    finally:
        os.umask(umask)
    assert load_authority(files.certificate, files.key) == credential
    assert stat.S_IMODE(files.key.stat().st_mode) == 0o600
    assert stat.S_IMODE(files.certificate.stat().st_mode) == 0o644
    assert sorted(each.name for each in files.key.parent.iterdir()) == ["server.key", "server.pem"]


@pytest.mark.parametrize("taken", ["server.pem", "server.key"])
def test_nothing_is_overwritten_unasked(files: Files, taken: str) -> None:
    path = files.key.with_name(taken)
    path.write_text("precious")
    with pytest.raises(CredentialError, match="exists already") as caught:
        save_credential(create_authority("Test", NOW), files.certificate, files.key)
    assert caught.value.path == path
    assert [each.read_text() for each in files.key.parent.iterdir()] == ["precious"]


def test_a_dangling_link_is_not_followed(files: Files) -> None:
    files.key.symlink_to(files.key.with_name("elsewhere"))
    with pytest.raises(CredentialError, match="File exists"):
        save_credential(create_authority("Test", NOW), files.certificate, files.key)
    assert [each.name for each in files.key.parent.iterdir()] == ["server.key"]


def test_overwriting_when_asked(files: Files) -> None:
    files.put(make_root())
    files.key.chmod(0o644)
    credential = create_authority("Test", NOW)
    save_credential(credential, files.certificate, files.key, replace=True)
    assert load_authority(files.certificate, files.key) == credential
    assert stat.S_IMODE(files.key.stat().st_mode) == 0o600


def test_a_folder_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(CredentialError, match="cannot be written: No such file"):
        save_credential(create_authority("Test", NOW), tmp_path / "none" / "a.pem", tmp_path / "none" / "a.key")
