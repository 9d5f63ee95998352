"""MTA-STS and TLSRPT through the whole gateway: a resolver, a policy host on port 443, and an upstream."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import trustme

from tests.integration.lab.client import connect
from tests.integration.lab.gateway import PROGRAMS, Gateway, Setup
from tests.integration.lab.laboratory import Lab
from tests.integration.lab.ports import HOST
from tests.integration.lab.recorder import RecordingUpstream, Script
from tests.integration.lab.unbound import SIGNED, Unbound
from tests.integration.test_workers import workers
from tests.peers.https_host import HttpsHost, response

POLICY_HOST = f"127.83.84.{os.getpid() % 250 + 1}"
"""Policies come from port 443 alone, so the host has an address of its own."""

PATIENCE_S = 20.0
WISH = "v=TLSRPTv1; rua=mailto:reports@example.com"
DEMANDED = {"name": "strict", "recipient": "mta-sts"}
PREFERRED = {"name": "preferred", "recipient": "preferred"}

ACCEPTED, NOT_OFFERED, REFUSED = 250, 550, 450


@dataclass
class World:
    """Policy hosts behind one address, an upstream, and what is published of them."""

    lab: Lab
    resolver: Unbound
    folder: Path
    hosts: list[HttpsHost] = field(default_factory=list)

    def publish(self, name: str, served: bytes) -> str:
        """Publish a domain with a policy and a wish for reports; its mail exchanger is the upstream."""
        domain = f"{name}.{SIGNED}"
        self.resolver.add(domain, "MX", f"10 mx.{domain}.")
        self.resolver.add(f"mx.{domain}", "A", HOST)
        self.resolver.add(f"_mta-sts.{domain}", "TXT", '"v=STSv1; id=1"')
        self.resolver.add(f"_smtp._tls.{domain}", "TXT", f'"{WISH}"')
        self.resolver.add(f"mta-sts.{domain}", "A", POLICY_HOST)
        self.resolver.publish()
        self.serve(f"mta-sts.{domain}", served)
        return domain

    def serve(self, name: str, served: bytes, issuer: trustme.CA | None = None) -> HttpsHost:
        """Serve a policy, in the place of the one before."""
        self.close()
        certificate = (issuer or self.lab.authorities.internet).issue_cert(name, key_type=trustme.KeyType.ECDSA)
        self.hosts.append(HttpsHost(certificate, (POLICY_HOST, 443), served))
        return self.hosts[-1]

    def upstream(self, domain: str, script: Script | None = None) -> RecordingUpstream:
        return self.lab.recorder(script, names=[f"mx.{domain}"])

    def setup(self, rule: dict[str, str], mta_sts: str = "ignore") -> Setup:
        return Setup(
            rules=(rule,),
            policy={"peer_policies": {"mta_sts": mta_sts}},
            main={
                "resolver": {"servers": [self.resolver.endpoint], "timeout": "2s"},
                "mta_sts": {"private_addresses": True},
                "tlsrpt": {"socket": str(self.folder / "collectd")},
            },
        )

    def send(self, gateway: Gateway, domain: str) -> int:
        """Send a message; return the reply's code to its recipient."""
        with connect(gateway, "clear", self.lab.trusting_proxy) as client:
            assert client.mail("a@client.test")[0] == ACCEPTED
            code = client.rcpt(f"b@{domain}")[0]
            if code == ACCEPTED:
                assert client.data(b"Subject: x\r\n\r\nhello\r\n")[0] == ACCEPTED
        return code

    def close(self) -> None:
        while self.hosts:
            self.hosts.pop().close()


@pytest.fixture
def world(lab: Lab, resolver: Unbound) -> Iterator[World]:
    try:
        socket.create_server((POLICY_HOST, 443)).close()
    except OSError as error:
        pytest.skip(f"port 443 of {POLICY_HOST} cannot be had: {error}")
    with TemporaryDirectory() as folder:
        made = World(lab, resolver, Path(folder))
        try:
            yield made
        finally:
            made.close()


def policy(mode: str, host: str) -> bytes:
    return response(f"version: STSv1\r\nmode: {mode}\r\nmx: {host}\r\nmax_age: 86400\r\n".encode())


@pytest.mark.parametrize(
    ("name", "mode", "host", "demanded", "honoured"),
    [
        ("held", "enforce", f"*.held.{SIGNED}", ACCEPTED, ACCEPTED),
        ("broken", "enforce", "mx.other.test", REFUSED, REFUSED),
        ("testing", "testing", "mx.other.test", REFUSED, ACCEPTED),
        ("none", "none", "mx.other.test", REFUSED, ACCEPTED),
    ],
)
def test_a_policy_is_demanded_and_honoured(
    world: World, name: str, mode: str, host: str, demanded: int, honoured: int
) -> None:
    domain = world.publish(name, policy(mode, host))
    upstream = world.upstream(domain)
    assert world.send(world.lab.gateway(upstream, world.setup(DEMANDED)), domain) == demanded
    assert world.send(world.lab.gateway(upstream, world.setup(PREFERRED, "use")), domain) == honoured
    assert world.send(world.lab.gateway(upstream, world.setup(PREFERRED)), domain) == ACCEPTED


