"""Telling a real Postfix who the client is: by a PROXY header, XCLIENT, XFORWARD."""

from __future__ import annotations

import contextlib
import json
import re
import smtplib
import socket
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import pytest

from smtpproxy.endpoint import Endpoint
from smtpproxy.proxy_header.header import Proxied, Tlv
from smtpproxy.proxy_header.version_2 import to_binary
from tests.integration.lab import haproxy, postfix
from tests.integration.lab.client import MODES, Mode, connect
from tests.integration.lab.gateway import PROGRAMS, Setup, Upstream
from tests.integration.lab.laboratory import trusting
from tests.integration.lab.ports import HOST, wait_until
from tests.integration.lab.postfix import DOMAIN, Postfix

if TYPE_CHECKING:
    from collections.abc import Iterator

    import trustme

    from tests.integration.lab.gateway import Gateway
    from tests.integration.lab.laboratory import Lab

CLIENT: Final = "127.0.0.7"
ELSEWHERE: Final = "nobody@elsewhere.test"
QUEUED: Final = re.compile(rb"2\.0\.0 Ok: queued as (\w+)")
TRUSTS_THE_GATEWAY: Final = (
    "-o mynetworks={host}/32 -o smtpd_relay_restrictions=permit_mynetworks,reject_unauth_destination"
    " -o smtpd_client_port_logging=yes"
)
TAKES_COMMANDS: Final = " -o smtpd_authorized_xclient_hosts={host} -o smtpd_authorized_xforward_hosts={host}"
TAKES_HEADERS: Final = " -o smtpd_upstream_proxy_protocol=haproxy"
BEHIND_BALANCER: Final = {"mode": "proxy_protocol", "trusted_balancers": [HOST]}
IN_CLEAR: Final = ({"name": "default", "sender": "optional", "recipient": "none"},)


@dataclass(frozen=True)
class Servers:
    """By what they take."""

    commands: Postfix
    headers: Postfix

    def of(self, how: str) -> Postfix:
        return self.headers if how == "proxy_v2" else self.commands


@pytest.fixture(scope="module")
def servers(internet_ca: trustme.CA) -> Iterator[Servers]:
    if reason := postfix.why_not():
        pytest.skip(reason)
    with contextlib.ExitStack() as stack:

        def begun(takes: str) -> Postfix:
            return stack.enter_context(contextlib.closing(postfix.make(internet_ca, TRUSTS_THE_GATEWAY + takes)))

        yield Servers(begun(TAKES_COMMANDS), begun(TAKES_HEADERS))


def telling(how: str, **more: Any) -> Setup:  # noqa: ANN401 - of Setup
    return Setup(policy={"send_client": how}, **more)


def send(client: smtplib.SMTP) -> str:
    """Send a message, and return Postfix's queue id."""
    assert client.mail("sender@client.test")[0] == 250
    assert client.rcpt(f"recipient@{DOMAIN}")[0] == 250
    code, reply = client.data(b"Subject: told\r\n\r\ntold\r\n")
    assert code == 250
    found = QUEUED.search(reply)
    assert found is not None, reply
    return found.group(1).decode()


def port_of(client: smtplib.SMTP) -> int:
    assert client.sock is not None
    return int(client.sock.getsockname()[1])


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("how", ["proxy_v2", "xclient", "xforward"])
def test_postfix_knows_the_client(lab: Lab, servers: Servers, how: str, mode: Mode) -> None:
    server = servers.of(how)
    rules = {"rules": IN_CLEAR} if mode == "clear" else {}
    gateway = lab.gateway(server, telling(how, **rules))
    with connect(gateway, mode, lab.trusting_proxy, CLIENT) as client:
        queue_ids = [send(client), send(client)]
        port = port_of(client)
    for queue_id in queue_ids:
        trace = server.received_header(queue_id)
        seen = f"(localhost [{HOST}])" if how == "xforward" else f"(unknown [{CLIENT}])"
        assert trace.startswith(f"Received: from client.test {seen}")
        assert ("using TLSv1.3" in trace) == (mode != "clear")
        name = "orig_client" if how == "xforward" else "client"
        assert re.search(rf"{queue_id}: .*\b{name}=unknown\[{CLIENT}]:{port}$", server.log, re.MULTILINE)
    assert not [each for each in gateway.records if each["record"] == "incident"]


@pytest.mark.parametrize(("how", "code"), [("none", 250), ("xforward", 250), ("xclient", 554), ("proxy_v2", 554)])
def test_what_the_client_may_is_the_clients_own(lab: Lab, servers: Servers, how: str, code: int) -> None:
    gateway = lab.gateway(servers.of(how), telling(how))
    with connect(gateway, "starttls", lab.trusting_proxy, CLIENT) as client:
        client.mail("sender@client.test")
        assert client.rcpt(ELSEWHERE)[0] == code


