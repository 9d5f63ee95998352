"""Upstream certificates that were revoked, or of which nobody can tell."""

from __future__ import annotations

import smtplib
import socket
import struct
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.x509.ocsp import OCSPCertStatus

from tests.integration.lab.client import Mode, connect, send_stuffed
from tests.integration.lab.gateway import Gateway, Setup
from tests.integration.lab.laboratory import UPSTREAM_NAMES, trusting
from tests.integration.lab.ports import HOST, wait_until
from tests.peers.responder import MUST_STAPLE, Responder, Says
from tests.pki import make_intermediate, make_root

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator

    from cryptography import x509

    from tests.integration.lab.laboratory import Lab

ROOT = make_root()
ISSUER = make_intermediate(ROOT, "Issuer")
TLS_MODES: tuple[Mode, ...] = ("starttls", "smtps")


class House:
    """A responder, and an upstream that it answers for, whose certificate no gateway has seen before."""

    def __init__(self, lab: Lab, responder: Responder) -> None:
        self.lab = lab
        self.responder = responder
        self.upstream()

    def upstream(self, *extensions: x509.ExtensionType) -> None:
        self.leaf = self.responder.leaf(ISSUER, *extensions, names=UPSTREAM_NAMES)
        self.recorder = self.lab.showing(self.leaf)
        self.responder.say(self.leaf, ISSUER)

    def says(self, status: OCSPCertStatus) -> None:
        self.responder.say(self.leaf, ISSUER, Says(status))

    def gateway(self, ocsp: str, validation: str = "audit", private: str = "127.0.0.0/8") -> Gateway:
        profile = {
            "ocsp": ocsp,
            "certificate_validation": validation,
            "chain_second_opinion": "off",
            "ocsp_private_responders": [private],
        }
        setup = Setup(trusted=ROOT.pem, profile=profile)
        return self.lab.gateway(self.recorder, setup)


@pytest.fixture
def house(lab: Lab) -> Iterator[House]:
    with closing(Responder()) as responder:
        yield House(lab, responder)


def _send(gateway: Gateway, mode: Mode, context: ssl.SSLContext) -> dict[str, Any]:
    """Send a message; return what its record has of upstream's TLS."""
    before = len(gateway.records)
    with connect(gateway, mode, context) as client:
        assert send_stuffed(client, b"content\r\n")[0] == 250
    wait_until(lambda: len(gateway.records) == before + 2, "transaction and session are on record")
    facts: dict[str, Any] = gateway.records[before]["upstream_tls"]
    return facts


def _assert_refused(house: House, gateway: Gateway) -> None:
    """On either port, and nothing goes upstream."""
    with connect(gateway, "clear", house.lab.trusting_proxy) as client:
        assert client.mail("a@client.test")[0] == 450
    context = trusting(house.lab.authorities.untrusted)
    context.check_hostname = False  # there is no upstream to copy names from
    with pytest.raises(smtplib.SMTPConnectError) as refused:
        connect(gateway, "smtps", context)
    assert refused.value.smtp_code == 421
    assert b"MAIL" not in house.recorder.octets.upper()


@pytest.mark.parametrize("mode", TLS_MODES)
@pytest.mark.parametrize("ocsp", ["lenient", "strict"])
def test_a_good_certificate_passes_and_its_responder_is_asked_once(house: House, ocsp: str, mode: Mode) -> None:
    gateway = house.gateway(ocsp, "enforce")
    facts = [_send(gateway, mode, house.lab.trusting_proxy) for _ in range(3)]
    assert [each["revocation"] for each in facts] == ["good"] * 3
    assert [each["resumed"] for each in facts] == [False, True, True]
    assert len(house.responder.asked) == 1


@pytest.mark.parametrize("mode", TLS_MODES)
@pytest.mark.parametrize("ocsp", ["lenient", "strict"])
def test_under_audit_a_revoked_one_gets_the_untrusted_leaf(house: House, ocsp: str, mode: Mode) -> None:
    house.says(OCSPCertStatus.REVOKED)
    gateway = house.gateway(ocsp)
    facts = [_send(gateway, mode, trusting(house.lab.authorities.untrusted)) for _ in range(2)]
    assert {(each["verified"], each["reason"], each["revocation"], each["resumed"]) for each in facts} == {
        ("untrusted", "certificate-revoked", "revoked", False)
    }
    assert "(certificate-revoked), revocation revoked" in gateway.log


@pytest.mark.parametrize("ocsp", ["lenient", "strict"])
def test_under_enforce_a_revoked_one_is_refused(house: House, ocsp: str) -> None:
    house.says(OCSPCertStatus.REVOKED)
    _assert_refused(house, house.gateway(ocsp, "enforce"))


def test_disabled_does_not_ask(house: House) -> None:
    house.says(OCSPCertStatus.REVOKED)
    assert _send(house.gateway("disabled", "enforce"), "smtps", house.lab.trusting_proxy)["revocation"] == "unchecked"
    assert house.responder.asked == []


def test_what_nobody_can_tell_passes_where_it_is_lenient(house: House) -> None:
    house.responder.status = 503
    facts = _send(house.gateway("lenient", "enforce"), "starttls", house.lab.trusting_proxy)
    assert (facts["verified"], facts["revocation"]) == ("trusted", "unknown")


def test_where_it_is_strict_it_does_not(house: House) -> None:
    house.responder.status = 503
    gateway = house.gateway("strict", "enforce")
    _assert_refused(house, gateway)
    assert ": unknown (no answer: status-503)" in gateway.log


def test_a_slow_responder_costs_its_deadline_and_no_more(house: House) -> None:
    house.responder.holds = True
    gateway = house.gateway("lenient", "enforce")
    facts = _send(gateway, "smtps", house.lab.trusting_proxy)
    assert facts["revocation"] == "unknown"
    assert ": unknown (no answer: timed-out)" in gateway.log


def test_a_client_that_leaves_meanwhile_leaves_nothing(house: House) -> None:
    house.responder.holds = True
    gateway = house.gateway("lenient", "enforce")
    before = gateway.sockets
    with socket.create_connection((HOST, gateway.smtp_port), timeout=20) as client:
        assert client.recv(100).startswith(b"220 ")
        client.sendall(b"EHLO client.test\r\n")
        wait_until(lambda: bool(house.responder.asked), "the responder is asked")
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # with a reset
    wait_until(lambda: any(each["record"] == "session" for each in gateway.records), "the session has ended")
    house.responder.over.set()
    wait_until(lambda: gateway.sockets <= before, "its sockets are closed")
    assert "Traceback" not in gateway.log


def test_a_responder_of_ours_is_not_asked_unless_it_is_named(house: House) -> None:
    gateway = house.gateway("lenient", private="192.0.2.0/24")
    assert _send(gateway, "starttls", house.lab.trusting_proxy)["revocation"] == "unknown"
    assert house.responder.asked == []
    assert ": unknown (no answer: private-address)" in gateway.log


def test_what_must_be_stapled_and_is_not(house: House) -> None:
    house.upstream(MUST_STAPLE)
    facts = _send(house.gateway("lenient", "enforce"), "starttls", house.lab.trusting_proxy)
    assert facts["revocation"] == "not-stapled"
    house.upstream(MUST_STAPLE)
    _assert_refused(house, house.gateway("strict", "enforce"))
