"""AUTH through the proxy to a real SASL server: Postfix with Cyrus SASL, as swaks and smtplib know how to ask it."""

from __future__ import annotations

import base64
import re
import shutil
import smtplib
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.integration.lab import postfix
from tests.integration.lab.client import Mode, connect
from tests.integration.lab.ports import HOST
from tests.integration.lab.postfix import PASSWORD, USER

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.integration.lab.gateway import Gateway
    from tests.integration.lab.laboratory import Lab
    from tests.integration.lab.postfix import Postfix

TLS_MODES: tuple[Mode, ...] = ("starttls", "smtps")
MECHANISMS = ("PLAIN", "LOGIN", "CRAM-MD5")
LOGIN = f"{USER}@{postfix.NAME}"
QUEUED = re.compile(r"queued as (\w+)")


@pytest.fixture
def server(postfix_server: Postfix) -> Postfix:
    if reason := postfix.why_no_sasl():
        pytest.skip(reason)
    return postfix_server


@pytest.fixture
def swaks(lab: Lab, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    if shutil.which("swaks") is None:
        pytest.skip("swaks is not installed")
    trusted = tmp_path / "trusted.pem"
    trusted.write_bytes(lab.authorities.proxy.cert_pem.bytes())

    def run(gateway: Gateway, mode: Mode, mechanism: str, password: str) -> subprocess.CompletedProcess[str]:
        port = gateway.smtps_port if mode == "smtps" else gateway.smtp_port
        tls = {"clear": [], "starttls": ["--tls"], "smtps": ["--tlsc"]}[mode]
        command = ["swaks", "--server", f"{HOST}:{port}", "--from", "s@client.test", "--to", f"r@{postfix.DOMAIN}"]
        command += [*tls, "--tls-verify", "--tls-ca-path", str(trusted)] if tls else []
        command += ["--auth", mechanism, "--auth-user", LOGIN, "--auth-password", password]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    return run


def authenticate(client: smtplib.SMTP, mechanism: str, password: str) -> tuple[int, bytes]:
    client.esmtp_features["auth"] = mechanism  # else smtplib takes the first that it likes
    return client.login(LOGIN, password)


def assert_secret(gateway: Gateway, password: str) -> None:
    """Nothing that a client proved itself with stands in the log or in a record."""
    told = gateway.log + str(gateway.records)
    for secret in (password, LOGIN):
        assert secret not in told
        assert base64.b64encode(secret.encode()).decode() not in told
    assert base64.b64encode(f"\0{LOGIN}\0{password}".encode()).decode() not in told


@pytest.mark.parametrize("mode", TLS_MODES)
@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_swaks(
    lab: Lab, server: Postfix, swaks: Callable[..., subprocess.CompletedProcess[str]], mode: Mode, mechanism: str
) -> None:
    gateway = lab.gateway(server)
    done = swaks(gateway, mode, mechanism, PASSWORD)
    assert done.returncode == 0, done.stdout
    assert re.search(r"<~\s+235 2\.7\.0 Authentication successful", done.stdout), done.stdout
    found = QUEUED.search(done.stdout)
    assert found is not None
    assert f"(Authenticated sender: {LOGIN})" in server.received_header(found.group(1))
    assert_secret(gateway, PASSWORD)


@pytest.mark.parametrize("mode", TLS_MODES)
@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_smtplib(lab: Lab, server: Postfix, mode: Mode, mechanism: str) -> None:
    gateway = lab.gateway(server)
    with connect(gateway, mode, lab.trusting_proxy) as client:
        assert set(MECHANISMS) <= set(client.esmtp_features["auth"].split())
        assert authenticate(client, mechanism, PASSWORD) == (235, b"2.7.0 Authentication successful")
        client.mail("sender@client.test")
        client.rcpt(f"r@{postfix.DOMAIN}")
        code, reply = client.data(b"Subject: with AUTH\r\n\r\n")
    assert code == 250
    found = QUEUED.search(reply.decode())
    assert found is not None
    assert f"(Authenticated sender: {LOGIN})" in server.received_header(found.group(1))
    assert_secret(gateway, PASSWORD)


@pytest.mark.parametrize("mode", TLS_MODES)
@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_a_wrong_password_is_postfixs_to_refuse(lab: Lab, server: Postfix, mode: Mode, mechanism: str) -> None:
    gateway = lab.gateway(server)
    with connect(gateway, mode, lab.trusting_proxy) as client:
        with pytest.raises(smtplib.SMTPAuthenticationError) as refused:
            authenticate(client, mechanism, "guess of mine")
        assert refused.value.smtp_code == 535
        assert bytes(refused.value.smtp_error).startswith(b"5.7.8 Error: authentication failed")  # type: ignore[arg-type]
        assert authenticate(client, mechanism, PASSWORD)[0] == 235
    assert_secret(gateway, "guess of mine")


def test_an_exchange_may_be_cancelled(lab: Lab, server: Postfix) -> None:
    with connect(lab.gateway(server), "starttls", lab.trusting_proxy) as client:
        assert client.docmd("AUTH", "CRAM-MD5")[0] == 334
        assert client.docmd("*") == (501, b"5.7.0 Authentication aborted")
        assert client.noop()[0] == 250
        assert authenticate(client, "PLAIN", PASSWORD)[0] == 235


def test_in_clear_it_is_neither_offered_nor_taken(
    lab: Lab, server: Postfix, swaks: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    gateway = lab.gateway(server)
    with connect(gateway, "clear", lab.trusting_proxy) as client:
        assert not client.has_extn("auth")
        code, reply = client.docmd("AUTH", "PLAIN " + base64.b64encode(f"\0{LOGIN}\0{PASSWORD}".encode()).decode())
        assert (code, reply[:6]) == (538, b"5.7.11")
    assert swaks(gateway, "clear", "PLAIN", PASSWORD).returncode == 28  # swaks: no AUTH where it was asked for
    assert_secret(gateway, PASSWORD)