def test_nothing_is_asked_as_the_gateway_before_the_client_is_told(lab: Lab, servers: Servers) -> None:
    asked = {}
    for how in ("none", "xclient", "proxy_v2"):
        gateway = lab.gateway(servers.of(how), telling(how))
        with smtplib.SMTP(HOST, gateway.smtp_port, timeout=30, source_address=(CLIENT, 0)) as client:
            before = client.docmd("VRFY", ELSEWHERE)[0]
            client.ehlo("client.test")
            asked[how] = before, client.docmd("VRFY", ELSEWHERE)[0]
    assert asked == {"none": (252, 252), "xclient": (503, 554), "proxy_v2": (554, 554)}


def test_an_upstream_that_does_not_take_xclient_of_us_gets_no_mail(lab: Lab, postfix_server: Postfix) -> None:
    gateway = lab.gateway(postfix_server, telling("xclient"))
    with smtplib.SMTP(HOST, gateway.smtp_port, timeout=30, source_address=(CLIENT, 0)) as client:
        assert client.ehlo("client.test") == (421, b"4.3.5 System incorrectly configured, closing connection")
    wait_until(lambda: len(gateway.records) == 2, "the session is on record")
    assert [each.get("incident") or each["ended"] for each in gateway.records] == ["xclient-not-offered"] * 2


def test_an_upstream_that_does_not_take_xforward_of_us_gets_mail(lab: Lab, postfix_server: Postfix) -> None:
    gateway = lab.gateway(postfix_server, telling("xforward"))
    with connect(gateway, "starttls", lab.trusting_proxy, CLIENT) as client:
        queue_id = send(client)
        send(client)
    assert f"(unknown [{CLIENT}])" not in postfix_server.received_header(queue_id)
    wait_until(lambda: any(each["record"] == "session" for each in gateway.records), "the session is on record")
    assert [each["incident"] for each in gateway.records if each["record"] == "incident"] == ["xforward-not-offered"]


def test_an_upstream_that_expects_no_header_gets_no_mail(lab: Lab, postfix_server: Postfix) -> None:
    gateway = lab.gateway(postfix_server, telling("proxy_v2"))
    with pytest.raises((smtplib.SMTPException, ConnectionError)):
        connect(gateway, "starttls", lab.trusting_proxy, CLIENT)
    wait_until(lambda: len(gateway.records) == 2, "the session is on record")
    assert [each.get("incident") or each["ended"] for each in gateway.records] == ["unsolicited-reply"] * 2


@pytest.mark.parametrize("command", ["XCLIENT ADDR=192.0.2.1", "XFORWARD ADDR=192.0.2.1"])
@pytest.mark.parametrize("how", ["none", "xclient", "xforward"])
def test_no_client_can_say_it(lab: Lab, servers: Servers, how: str, command: str) -> None:
    gateway = lab.gateway(servers.commands, telling(how))
    with connect(gateway, "starttls", lab.trusting_proxy, CLIENT) as client:
        assert not {"xclient", "xforward"} & set(client.esmtp_features)
        assert client.docmd(command)[0] == 500
        queue_id = send(client)
    assert "192.0.2.1" not in servers.commands.received_header(queue_id)


PASSES: Final[dict[Mode, dict[str, Any]]] = {
    "starttls": {"starttls": {"exceptions": [{"match": [HOST], "action": "allow"}]}},
    "smtps": {"action": {"tls": {"profile": "Profile", "action": "allow"}}},
}


@pytest.mark.parametrize(("how", "mode"), [("proxy_v2", "starttls"), ("proxy_v2", "smtps"), ("xclient", "starttls")])
def test_a_client_whose_tls_passes_is_told_of_and_cannot_say_it_is_another(
    lab: Lab, servers: Servers, how: str, mode: Mode
) -> None:
    server = servers.of(how)
    gateway = lab.gateway(server, telling(how, **PASSES[mode]))
    context = trusting(lab.authorities.internet)
    with connect(gateway, mode, context, CLIENT) as client:
        assert "xclient" not in client.esmtp_features
        assert client.docmd("XCLIENT", "ADDR=192.0.2.1")[0] in {502, 503, 550}
        client.ehlo("client.test")
        queue_id, port = send(client), port_of(client)
    assert f"{queue_id}: client=unknown[{CLIENT}]:{port}" in server.log
    wait_until(lambda: len(gateway.records) == 1, "the session is on record")
    assert gateway.records[0]["inspected"].startswith("no, because ")


