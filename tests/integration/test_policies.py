"""Which ports are ours, and whose traffic."""

from __future__ import annotations

import contextlib
import smtplib
import socket
from typing import TYPE_CHECKING

import pytest

from tests.integration.lab.gateway import Setup
from tests.integration.lab.ports import HOST, listens, wait_until

if TYPE_CHECKING:
    from tests.integration.lab.laboratory import Lab


@pytest.mark.parametrize(
    ("tls_support", "smtp", "smtps"), [("disabled", True, False), ("enabled", True, True), ("required", False, True)]
)
def test_ports_are_bound_by_tls_support(lab: Lab, tls_support: str, smtp: bool, smtps: bool) -> None:  # noqa: FBT001 - a table
    gateway = lab.gateway(lab.recorder(), Setup(tls_support=tls_support))
    assert (listens(gateway.smtp_port), listens(gateway.smtps_port)) == (smtp, smtps)


def test_traffic_of_no_policy_is_closed_and_logged(lab: Lab) -> None:
    recorder = lab.recorder()
    gateway = lab.gateway(recorder, Setup(source=("192.0.2.0/24",)))
    for port in (gateway.smtp_port, gateway.smtps_port):
        with contextlib.suppress(ConnectionResetError), socket.create_connection((HOST, port), timeout=10) as client:
            assert client.recv(100) == b""
    wait_until(lambda: "no policy" in gateway.log.lower(), "the log tells why")
    assert recorder.connections == []


def test_one_source_too_many_sessions_is_a_421(lab: Lab) -> None:
    gateway = lab.gateway(lab.recorder(), Setup(general={"max_sessions_per_source": 2}))
    first, second = (smtplib.SMTP(HOST, gateway.smtp_port, timeout=10) for _ in range(2))
    with pytest.raises(smtplib.SMTPConnectError) as refused:
        smtplib.SMTP(HOST, gateway.smtp_port, timeout=10)
    assert refused.value.smtp_code == 421
    assert first.noop()[0] in {250, 503}
    first.quit()
    second.quit()
