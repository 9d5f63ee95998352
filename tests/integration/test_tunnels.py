"""What an exception lets pass to a real Postfix: its own certificate, its own TLS, and the mail, which nobody saw."""

from __future__ import annotations

import re
import smtplib
import socket
import subprocess
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.integration.lab import postfix
from tests.integration.lab.client import Mode, connect
from tests.integration.lab.gateway import Gateway, Setup
from tests.integration.lab.laboratory import trusting
from tests.integration.lab.ports import HOST, wait_until
from tests.integration.lab.postfix import DOMAIN, NAME, Postfix

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import trustme

    from tests.integration.lab.laboratory import Lab

ELSEWHERE: Final = "127.0.0.3"
"""A client of another address than the gateway dials from."""


def passing(match: str) -> list[dict[str, Any]]:
    return [{"match": [match], "action": "allow"}]


TUNNELS: Final = Setup(
    starttls={"exceptions": passing(HOST)}, action={"tls": {"profile": "Profile", "exceptions": passing(HOST)}}
)
BY_NAME: Final = Setup(action={"tls": {"profile": "Profile", "exceptions": passing("*.tunnel.test")}})
ALL_OF_465: Final = Setup(action={"tls": {"profile": "Profile", "action": "allow"}}, profile={"compliance": True})
WHY: Final = {"starttls": "starttls-exception", "smtps": "tls-exception"}
TLS_MODES: Final[tuple[Mode, ...]] = ("starttls", "smtps")


def s_client(gateway: Gateway, mode: Mode, authority: Path, name: str = NAME) -> str:
    """Send a message with OpenSSL's client, which checks the certificate; return all that it tells."""
    port = gateway.smtp_port if mode == "starttls" else gateway.smtps_port
    starttls = ["-starttls", "smtp", "-name", "client.test"] if mode == "starttls" else []
    command = [
        *("openssl", "s_client", "-crlf", "-ign_eof", "-connect", f"{HOST}:{port}", *starttls),
        *("-servername", name, "-verify_hostname", NAME, "-CAfile", str(authority), "-verify_return_error"),
    ]
    said = (
        f"EHLO client.test\nMAIL FROM:<sender@client.test>\nrcpt to:<recipient@{DOMAIN}>\nDATA\n"
        "Subject: unseen\n\nthrough the tunnel\n.\nQUIT\n"
    )
    done = subprocess.run(command, input=said.encode(), capture_output=True, timeout=60, check=False)
    return done.stdout.decode() + done.stderr.decode()


def queue_id(told: str) -> str:
    found = re.search(r"250 2\.0\.0 Ok: queued as (\w+)", told)
    assert found is not None, told
    return found.group(1)


@pytest.fixture
def internet(lab: Lab, tmp_path: Path) -> Path:
    """The authority that signed Postfix's certificate."""
    return pem(lab.authorities.internet, tmp_path / "internet.pem")


def pem(authority: trustme.CA, path: Path) -> Path:
    path.write_bytes(authority.cert_pem.bytes())
    return path


def session(gateway: Gateway) -> dict[str, Any]:
    """Return the one session's record."""
    wait_until(lambda: len(sessions(gateway)) == 1, "the session has ended")
    return sessions(gateway)[0]


def sessions(gateway: Gateway) -> list[dict[str, Any]]:
    return [each for each in gateway.records if each["record"] == "session"]


@pytest.mark.parametrize("mode", TLS_MODES)
def test_mail_passes_inside_postfixs_own_tls(lab: Lab, postfix_server: Postfix, internet: Path, mode: Mode) -> None:
    gateway = lab.gateway(postfix_server, TUNNELS)
    told = s_client(gateway, mode, internet)
    assert "Verify return code: 0 (ok)" in told
    assert b"through the tunnel\n" in postfix_server.delivered(queue_id(told))
    record = session(gateway)
    assert record["inspected"] == f"no, because {WHY[mode]}"
    assert record["client_tls"] is record["upstream_tls"] is None
    tunnel = record["tunnel"]
    assert (tunnel["exception"], tunnel["server_name"], tunnel["version"]) == (1, NAME, "TLSv1.3")
    assert not [each for each in gateway.records if each["record"] == "transaction"]
    assert f"inspected=no, because {WHY[mode]}, exception=1, server_name={NAME}, passed=TLSv1.3" in gateway.log


def test_a_name_lets_pass_and_another_does_not(
    lab: Lab, postfix_server: Postfix, internet: Path, tmp_path: Path
) -> None:
    gateway = lab.gateway(postfix_server, BY_NAME)
    told = s_client(gateway, "smtps", internet, "mx.tunnel.test")
    assert b"through the tunnel\n" in postfix_server.delivered(queue_id(told))
    assert session(gateway)["inspected"] == "no, because tls-exception"
    refused = s_client(gateway, "smtps", internet)
    assert "verify error" in refused
    assert "queued as" not in refused
    minted = s_client(gateway, "smtps", pem(lab.authorities.proxy, tmp_path / "proxy.pem"))
    assert b"through the tunnel\n" in postfix_server.delivered(queue_id(minted))


@pytest.mark.parametrize(("action", "ended"), [("drop", "dropped"), ("block", "blocked")])
def test_who_is_not_let_in_is_on_record_with_why(
    lab: Lab, postfix_server: Postfix, internet: Path, action: str, ended: str
) -> None:
    exceptions = [{"match": ["elsewhere.test"], "action": "allow"}, {"match": ["*.tunnel.test"], "action": action}]
    gateway = lab.gateway(postfix_server, Setup(action={"tls": {"profile": "Profile", "exceptions": exceptions}}))
    assert "queued as" not in s_client(gateway, "smtps", internet, "mx.tunnel.test")
    found = session(gateway)
    assert found["ended"] == f"tls-{ended}"
    wanted = {"because": "tls-exception", "exception": 2, "server_name": "mx.tunnel.test"}
    assert found["refusal"] | wanted == found["refusal"]
    assert "TLSv1.3" in found["refusal"]["versions"]
    assert ", because=tls-exception, exception=2, server_name=mx.tunnel.test\n" in gateway.log