@pytest.mark.parametrize("mode", ["starttls", "smtps"])
@pytest.mark.parametrize("sends", ["send-proxy", "send-proxy-v2"])
def test_through_a_balancer_and_the_gateway_postfix_knows_the_client(
    lab: Lab, servers: Servers, sends: str, mode: Mode
) -> None:
    if reason := haproxy.why_not():
        pytest.skip(reason)
    gateway = lab.gateway(servers.headers, telling("proxy_v2", interception=BEHIND_BALANCER))
    with contextlib.closing(haproxy.HaProxy(gateway, sends)) as balancer:
        with connect(balancer, mode, lab.trusting_proxy, CLIENT) as client:
            queue_id, port = send(client), port_of(client)
        assert f"{queue_id}: client=unknown[{CLIENT}]:{port}" in servers.headers.log
        assert servers.headers.received_header(queue_id).startswith(f"Received: from client.test (unknown [{CLIENT}])")


def test_what_a_balancer_says_besides_is_passed_on(lab: Lab) -> None:
    tlvs = Tlv(0x05, b"an-id"), Tlv(0xEA, b"\1vpce-1")
    said = Proxied(Endpoint("127.0.0.7", 40000), Endpoint("198.51.100.1", 25), tlvs)
    with socket.create_server((HOST, 0)) as server:
        server.settimeout(30)
        gateway = lab.gateway(Upstream(server.getsockname()[1], 1), telling("proxy_v2", interception=BEHIND_BALANCER))
        with socket.create_connection((HOST, gateway.smtp_port), 30) as balancer:
            balancer.sendall(to_binary(said, checksum=True))
            accepted, _ = server.accept()
            with accepted, accepted.makefile("rb") as told:
                assert told.read(len(to_binary(said))) == to_binary(said)


def test_postfix_takes_mail_whatever_a_balancer_says_besides(lab: Lab, servers: Servers) -> None:
    said = Proxied(Endpoint(CLIENT, 40000), Endpoint("198.51.100.1", 25), (Tlv(0x05, b"an-id"), Tlv(0xE0, bytes(3000))))
    gateway = lab.gateway(servers.headers, telling("proxy_v2", interception=BEHIND_BALANCER))
    with smtplib.SMTP() as client:
        client.sock = socket.create_connection((HOST, gateway.smtp_port), 30)
        client.sock.sendall(to_binary(said))
        assert client.getreply()[0] == 220
        client.ehlo("client.test")
        assert f"{send(client)}: client=unknown[{CLIENT}]:40000" in servers.headers.log


# Asked by commands


def run(gateway: Gateway, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [PROGRAMS / "smtpproxy", *words, "-c", gateway.configuration],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def explained(gateway: Gateway) -> dict[str, Any]:
    question = ("--from", "a@client.test", "--to", "b@[192.0.2.1]", "--clear", "--online", "--format", "json")
    done = run(gateway, "explain", *question)
    assert done.returncode == 0, done.stderr
    online: dict[str, Any] = json.loads(done.stdout)["online"]
    return online


@pytest.mark.parametrize("how", ["proxy_v2", "xclient", "xforward"])
def test_check_and_explain_find_such_an_upstream_well(lab: Lab, servers: Servers, how: str) -> None:
    server = servers.of(how)
    gateway = lab.gateway(server, telling(how))
    done = run(gateway, "check", "--online")
    assert done.returncode == 0
    for port in (server.smtp_port, server.smtps_port):
        assert f"good: upstream {HOST}:{port} (Test policy): TLSv1.3, certificate valid" in done.stdout
    online = explained(gateway)
    assert online["upstream"]["failure"] is None
    assert online["recipients"][0]["replies"][0]["passes"] is True


def test_an_upstream_that_waits_for_a_header_is_told_from_one_that_does_not(lab: Lab, servers: Servers) -> None:
    gateway = lab.gateway(servers.headers, telling("proxy_v2"))
    where = f"{HOST}:{servers.headers.smtp_port}"
    without = run(gateway, "probe", where, "--timeout", "2")
    assert without.returncode == 76
    assert run(gateway, "probe", where, "--proxy-header").returncode == 0


def test_check_and_explain_tell_that_xclient_is_not_offered(lab: Lab, postfix_server: Postfix) -> None:
    gateway = lab.gateway(postfix_server, telling("xclient"))
    done = run(gateway, "check", "--online")
    assert done.returncode == 76
    wanted = f"problem: upstream {HOST}:{postfix_server.smtp_port} (Test policy): XCLIENT is not offered"
    assert wanted in done.stdout
    (reply,) = explained(gateway)["recipients"][0]["replies"]
    assert (reply["passes"], reply["at"], reply["because"]) == (False, "session", "xclient-not-offered")