def test_a_policy_that_cannot_be_had_counts_as_none(world: World) -> None:
    domain = world.publish("gone", response(b"", "404 Not Found"))
    upstream = world.upstream(domain)
    assert world.send(world.lab.gateway(upstream, world.setup(DEMANDED)), domain) == REFUSED
    assert world.send(world.lab.gateway(upstream, world.setup(PREFERRED, "use")), domain) == ACCEPTED


def test_a_policy_of_a_host_that_nobody_trusts_counts_as_none(world: World) -> None:
    domain = world.publish("strange", b"")
    served = policy("enforce", f"mx.{domain}")
    host = world.serve(f"mta-sts.{domain}", served, world.lab.authorities.stranger)
    assert world.send(world.lab.gateway(world.upstream(domain), world.setup(DEMANDED)), domain) == REFUSED
    assert host.requests == []


def test_a_policy_is_broken_by_a_server_in_clear_or_of_another_name(world: World) -> None:
    domain = world.publish("strict", policy("enforce", f"mx.strict.{SIGNED}"))
    clear = world.upstream(domain, Script(starttls=False))
    assert world.send(world.lab.gateway(clear, world.setup(PREFERRED, "use")), domain) == NOT_OFFERED
    other = world.upstream(f"other.{SIGNED}")
    assert world.send(world.lab.gateway(other, world.setup(PREFERRED, "use")), domain) == REFUSED


def test_a_policy_is_kept_for_the_next_start(world: World) -> None:
    domain = world.publish("kept", policy("enforce", f"mx.kept.{SIGNED}"))
    gateway = world.lab.doomed_gateway(world.upstream(domain), world.setup(DEMANDED))
    try:
        assert world.send(gateway, domain) == ACCEPTED
    finally:
        gateway.close()
    kept = json.loads((gateway.home / "var" / "mta-sts.json").read_text())
    assert [(each["domain"], each["mode"]) for each in kept["policies"]] == [(domain, "enforce")]


def test_a_policy_that_one_worker_has_fetched_all_know_and_who_replaces_one(world: World) -> None:
    domain = world.publish("shared", policy("enforce", "mx.other.test"))
    setup = replace(world.setup(PREFERRED, "use"), workers=2)
    gateway = world.lab.doomed_gateway(world.upstream(domain), setup)
    try:
        assert world.send(gateway, domain) == REFUSED
        world.close()
        assert {world.send(gateway, domain) for _ in range(12)} == {REFUSED}
        for victim in workers(gateway).values():
            os.kill(victim, signal.SIGKILL)
        assert {world.send(gateway, domain) for _ in range(12)} == {REFUSED}
    finally:
        gateway.close()
    kept = json.loads((gateway.home / "var" / "mta-sts.json").read_text())
    assert [(each["domain"], each["mode"]) for each in kept["policies"]] == [(domain, "enforce")]


def test_what_became_of_a_session_is_reported(world: World) -> None:
    domain = world.publish("told", policy("testing", "mx.other.test"))
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as collector:
        collector.bind(str(world.folder / "collectd"))
        collector.settimeout(PATIENCE_S)
        upstream = world.upstream(domain)
        assert world.send(world.lab.gateway(upstream, world.setup(PREFERRED)), domain) == ACCEPTED
        document = json.loads(collector.recv(65536))
    assert document == {
        "dpv": "1",
        "d": domain,
        "pr": WISH,
        "policies": [
            {
                "policy-type": 2,
                "policy-domain": domain,
                "policy-string": ["version: STSv1", "mode: testing", "mx: mx.other.test", "max_age: 86400"],
                "mx-host": ["mx.other.test"],
                "failure-details": [{"c": 205, "n": f"mx.{domain}", "r": HOST, "f": "mx-not-in-policy"}],
                "t": 1,
                "f": 1,
            }
        ],
    }


@pytest.mark.parametrize(("name", "state", "passes"), [("held", "held", True), ("broken", "broken", False)])
def test_a_policy_is_explained_as_it_is_judged(world: World, name: str, state: str, *, passes: bool) -> None:
    domain = world.publish(f"explained-{name}", policy("enforce", f"mx.explained-held.{SIGNED}"))
    gateway = world.lab.gateway(world.upstream(domain), world.setup(DEMANDED))
    program: list[str | Path] = [
        PROGRAMS / "smtpproxy",
        "explain",
        "-c",
        gateway.configuration,
        "--format",
        "json",
        "--online",
    ]
    question = ["--from", "a@client.test", "--to", f"b@{domain}", "--port", str(gateway.smtp_port)]
    done = subprocess.run([*program, *question], capture_output=True, check=False, text=True, timeout=60)
    (told,) = json.loads(done.stdout)["online"]["recipients"]
    assert told["published"]["mta_sts"]["mode"] == "enforce"
    assert told["mta_sts"]["state"] == state
    assert {reply["passes"] for reply in told["replies"]} == {passes}
    assert (world.send(gateway, domain) == ACCEPTED) is passes
