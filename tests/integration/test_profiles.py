"""TLS profiles on real sockets: their own authorities, revocation lists, suites and certificates, on both legs."""

from __future__ import annotations

import contextlib
import smtplib
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from tests.integration.lab.client import MODES, Mode, connect, send_stuffed
from tests.integration.lab.gateway import Gateway, Setup
from tests.integration.lab.laboratory import UPSTREAM_NAMES
from tests.integration.lab.ports import wait_until
from tests.pki import DAY, NOW, Pair, Wanted, make_leaf, make_root

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.integration.lab.laboratory import Lab
    from tests.integration.lab.recorder import RecordingUpstream

VERSIONS = {"TLSv1.2": ssl.TLSVersion.TLSv1_2, "TLSv1.3": ssl.TLSVersion.TLSv1_3}
each_version = pytest.mark.parametrize("version", VERSIONS)
each_mode = pytest.mark.parametrize("mode", MODES)
each_port = pytest.mark.parametrize("mode", ["clear", "smtps"])
REQUIRED = ({"name": "required", "sender": "optional", "recipient": "required"},)
VERIFIED_SENDER = ({"name": "partners", "sender": "verified", "recipient": "preferred"},)


class Pki:
    """An authority of its own: servers that it revoked or not, and clients; all as files."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._root = make_root("Own Root")
        self.root = self._write("root", self._root.pem)
        self.good, self.revoked = (self._pair(name, UPSTREAM_NAMES) for name in ("good", "revoked"))
        self.client = self._pair("client", ("client.test",), purpose=ExtendedKeyUsageOID.CLIENT_AUTH)
        self.strange_client = self._pair("strange", ("client.test",), signer=make_root("Strange Root"))
        self.lists = self._write("lists", self._list(self._serial_number))
        self.revoking_nobody = self._list()

    def server(self, pair: Path) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pair)
        return context

    def asking_server(self, version: str, mode: ssl.VerifyMode = ssl.CERT_REQUIRED) -> ssl.SSLContext:
        """Return an upstream's context that asks for a certificate of this authority."""
        context = self.server(self.good)
        context.maximum_version = VERSIONS[version]
        context.verify_mode = mode
        context.load_verify_locations(self.root)
        return context

    def profile(self, **keys: object) -> Mapping[str, Any]:
        return {"trusted": str(self.root), **keys}

    def _pair(
        self,
        name: str,
        names: tuple[str, ...],
        purpose: x509.ObjectIdentifier = ExtendedKeyUsageOID.SERVER_AUTH,
        signer: Pair | None = None,
    ) -> Path:
        pair = make_leaf(signer or self._root, Wanted(names, names[0], purposes=(purpose,)))
        if name == "revoked":
            self._serial_number = pair.certificate.serial_number
        return self._write(name, pair.pem + pair.key_pem)

    def _write(self, name: str, octets: bytes) -> Path:
        path = self._folder / f"{name}.pem"
        path.touch(0o600)
        path.write_bytes(octets)
        return path

    def _list(self, *serial_numbers: int) -> bytes:
        builder = x509.CertificateRevocationListBuilder(self._root.certificate.subject, NOW - DAY, NOW + 30 * DAY)
        for number in serial_numbers:
            builder = builder.add_revoked_certificate(x509.RevokedCertificateBuilder(number, NOW - DAY).build())
        key = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._root.key.public_key())
        made = builder.add_extension(key, critical=False).sign(self._root.key, hashes.SHA256())
        return made.public_bytes(Encoding.DER)


@pytest.fixture(scope="session")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return Pki(tmp_path_factory.mktemp("pki"))


def serve(lab: Lab, context: ssl.SSLContext) -> RecordingUpstream:
    recorder = lab.recorder()
    recorder.begin(context)
    return recorder


def session_record(gateway: Gateway) -> dict[str, Any]:
    def found() -> list[dict[str, Any]]:
        return [document for document in gateway.records if document["record"] == "session"]

    wait_until(lambda: len(found()) == 1, "the session has ended")
    return found()[0]


