"""Mail through the proxy to a real Postfix: its own 250, its own trace, the content as it was sent."""

from __future__ import annotations

import re
import shutil
import subprocess
from email import policy
from email.message import EmailMessage
from typing import TYPE_CHECKING

import pytest

from tests.integration.lab.client import MODES, Mode, connect
from tests.integration.lab.ports import HOST
from tests.integration.lab.postfix import DOMAIN

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.lab.gateway import Gateway
    from tests.integration.lab.laboratory import Lab
    from tests.integration.lab.postfix import Postfix

_MEBIBYTE = 1024 * 1024
QUEUED = re.compile(r"2\.0\.0 Ok: queued as (\w+)")

BODIES = {
    "7bit": b"plain text\r\n.a line with a dot\r\n",
    "8bit": b"caf\xe9 in Latin-1, gr\xc3\xbc\xc3\x9fe in UTF-8\r\n",
    "20 MiB": (b"0123456789" * 7 + b"abcdef\r\n") * (20 * _MEBIBYTE // 78),
}


def _send(gateway: Gateway, mode: Mode, lab: Lab, body: bytes) -> str:
    with connect(gateway, mode, lab.trusting_proxy) as client:
        client.mail("sender@client.test", ["BODY=8BITMIME"])
        client.rcpt(f"recipient@{DOMAIN}")
        code, reply = client.data(b"From: sender@client.test\r\nSubject: test\r\n\r\n" + body)
    assert code == 250
    return _queue_id(reply.decode())


def _queue_id(reply: str) -> str:
    found = QUEUED.search(reply)
    assert found is not None, reply
    return found.group(1)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", BODIES)
def test_the_250_is_postfixs_own_and_the_content_is_the_senders(
    lab: Lab, postfix_server: Postfix, mode: Mode, kind: str
) -> None:
    queue_id = _send(lab.gateway(postfix_server), mode, lab, BODIES[kind])
    body = postfix_server.delivered(queue_id).partition(b"\n\n")[2]
    assert body == BODIES[kind].replace(b"\r\n", b"\n")


@pytest.mark.parametrize("mode", MODES)
def test_postfix_sees_tls_and_the_clients_name(lab: Lab, postfix_server: Postfix, mode: Mode) -> None:
    queue_id = _send(lab.gateway(postfix_server), mode, lab, b"traced\r\n")
    trace = postfix_server.received_header(queue_id)
    assert trace.startswith("Received: from client.test ")
    assert "using TLSv1.3" in trace


@pytest.mark.parametrize("mode", MODES)
def test_internationalised_mail_is_delivered(lab: Lab, postfix_server: Postfix, mode: Mode) -> None:
    message = EmailMessage(policy=policy.SMTPUTF8)
    message["From"] = "jürgen@client.test"
    message["To"] = f"用户@{DOMAIN}"
    message["Subject"] = "Grüße"
    message.set_content("こんにちは\n", cte="8bit")
    with connect(lab.gateway(postfix_server), mode, lab.trusting_proxy) as client:
        client.mail("jürgen@client.test", ["SMTPUTF8", "BODY=8BITMIME"])
        client.rcpt(f"用户@{DOMAIN}")
        code, reply = client.data(message.as_bytes())
    assert code == 250
    delivered = postfix_server.delivered(_queue_id(reply.decode()))
    assert "こんにちは".encode() in delivered
    assert f"Delivered-To: 用户@{DOMAIN}".encode() in delivered


@pytest.mark.parametrize("mode", MODES)
def test_swaks(lab: Lab, postfix_server: Postfix, mode: Mode, tmp_path: Path) -> None:
    if shutil.which("swaks") is None:
        pytest.skip("swaks is not installed")
    gateway = lab.gateway(postfix_server)
    trusted = tmp_path / "proxy-authority.pem"
    trusted.write_bytes(lab.authorities.proxy.cert_pem.bytes())
    port = gateway.smtps_port if mode == "smtps" else gateway.smtp_port
    tls = {
        "clear": [],
        "starttls": ["--tls", "--tls-verify", "--tls-ca-path", str(trusted)],
        "smtps": ["--tlsc", "--tls-verify", "--tls-ca-path", str(trusted)],
    }[mode]
    command = ["swaks", "--server", f"{HOST}:{port}", "--from", "s@client.test", "--to", f"r@{DOMAIN}", *tls]
    done = subprocess.run([*command, "--body", "sent with swaks"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert b"\nsent with swaks\n" in postfix_server.delivered(_queue_id(done.stdout))


def test_a_refusal_is_postfixs_own(lab: Lab, postfix_server: Postfix) -> None:
    with connect(lab.gateway(postfix_server), "starttls", lab.trusting_proxy) as client:
        client.mail("sender@client.test")
        code, reply = client.rcpt("nobody@elsewhere.test")
    assert (code, reply.decode().partition(":")[0]) == (554, "5.7.1 <nobody@elsewhere.test>")
