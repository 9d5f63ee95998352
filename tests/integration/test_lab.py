"""The laboratory itself: if these fail, no other result here means anything."""

from __future__ import annotations

import smtplib
import ssl
from typing import TYPE_CHECKING

import pytest

from tests.integration.lab.laboratory import Lab, trusting
from tests.integration.lab.recorder import RecordingUpstream, Script

if TYPE_CHECKING:
    from tests.integration.lab.postfix import Postfix


def test_the_recorder_keeps_what_is_said_before_and_inside_tls(lab: Lab) -> None:
    recorder = lab.recorder()
    with smtplib.SMTP("127.0.0.1", recorder.smtp_port, "client.test", timeout=10) as client:
        client.starttls(context=trusting(lab.authorities.internet))
        client.sendmail("a@client.test", ["b@upstream.test"], b".dot\r\n")
    (connection,) = recorder.connections
    assert bytes(connection.clear) == b"ehlo client.test\r\nSTARTTLS\r\n"
    assert connection.encrypted.startswith(b"ehlo client.test\r\nmail FROM:<a@client.test>")
    assert connection.messages == [b"..dot\r\n"]


def test_the_recorder_takes_implicit_tls_and_empty_messages(lab: Lab) -> None:
    recorder = lab.recorder()
    with smtplib.SMTP_SSL(
        "127.0.0.1", recorder.smtps_port, "c.test", timeout=10, context=trusting(lab.authorities.internet)
    ) as client:
        client.sendmail("a@client.test", ["b@upstream.test"], b"")
    assert recorder.messages in ([b""], [b"\r\n"])  # smtplib adds the newline
    assert recorder.connections[0].clear == b""


def test_the_recorder_follows_its_script(lab: Lab) -> None:
    recorder = lab.recorder(Script(starttls=False, replies={b"RCPT": b"550 5.1.1 Nobody\r\n"}))
    with smtplib.SMTP("127.0.0.1", recorder.smtp_port, "client.test", timeout=10) as client:
        client.ehlo()
        assert not client.has_extn("starttls")
        client.mail("a@client.test")
        assert client.rcpt("b@upstream.test") == (550, b"5.1.1 Nobody")


def test_the_recorder_ends_with_connections_open() -> None:
    recorder = RecordingUpstream(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
    client = smtplib.SMTP("127.0.0.1", recorder.smtp_port, "client.test", timeout=10)
    recorder.close()
    with pytest.raises(smtplib.SMTPServerDisconnected):
        client.noop()
    client.close()


def test_postfix_takes_mail_over_all_three(postfix_server: Postfix, lab: Lab) -> None:
    with smtplib.SMTP("127.0.0.1", postfix_server.smtp_port, "client.test", timeout=10) as client:
        client.starttls(context=trusting(lab.authorities.internet))
        client.ehlo()
        client.mail("a@client.test")
        client.rcpt("b@postfix.test")
        code, reply = client.data(b"Subject: x\r\n\r\nhello\r\n")
    assert code == 250
    queue_id = reply.split()[-1].decode()
    assert postfix_server.delivered(queue_id).endswith(b"\n\nhello\n")
    assert "using TLSv1.3" in postfix_server.received_header(queue_id)
    with smtplib.SMTP_SSL(
        "127.0.0.1", postfix_server.smtps_port, timeout=10, context=trusting(lab.authorities.internet)
    ) as client:
        assert client.noop()[0] == 250