def anything() -> ssl.SSLContext:
    """Return a client's context that takes any certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def send(gateway: Gateway, mode: Mode, context: ssl.SSLContext | None = None) -> tuple[int, bytes]:
    with connect(gateway, mode, context or anything()) as client:
        return send_stuffed(client, b"hello\r\n")


def refused(gateway: Gateway, mode: Mode, context: ssl.SSLContext | None = None) -> tuple[int, bytes]:
    """Return what the message is refused with, at RCPT or before."""
    try:
        with connect(gateway, mode, context or anything()) as client:
            replies = client.mail("a@client.test"), client.rcpt("b@upstream.test")
            return next(reply for reply in replies if reply[0] != 250)
    except smtplib.SMTPConnectError as error:
        return error.smtp_code, error.smtp_error if isinstance(error.smtp_error, bytes) else error.smtp_error.encode()


# Authorities and revocation lists


def test_a_profile_has_authorities_of_its_own(lab: Lab, pki: Pki) -> None:
    recorder = serve(lab, pki.server(pki.good))
    gateway = lab.gateway(recorder, Setup(profile=pki.profile()))
    assert send(gateway, "starttls", lab.trusting_proxy)[0] == 250
    assert session_record(gateway)["upstream_tls"]["verified"] == "trusted"
    recorder.begin(lab.server_context(lab.authorities.internet))
    gateway.begin()
    assert send(gateway, "clear")[0] == 250
    assert session_record(gateway)["upstream_tls"]["reason"] == "certificate-not-trusted"


@each_mode
def test_under_audit_a_revoked_server_is_on_record_and_its_leaf_untrusted(lab: Lab, pki: Pki, mode: Mode) -> None:
    recorder = serve(lab, pki.server(pki.revoked))
    gateway = lab.gateway(recorder, Setup(profile=pki.profile(crl=[str(pki.lists)])))
    assert send(gateway, mode)[0] == 250
    tls = session_record(gateway)["upstream_tls"]
    assert (tls["verified"], tls["reason"]) == ("untrusted", "certificate-revoked")
    if mode != "clear":
        with pytest.raises(ssl.SSLCertVerificationError):
            connect(gateway, mode, lab.trusting_proxy)


def test_a_reload_takes_a_list_that_was_renewed(lab: Lab, pki: Pki, tmp_path: Path) -> None:
    lists = tmp_path / "lists"
    lists.write_bytes(pki.revoking_nobody)
    gateway = lab.doomed_gateway(serve(lab, pki.server(pki.revoked)), Setup(profile=pki.profile(crl=[str(lists)])))
    with contextlib.closing(gateway):
        assert send(gateway, "clear")[0] == 250
        assert session_record(gateway)["upstream_tls"]["reason"] is None
        lists.write_bytes(pki.lists.read_bytes())
        gateway.reload()
        gateway.begin()
        assert send(gateway, "clear")[0] == 250
        tls = session_record(gateway)["upstream_tls"]
        assert (tls["reason"], tls["resumed"]) == ("certificate-revoked", False)


def test_a_server_that_is_not_revoked_is_trusted(lab: Lab, pki: Pki) -> None:
    recorder = serve(lab, pki.server(pki.good))
    gateway = lab.gateway(recorder, Setup(profile=pki.profile(crl=[str(pki.lists)])))
    assert send(gateway, "starttls", lab.trusting_proxy)[0] == 250
    tls = session_record(gateway)["upstream_tls"]
    assert (tls["verified"], tls["reason"]) == ("trusted", None)


@each_port
def test_under_enforce_a_revoked_server_is_refused(lab: Lab, pki: Pki, mode: Mode) -> None:
    recorder = serve(lab, pki.server(pki.revoked))
    profile = pki.profile(crl=[str(pki.lists)], certificate_validation="enforce")
    gateway = lab.gateway(recorder, Setup(profile=profile))
    code, text = refused(gateway, mode)
    assert (code, text[:5]) == ((421, b"4.7.5") if mode == "smtps" else (450, b"4.7.5"))
    assert recorder.messages == []
    assert session_record(gateway)["upstream_tls_failure"]["reason"] == "certificate-revoked"


# Suites


@each_mode
def test_the_suites_of_a_profile_are_those_of_both_legs(lab: Lab, pki: Pki, mode: Mode) -> None:
    context = pki.server(pki.good)
    context.maximum_version = VERSIONS["TLSv1.2"]
    gateway = lab.gateway(serve(lab, context), Setup(profile=pki.profile(ciphers="ECDHE+AES256+SHA384:!AESGCM")))
    client = anything()
    client.maximum_version = VERSIONS["TLSv1.2"]
    client.set_ciphers("ECDHE+AES")
    context.set_ciphers("ECDHE+AES")
    assert send(gateway, mode, client)[0] == 250
    record = session_record(gateway)
    legs = [record["upstream_tls"]] if mode == "clear" else [record["upstream_tls"], record["client_tls"]]
    assert {leg["cipher"] for leg in legs} == {"ECDHE-ECDSA-AES256-SHA384"}


def test_where_all_suites_are_for_rsa_the_leaf_has_such_a_key(lab: Lab, pki: Pki) -> None:
    context = pki.server(pki.good)  # whose key is ECDSA, so upstream it takes TLS 1.3
    gateway = lab.gateway(serve(lab, context), Setup(profile=pki.profile(ciphers="ECDHE-RSA-AES256-GCM-SHA384")))
    client = anything()
    client.maximum_version = VERSIONS["TLSv1.2"]
    assert send(gateway, "starttls", client)[0] == 250
    record = session_record(gateway)
    assert record["client_tls"]["cipher"] == "ECDHE-RSA-AES256-GCM-SHA384"
    assert record["upstream_tls"]["version"] == "TLSv1.3"


def test_a_legacy_profile_is_told_of_at_each_load(lab: Lab, pki: Pki) -> None:
    gateway = lab.doomed_gateway(serve(lab, pki.server(pki.good)), Setup(profile={"minimum_protocol": "tls1.0"}))
    told = "TLS profile Profile is a legacy one: it takes TLS 1.0"
    with contextlib.closing(gateway):
        wait_until(lambda: told in gateway.log, "the log tells of it")
        gateway.begin()
        assert told in gateway.reload()


# A certificate of ours


@each_version
@each_mode
def test_an_upstream_that_insists_is_shown_the_profiles_certificate(
    lab: Lab, pki: Pki, mode: Mode, version: str
) -> None:
    pair = {"certificate": str(pki.client), "key": str(pki.client)}
    gateway = lab.gateway(serve(lab, pki.asking_server(version)), Setup(profile=pki.profile(client_certificate=pair)))
    assert send(gateway, mode)[0] == 250
    assert session_record(gateway)["upstream_tls"]["version"] == version


@each_version
@each_port
def test_without_one_it_is_refused_and_the_reason_told(lab: Lab, pki: Pki, mode: Mode, version: str) -> None:
    recorder = serve(lab, pki.asking_server(version))
    gateway = lab.gateway(recorder, Setup(profile=pki.profile(), rules=REQUIRED))
    code, text = refused(gateway, mode)
    assert (code, text[:5]) == ((421, b"4.7.5") if mode == "smtps" else (450, b"4.7.5"))
    assert recorder.messages == []
    record = session_record(gateway)
    assert record["upstream_tls_failure"]["reason"] == "client-certificate-required"


@each_version
def test_where_clear_will_do_it_is_the_fall_back(lab: Lab, pki: Pki, version: str) -> None:
    recorder = serve(lab, pki.asking_server(version))
    gateway = lab.gateway(recorder, Setup(profile=pki.profile()))
    assert send(gateway, "clear")[0] == 250
    record = session_record(gateway)
    assert record["downgraded"]
    assert record["upstream_tls_failure"]["reason"] == "client-certificate-required"


@each_version
def test_an_upstream_that_asks_without_insisting_takes_the_mail(lab: Lab, pki: Pki, version: str) -> None:
    recorder = serve(lab, pki.asking_server(version, ssl.CERT_OPTIONAL))
    gateway = lab.gateway(recorder, Setup(profile=pki.profile(), rules=REQUIRED))
    assert send(gateway, "clear")[0] == 250
    assert session_record(gateway)["upstream_tls_failure"] is None


# A certificate of the client's


@dataclass(frozen=True)
class Sender:
    """A client by the certificate that it shows, and what becomes of it."""

    pair: str | None
    verified: str
    reason: str | None
    code: int


SENDERS = {
    "its own": Sender("client", "trusted", None, 250),
    "a stranger's": Sender("strange_client", "untrusted", "certificate-not-trusted", 550),
    "a server's": Sender("good", "untrusted", "certificate-wrong-purpose", 550),
    "none": Sender(None, "anonymous", None, 550),
}


@each_version
@pytest.mark.parametrize("mode", ["starttls", "smtps"])
@pytest.mark.parametrize("name", SENDERS)
def test_a_clients_certificate_is_judged_by_the_rules(lab: Lab, pki: Pki, name: str, mode: Mode, version: str) -> None:
    sender = SENDERS[name]
    gateway = lab.gateway(lab.recorder(), Setup(profile=pki.profile(), rules=VERIFIED_SENDER))
    context = anything()
    context.maximum_version = VERSIONS[version]
    if sender.pair:
        context.load_cert_chain(getattr(pki, sender.pair))
    with connect(gateway, mode, context) as client:
        replies = [client.mail("a@client.test"), client.rcpt("b@upstream.test")]
        assert max(code for code, _ in replies) == sender.code
    tls = session_record(gateway)["client_tls"]
    assert (tls["verified"], tls["reason"]) == (sender.verified, sender.reason)
