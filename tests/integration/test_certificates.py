"""Certificates read back after a real handshake."""

from __future__ import annotations

import datetime as dt
import smtplib
import socket
import ssl
from typing import TYPE_CHECKING, Literal

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tests.integration.lab.gateway import Gateway, Setup
from tests.integration.lab.laboratory import UPSTREAM_NAMES, Lab
from tests.integration.lab.ports import HOST
from tests.integration.lab.recorder import Script

if TYPE_CHECKING:
    import trustme

TlsMode = Literal["starttls", "smtps"]
TLS_MODES: tuple[TlsMode, ...] = ("starttls", "smtps")


def _shown(gateway: Gateway, mode: TlsMode, server_name: str | None = None) -> x509.Certificate:
    """Return the certificate that a client is shown which checks nothing."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    port = gateway.smtp_port if mode == "starttls" else gateway.smtps_port
    with socket.create_connection((HOST, port), timeout=20) as plain:
        if mode == "starttls":
            _ask_for_tls(plain)
        with context.wrap_socket(plain, server_hostname=server_name) as client:
            der = client.getpeercert(binary_form=True)
            assert der is not None
            if mode == "smtps":
                assert client.recv(4) in {b"220 ", b"421 "}
            return x509.load_der_x509_certificate(der)


def _ask_for_tls(plain: socket.socket) -> None:
    with plain.makefile("rwb", buffering=0) as stream:
        stream.readline()
        stream.write(b"EHLO client.test\r\n")
        while not stream.readline().startswith(b"250 "):
            pass
        stream.write(b"STARTTLS\r\n")
        assert stream.readline().startswith(b"220 ")


def _is_signed_by(certificate: x509.Certificate, authority: trustme.CA) -> bool:
    issuer = x509.load_pem_x509_certificate(authority.cert_pem.bytes())
    try:
        certificate.verify_directly_issued_by(issuer)
    except Exception:  # noqa: BLE001 - each way of not being signed is a no
        return False
    return True


def _names(certificate: x509.Certificate) -> set[str]:
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return {*names.get_values_for_type(x509.DNSName), *map(str, names.get_values_for_type(x509.IPAddress))}


@pytest.mark.parametrize("mode", TLS_MODES)
def test_a_valid_upstream_earns_the_proxy_authoritys_leaf_with_its_names(lab: Lab, mode: TlsMode) -> None:
    leaf = _shown(lab.gateway(lab.recorder()), mode, "mx.upstream.test")
    assert _is_signed_by(leaf, lab.authorities.proxy)
    assert _names(leaf) == set(UPSTREAM_NAMES)


def test_the_leaf_is_short_lived_and_signs_nothing(lab: Lab) -> None:
    leaf = _shown(lab.gateway(lab.recorder()), "smtps")
    assert leaf.not_valid_after_utc - dt.datetime.now(dt.UTC) <= dt.timedelta(days=7)
    assert leaf.not_valid_before_utc < dt.datetime.now(dt.UTC) < leaf.not_valid_after_utc
    assert not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    usage = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.SERVER_AUTH]


def test_every_session_shows_the_cached_leaf(lab: Lab) -> None:
    gateway = lab.gateway(lab.recorder())
    serials = {_shown(gateway, mode, "mx.upstream.test").serial_number for mode in TLS_MODES * 2}
    assert len(serials) == 1


@pytest.mark.parametrize("mode", TLS_MODES)
def test_a_name_below_upstreams_wildcard_is_trusted(lab: Lab, mode: TlsMode) -> None:
    leaf = _shown(lab.gateway(lab.recorder()), mode, "a.wild.upstream.test")
    assert _is_signed_by(leaf, lab.authorities.proxy)


@pytest.mark.parametrize("mode", TLS_MODES)
def test_another_name_than_upstreams_gets_the_untrusted_leaf(lab: Lab, mode: TlsMode) -> None:
    leaf = _shown(lab.gateway(lab.recorder()), mode, "www.bank.test")
    assert _is_signed_by(leaf, lab.authorities.untrusted)
    assert "www.bank.test" not in _names(leaf)


@pytest.mark.parametrize("mode", TLS_MODES)
@pytest.mark.parametrize("validation", ["audit", "off"])
def test_a_strangers_certificate_gets_the_untrusted_leaf(lab: Lab, mode: TlsMode, validation: str) -> None:
    recorder = lab.recorder(issuer=lab.authorities.stranger)
    gateway = lab.gateway(recorder, Setup(profile={"certificate_validation": validation}))
    leaf = _shown(gateway, mode, "mx.upstream.test")
    assert _is_signed_by(leaf, lab.authorities.untrusted)
    assert _names(leaf) == set(UPSTREAM_NAMES)


def test_what_is_not_checked_is_not_trusted(lab: Lab) -> None:
    gateway = lab.gateway(lab.recorder(), Setup(profile={"certificate_validation": "off"}))
    assert _is_signed_by(_shown(gateway, "smtps", "mx.upstream.test"), lab.authorities.untrusted)


def test_enforce_refuses_a_strangers_certificate_inside_the_clients_tls(lab: Lab) -> None:
    recorder = lab.recorder(issuer=lab.authorities.stranger)
    gateway = lab.gateway(recorder, Setup(profile={"certificate_validation": "enforce"}))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    lab.authorities.untrusted.configure_trust(context)
    with pytest.raises(smtplib.SMTPConnectError) as refused:
        smtplib.SMTP_SSL(HOST, gateway.smtps_port, timeout=20, context=context)
    assert refused.value.smtp_code == 421
    assert b"4.7.5" in bytes(refused.value.smtp_error)  # type: ignore[arg-type]
    assert recorder.messages == []


@pytest.mark.parametrize("mode", TLS_MODES)
def test_inbound_shows_the_proxy_server_certificate_by_sni(lab: Lab, mode: TlsMode) -> None:
    names = ("mail.inside.test", "mx.second.test")
    gateway = lab.gateway(lab.recorder(), Setup(direction="inbound", server_names=names))
    for asked, shown in ((None, names[0]), ("unknown.test", names[0]), (names[1], names[1]), (names[0], names[0])):
        certificate = _shown(gateway, mode, asked)
        assert _names(certificate) == {shown}
        assert _is_signed_by(certificate, lab.authorities.inside)


def test_a_client_without_ecdsa_gets_an_rsa_leaf(lab: Lab) -> None:
    gateway = lab.gateway(lab.recorder())
    context = lab.trusting_proxy
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("ECDHE+aRSA")
    with smtplib.SMTP_SSL(HOST, gateway.smtps_port, timeout=20, context=context) as client:
        assert client.noop()[0] == 250


@pytest.mark.parametrize("mode", TLS_MODES)
def test_the_clients_sni_goes_upstream(lab: Lab, mode: TlsMode) -> None:
    recorder = lab.recorder()
    _shown(lab.gateway(recorder), mode, "mx.upstream.test")
    expected = {"smtps": "mx.upstream.test", "starttls": None}  # before the client's hello its SNI is not known
    assert recorder.connections[-1].server_name == expected[mode]


def test_an_upstream_in_clear_gets_an_untrusted_leaf_for_the_asked_name(lab: Lab) -> None:
    rule = {"name": "always", "sender": "optional", "recipient": "preferred", "offer": "always"}
    gateway = lab.gateway(lab.recorder(Script(starttls=False)), Setup(rules=(rule,)))
    leaf = _shown(gateway, "starttls", "mail.asked.test")
    assert _is_signed_by(leaf, lab.authorities.untrusted)
    assert _names(leaf) == {"mail.asked.test"}


def test_the_issuer_is_named_as_configured(lab: Lab) -> None:
    leaf = _shown(lab.gateway(lab.recorder()), "smtps")
    (organization,) = leaf.issuer.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
    assert organization.value == "Test Proxy Authority"
