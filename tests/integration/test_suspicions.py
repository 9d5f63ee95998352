"""A client that does not bear interception is noticed, and what to do is told."""

from __future__ import annotations

import re
import smtplib
import ssl
import subprocess
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.lab.client import Mode, connect, send_stuffed
from tests.integration.lab.gateway import PROGRAMS, Gateway, Setup
from tests.integration.lab.laboratory import trusting
from tests.integration.lab.ports import HOST, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.integration.lab.laboratory import Lab


@pytest.fixture
def gateway(lab: Lab) -> Iterator[Gateway]:
    made = lab.doomed_gateway(lab.recorder(), Setup(metrics=True))
    yield made
    made.close()


def check(gateway: Gateway) -> str:
    return subprocess.run(
        [PROGRAMS / "smtpproxy", "check", "-c", gateway.configuration], capture_output=True, check=True, text=True
    ).stdout


def suspected(gateway: Gateway) -> float:
    return gateway.metrics["smtpproxy_interception_suspected_total",]


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_client_that_trusts_other_authorities(gateway: Gateway, version: ssl.TLSVersion) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.maximum_version = version
    with closing(smtplib.SMTP(HOST, gateway.smtp_port)) as client, pytest.raises(ssl.SSLCertVerificationError):
        client.starttls(context=context)
    wait_until(lambda: suspected(gateway) == 1, "the refusal is counted")
    (document,) = (each for each in gateway.records if each["record"] == "interception-suspected")
    assert (document["evidence"], document["alert"], document["upstream_valid"]) == ("alert", "unknown ca", True)
    assert "warning: client=127.0.0.1:" in gateway.log
    told = check(gateway)
    assert f"notice: 127.0.0.1 seems to check the certificate of {document['upstream']}" in told
    assert "smtpproxy ca export" in told


def paste_exception(gateway: Gateway) -> None:
    """Do with a proxy action what ``check`` says."""
    told = re.search(r"put (behind|in place of) line (\d+) in (\S+), and reload:\n((?:.*\n)*)ok: ", check(gateway))
    assert told is not None
    how, line, path, text = told.groups()
    file, number = Path(path), int(line)
    kept = file.read_text().splitlines()
    kept[number if how == "behind" else number - 1 : number] = text.splitlines()
    file.write_text("\n".join(kept) + "\n")


@pytest.mark.parametrize("mode", ["starttls", "smtps"])
def test_what_check_prints_lets_the_client_pass(lab: Lab, gateway: Gateway, mode: Mode) -> None:
    verifying = trusting(lab.authorities.internet)
    with pytest.raises(ssl.SSLCertVerificationError):
        connect(gateway, mode, verifying)
    wait_until(lambda: suspected(gateway) == 1, "the refusal is counted")
    paste_exception(gateway)
    gateway.reload()
    with connect(gateway, mode, verifying) as client:  # upstream's own certificate, which it verifies
        assert send_stuffed(client, b"hello\r\n")[0] == 250
    wait_until(lambda: len(sessions(gateway)) == 2, "the tunnel has ended")
    assert sessions(gateway)[1]["inspected"].startswith("no, because ")
    assert "seems to check" not in check(gateway)


def sessions(gateway: Gateway) -> list[dict[str, Any]]:
    return [each for each in gateway.records if each["record"] == "session"]


def test_a_client_that_leaves_inside_tls(lab: Lab, gateway: Gateway) -> None:
    with connect(gateway, "clear", lab.trusting_proxy) as client:  # as a server does whose other destinations differ
        assert send_stuffed(client, b"hello\r\n")[0] == 250
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    for _ in range(3):
        with closing(smtplib.SMTP(HOST, gateway.smtp_port)) as client:
            client.starttls(context=context)
            client.quit()
    wait_until(lambda: suspected(gateway) == 1, "leaving is counted")
    assert "it left at once inside TLS (3 sessions)" in check(gateway)


def test_a_client_that_bears_it_is_not_told_of(lab: Lab, gateway: Gateway) -> None:
    for _ in range(4):
        with connect(gateway, "starttls", lab.trusting_proxy) as client:
            assert send_stuffed(client, b"hello\r\n")[0] == 250
    assert suspected(gateway) == 0
    assert "seems to check" not in check(gateway)
