"""The force-encrypt table: all mail with the peers in it, both directions, by domain, address and network.

The gateway runs by the predefined proxy actions, so what an administrator does is to put a line into a file.
"""

from __future__ import annotations

import subprocess

import pytest

from tests.integration.lab.client import connect
from tests.integration.lab.gateway import PROGRAMS, Setup
from tests.integration.lab.laboratory import Lab, trusting
from tests.integration.lab.ports import HOST
from tests.integration.lab.recorder import Script

DOMAINS = ("bank.test", "*.group.test", "ceo@partner.test", "ledger_1.test", "b\u00fccher.test")


def _setup(direction: str, entries: tuple[str, ...]) -> Setup:
    action = "SMTP-Outgoing.Standard" if direction == "outbound" else "SMTP-Incoming.Standard"
    return Setup(direction=direction, policy={"proxy_action": action}, lists={"force-encrypt": entries})


def _rcpt(lab: Lab, direction: str, entries: tuple[str, ...], recipient: str) -> tuple[int, bytes]:
    gateway = lab.gateway(lab.recorder(Script(starttls=False)), _setup(direction, entries))
    with connect(gateway, "clear", lab.trusting_proxy) as client:
        assert client.mail("a@client.test")[0] == 250
        return client.rcpt(recipient)


@pytest.mark.parametrize(
    ("recipient", "forced"),
    [
        ("a@bank.test", True),
        ("a@BANK.Test", True),
        ("a@www.bank.test", False),
        ("a@deep.in.group.test", True),
        ("a@group.test", False),
        ("CEO@partner.test", True),
        ("clerk@partner.test", False),
        ("a@Ledger_1.test", True),
        ("a@xn--bcher-kva.test", True),
        ("a@other.test", False),
    ],
)
def test_force_encrypt_by_the_recipients_domain(lab: Lab, recipient: str, *, forced: bool) -> None:
    code, text = _rcpt(lab, "outbound", DOMAINS, recipient)
    assert (code, text[:5]) == ((550, b"5.7.4") if forced else (250, b"2.0.0"))


@pytest.mark.parametrize(("network", "forced"), [("127.0.0.0/8", True), (HOST, True), ("192.0.2.0/24", False)])
def test_force_encrypt_by_the_address_of_the_server(lab: Lab, network: str, *, forced: bool) -> None:
    gateway = lab.gateway(lab.recorder(Script(starttls=False)), _setup("outbound", (network, "2001:db8::/32")))
    with connect(gateway, "clear", lab.trusting_proxy) as client:
        code, text = client.mail("a@client.test")
    assert (code, text[:5]) == ((550, b"5.7.4") if forced else (250, b"2.0.0"))


@pytest.mark.parametrize(
    ("sender", "forced"),
    [("a@bank.test", True), ("ceo@PARTNER.test", True), ("clerk@partner.test", False), ("", False)],
)
def test_force_encrypt_by_the_senders_domain(lab: Lab, sender: str, *, forced: bool) -> None:
    gateway = lab.gateway(lab.recorder(), _setup("inbound", DOMAINS))
    with connect(gateway, "clear", lab.trusting_proxy) as client:
        code, text = client.mail(sender)
        assert (code, text[:5]) == ((530, b"5.7.0") if forced else (250, b"2.0.0"))
    inside = trusting(lab.authorities.inside)
    inside.check_hostname = False  # it is dialled by its address
    with connect(gateway, "starttls", inside) as client:
        assert client.mail(sender)[0] == 250
        assert client.rcpt("b@inside.test")[0] == 250


@pytest.mark.parametrize(("network", "forced"), [("127.0.0.0/8", True), ("192.0.2.0/24", False)])
def test_force_encrypt_by_the_address_of_the_client(lab: Lab, network: str, *, forced: bool) -> None:
    gateway = lab.gateway(lab.recorder(), _setup("inbound", (network,)))
    with connect(gateway, "clear", lab.trusting_proxy) as client:
        code, text = client.mail("a@anywhere.test")
    assert (code, text[:5]) == ((530, b"5.7.0") if forced else (250, b"2.0.0"))


def test_force_encrypt_grows_by_a_command_and_a_reload(lab: Lab) -> None:
    gateway = lab.doomed_gateway(lab.recorder(Script(starttls=False)), _setup("outbound", ()))
    try:
        with connect(gateway, "clear", lab.trusting_proxy) as client:
            assert client.mail("a@client.test")[0] == 250
            assert client.rcpt("b@bank.test")[0] == 250
        arguments = ("list", "add", "force-encrypt", "bank.test", "-c", str(gateway.configuration))
        subprocess.run([str(PROGRAMS / "smtpproxy"), *arguments], check=True)
        gateway.reload()
        with connect(gateway, "clear", lab.trusting_proxy) as client:
            assert client.mail("a@client.test")[0] == 250
            assert client.rcpt("b@bank.test")[0] == 550
            assert client.rcpt("b@other.test")[0] == 250
        gateway.judge()
    finally:
        gateway.close()
