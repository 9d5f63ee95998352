"""The authorities' keys of a gateway of several workers: one process has them, and signs for all."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from smtpproxy.config.load import keys_elsewhere, load_configuration
from smtpproxy.config.snapshot import pack
from tests.integration.lab.client import connect, send_stuffed
from tests.integration.lab.gateway import Gateway, Setup
from tests.integration.lab.ports import wait_until
from tests.integration.test_workers import serving, workers

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator

    from tests.integration.lab.laboratory import Lab
    from tests.integration.lab.recorder import RecordingUpstream

KEYS = ("proxy-authority.key", "untrusted-authority.key")


@pytest.fixture
def gateway(lab: Lab, recorder: RecordingUpstream) -> Iterator[Gateway]:
    gateway = lab.doomed_gateway(recorder, Setup(workers=2))
    try:
        wait_until(lambda: serving(gateway) == {1, 2}, "both workers serve")
        yield gateway
        assert "Traceback" not in gateway.log
    finally:
        if gateway.alive:
            gateway.close()


def signer_of(gateway: Gateway) -> int:
    commands = {pid: Path(f"/proc/{pid}/cmdline").read_bytes() for pid in gateway.children}
    (found,) = [pid for pid, command in commands.items() if b"smtpproxy.signer" in command]
    return found


def takes_mail(gateway: Gateway, context: ssl.SSLContext) -> bool:
    with connect(gateway, "starttls", context) as client:
        return send_stuffed(client, b"hello\r\n")[0] == 250


def test_what_workers_are_sent_has_no_key_of_an_authority(gateway: Gateway) -> None:
    packed = pack(load_configuration(gateway.configuration, keys=keys_elsewhere))
    for name in KEYS:
        key = load_pem_private_key((gateway.configuration.parent.parent / "certs" / name).read_bytes(), None)
        der = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        assert der[-100:-40] not in packed  # the secret itself stands near the end


def test_workers_and_their_successors_get_leaves_without_any_key_file(gateway: Gateway, lab: Lab) -> None:
    context = lab.trusting_proxy
    for name in KEYS:
        (gateway.configuration.parent.parent / "certs" / name).unlink()
    assert takes_mail(gateway, context)
    before = workers(gateway)
    for pid in before.values():
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not set(workers(gateway).values()) & set(before.values()), "both are replaced")
    wait_until(lambda: len(re.findall(r", worker \d\] listening again on ", gateway.log)) == 8, "both serve")
    assert all(takes_mail(gateway, context) for _ in range(8))


def test_a_signing_process_that_is_killed_is_replaced(gateway: Gateway, lab: Lab) -> None:
    context, before = lab.trusting_proxy, signer_of(gateway)
    os.kill(before, signal.SIGKILL)
    assert takes_mail(gateway, context)
    assert signer_of(gateway) != before


def test_a_reload_without_a_key_is_refused_and_what_is_in_force_goes_on(gateway: Gateway, lab: Lab) -> None:
    key = gateway.configuration.parent.parent / "certs" / KEYS[0]
    octets = key.read_bytes()
    key.unlink()
    log = gateway.reload()
    assert "reload refused" in log
    assert KEYS[0] in log
    assert takes_mail(gateway, lab.trusting_proxy)
    key.write_bytes(octets)
    key.chmod(0o600)
    assert "reloaded" in gateway.reload()
    assert takes_mail(gateway, lab.trusting_proxy)