def test_with_starttls_the_name_comes_too_late(lab: Lab, postfix_server: Postfix, internet: Path) -> None:
    gateway = lab.gateway(postfix_server, BY_NAME)
    assert "queued as" not in s_client(gateway, "starttls", internet, "mx.tunnel.test")


def test_mail_in_clear_beside_a_tunnel_is_judged_and_recorded(lab: Lab, postfix_server: Postfix) -> None:
    strict = {"name": "strict", "to": [f"strict@{DOMAIN}"], "sender": "optional", "recipient": "required"}
    default = {"name": "default", "sender": "optional", "recipient": "preferred"}
    setup = Setup(starttls={"exceptions": passing(HOST), "rules": [strict, default]})
    gateway = lab.gateway(postfix_server, setup)
    with connect(gateway, "clear", lab.trusting_proxy) as client:
        assert client.has_extn("starttls")  # Postfix's own
        client.mail("sender@client.test")
        assert client.rcpt(f"strict@{DOMAIN}")[0] == 530
        assert client.rcpt(f"recipient@{DOMAIN}")[0] == 250
        assert client.data(b"Subject: seen\r\n\r\nin clear\r\n")[0] == 250
    assert session(gateway)["inspected"] == "yes"
    (mail,) = (each for each in gateway.records if each["record"] == "transaction")
    assert mail["inspected"] == "yes"
    assert [each["because"] for each in mail["recipients"]] == ["starttls-is-the-clients", None]


def test_all_of_465_passes_and_garbage_does_not(lab: Lab, postfix_server: Postfix, internet: Path) -> None:
    gateway = lab.gateway(postfix_server, ALL_OF_465)
    assert b"through the tunnel\n" in postfix_server.delivered(queue_id(s_client(gateway, "smtps", internet)))
    assert session(gateway)["inspected"] == "no, because tls-action"
    gateway.begin()
    before = postfix_server.log.count("]: connect from")
    for garbage in (b"EHLO client.test\r\n", b"SSH-2.0-OpenSSH_9.2\r\n", b"\x16\x03\x01\x00\x05hello", b"\0" * 64):
        with socket.create_connection((HOST, gateway.smtps_port), 20) as client:
            client.sendall(garbage)
            assert not received(client)
    wait_until(lambda: len(sessions(gateway)) == 4, "the sessions have ended")
    assert all(each["octets"]["upstream_out"] == 0 for each in sessions(gateway))
    assert postfix_server.log.count("]: connect from") == before


def received(client: socket.socket) -> bytes:
    """Return what comes until the end, which may be a reset."""
    heard = b""
    try:
        while octets := client.recv(1024):
            heard += octets
    except ConnectionResetError:
        pass
    return heard


@pytest.fixture(scope="module")
def behind_a_balancer(internet_ca: trustme.CA) -> Iterator[Postfix]:
    """A Postfix that demands a PROXY header of every connection."""
    if reason := postfix.why_not():
        pytest.skip(reason)
    with closing(postfix.make(internet_ca, "-o smtpd_upstream_proxy_protocol=haproxy")) as server:
        yield server


@pytest.fixture(scope="module")
def taking_xclient(internet_ca: trustme.CA) -> Iterator[Postfix]:
    """A Postfix that is told by XCLIENT who the client is."""
    if reason := postfix.why_not():
        pytest.skip(reason)
    with closing(postfix.make(internet_ca, f"-o smtpd_authorized_xclient_hosts={HOST}")) as server:
        yield server


@pytest.mark.parametrize("mode", TLS_MODES)
def test_an_upstream_that_demands_a_proxy_header_has_it_before_the_tunnel(
    lab: Lab, behind_a_balancer: Postfix, mode: Mode
) -> None:
    gateway = lab.gateway(behind_a_balancer, replace(TUNNELS, policy={"send_client": "proxy_v2"}))
    assert_told(lab, gateway, behind_a_balancer, mode)


def test_xclient_is_said_before_a_starttls_that_passes(lab: Lab, taking_xclient: Postfix) -> None:
    setup = Setup(starttls={"exceptions": passing(HOST)}, policy={"send_client": "xclient"}, tls_support="disabled")
    assert_told(lab, lab.gateway(taking_xclient, setup), taking_xclient, "starttls")


def assert_told(lab: Lab, gateway: Gateway, server: Postfix, mode: Mode) -> None:
    """Send a message through a tunnel, from ``ELSEWHERE``, and see that Postfix knows that."""
    context = trusting(lab.authorities.internet)
    source = (ELSEWHERE, 0)
    if mode == "smtps":
        client: smtplib.SMTP = smtplib.SMTP_SSL(
            HOST, gateway.smtps_port, timeout=30, context=context, source_address=source
        )
    else:
        client = smtplib.SMTP(HOST, gateway.smtp_port, timeout=30, source_address=source)
        client.starttls(context=context)
    with client:
        client.mail("sender@client.test")
        client.rcpt(f"recipient@{DOMAIN}")
        code, reply = client.data(b"Subject: unseen\r\n\r\nthrough the tunnel\r\n")
    assert code == 250, reply
    assert f"[{ELSEWHERE}]" in server.received_header(queue_id(f"250 {reply.decode()}"))
    assert session(gateway)["inspected"] == f"no, because {WHY[mode]}"
