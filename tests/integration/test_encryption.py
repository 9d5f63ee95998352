"""Encryption rules on the wire."""

from __future__ import annotations

import smtplib
import socket

import pytest

from tests.integration.lab.client import connect, send_stuffed
from tests.integration.lab.gateway import Setup
from tests.integration.lab.laboratory import Lab, trusting
from tests.integration.lab.ports import HOST
from tests.integration.lab.recorder import RecordingUpstream, Script


def _setup(sender: str, recipient: str, direction: str = "outbound") -> Setup:
    return Setup(direction=direction, rules=({"name": "the rule", "sender": sender, "recipient": recipient},))


def _used_tls(recorder: RecordingUpstream) -> bool:
    return any(connection.encrypted for connection in recorder.connections)


def test_sender_required_refuses_mail_in_clear(lab: Lab) -> None:
    recorder = lab.recorder()
    gateway = lab.gateway(recorder, _setup("required", "preferred"))
    with connect(gateway, "clear", lab.trusting_proxy) as client:
        code, text = client.mail("a@client.test")
        assert (code, text[:5]) == (530, b"5.7.0")
        client.starttls(context=lab.trusting_proxy)
        client.ehlo()
        assert send_stuffed(client, b"inside TLS\r\n")[0] == 250
    assert recorder.messages == [b"inside TLS\r\n"]


@pytest.mark.parametrize("sender", ["optional", "none"])
def test_recipient_required_refuses_where_upstream_has_no_tls(sender: str, lab: Lab) -> None:
    recorder = lab.recorder(Script(starttls=False))
    gateway = lab.gateway(recorder, _setup(sender, "required"))
    with connect(gateway, "clear", lab.trusting_proxy) as client:
        code, text = client.mail("a@client.test")
        if code == 250:
            code, text = client.rcpt("b@upstream.test")
    assert (code, text[:5]) == (550, b"5.7.4")
    assert b"RCPT" not in recorder.octets.upper()


def test_recipient_required_adds_tls_for_a_sender_in_clear(lab: Lab) -> None:
    recorder = lab.recorder()
    gateway = lab.gateway(recorder, _setup("optional", "required"))
    with connect(gateway, "clear", lab.trusting_proxy) as client:
        assert send_stuffed(client, b"clear in, TLS out\r\n")[0] == 250
    assert b"clear in, TLS out" in recorder.connections[-1].encrypted


def test_recipient_none_never_says_starttls(lab: Lab) -> None:
    recorder = lab.recorder()
    gateway = lab.gateway(recorder, _setup("optional", "none", "inbound"))
    with smtplib.SMTP(HOST, gateway.smtp_port, timeout=10) as client:
        client.ehlo()
        assert client.has_extn("starttls")
        assert send_stuffed(client, b"off-loaded\r\n")[0] == 250
    assert not _used_tls(recorder)
    assert b"STARTTLS" not in recorder.octets.upper()


def test_recipient_preferred_falls_back_on_a_new_connection(lab: Lab) -> None:
    recorder = lab.recorder(Script(handshake=False))
    gateway = lab.gateway(recorder)
    with connect(gateway, "clear", lab.trusting_proxy) as client:
        assert not client.has_extn("starttls")  # honest: it could not be kept
        assert send_stuffed(client, b"in clear after all\r\n")[0] == 250
    first, second = recorder.connections
    assert first.messages == []
    assert second.messages == [b"in clear after all\r\n"]
    assert b"STARTTLS" not in second.clear.upper()


def test_recipient_required_does_not_fall_back(lab: Lab) -> None:
    recorder = lab.recorder(Script(handshake=False))
    gateway = lab.gateway(recorder, _setup("optional", "required"))
    with connect(gateway, "clear", lab.trusting_proxy) as client:
        code, text = client.mail("a@client.test")
        if code == 250:
            code, text = client.rcpt("b@upstream.test")
    assert (code, text[:5]) == (450, b"4.7.5")
    assert b"RCPT" not in recorder.octets.upper()
    assert recorder.messages == []


def test_an_enforced_certificate_never_falls_back(lab: Lab) -> None:
    recorder = lab.recorder(issuer=lab.authorities.stranger)
    gateway = lab.gateway(recorder, Setup(profile={"certificate_validation": "enforce"}))
    with smtplib.SMTP(HOST, gateway.smtp_port, timeout=10) as client:
        client.ehlo()
        code, text = client.mail("a@client.test")
        if code == 250:
            code, text = client.rcpt("b@upstream.test")
    assert (code, text[:5]) == (450, b"4.7.5")
    assert b"RCPT" not in recorder.octets.upper()


def test_octets_behind_upstreams_220_end_the_session(lab: Lab) -> None:
    recorder = lab.recorder(Script(replies={b"STARTTLS": b"220 2.0.0 Ready\r\n250-injected\r\n250 AUTH PLAIN\r\n"}))
    gateway = lab.gateway(recorder)
    with socket.create_connection((HOST, gateway.smtp_port), timeout=10) as client, client.makefile("rwb") as stream:
        assert stream.readline().startswith(b"220 ")
        stream.write(b"EHLO client.test\r\n")
        stream.flush()
        assert stream.readline().startswith(b"421 4.7.0")
        assert stream.read() == b""
    assert len(recorder.connections) == 1
    assert "injected" not in gateway.log


def test_upstream_that_is_down_is_a_421(lab: Lab) -> None:
    gateway = lab.gateway(None)
    with socket.create_connection((HOST, gateway.smtp_port), timeout=10) as client, client.makefile("rb") as stream:
        assert stream.readline().startswith(b"421 4.4.1")
        assert stream.read() == b""


def test_upstream_that_is_down_is_a_421_inside_implicit_tls(lab: Lab) -> None:
    gateway = lab.gateway(None)
    context = trusting(lab.authorities.untrusted)
    context.check_hostname = False
    with pytest.raises(smtplib.SMTPConnectError) as refused:
        smtplib.SMTP_SSL(HOST, gateway.smtps_port, timeout=10, context=context)
    assert refused.value.smtp_code == 421
