from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from smtpproxy.admin.exits import ExitStatus
from smtpproxy.admin.online.certificates import tlsa_of
from tests.admin.online.homes import Home
from tests.admin.online.zone import Zone
from tests.integration.lab.ports import HOST, free_ports
from tests.integration.lab.recorder import Script
from tests.pki import Wanted, make_leaf

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.admin.online.servers import Servers


@pytest.fixture
def home(made_home: Path, tmp_path: Path, servers: Servers) -> Home:
    home = Home(made_home, tmp_path)
    home.trust(servers.authorities.root.pem)
    return home


@pytest.fixture
def zone() -> Iterator[Zone]:
    made = Zone({("example.test", "MX"): ("10 mx.example.test.",), ("mx.example.test", "A"): (HOST,)})
    yield made
    made.close()


def upstream(host: str, port: int) -> dict[str, object]:
    return {"host": host, "smtp": port}


def test_every_upstream_is_dialled(home: Home, servers: Servers) -> None:
    good, bad, bare = servers.begin(), servers.begin(make_leaf(None)), servers.begin(script=Script(starttls=False))
    (nobody,) = free_ports(1)
    home.policy("good", upstream("localhost", good.smtp_port), {})
    home.policy("bad", upstream("localhost", bad.smtp_port), {})
    home.policy("bare", upstream("localhost", bare.smtp_port), {})
    home.policy("down", upstream("localhost", nobody), {})
    home.policy("off", upstream("localhost", 1), {}, enabled=False)
    done = home.run("check", "--online")
    lines = [line for line in done.stdout.splitlines() if "upstream localhost" in line]
    assert [line.partition(":")[0] for line in lines] == ["good", "notice", "problem", "problem"]
    assert "certificate-not-trusted" in lines[1]
    assert "starttls-not-supported" in lines[2]
    assert lines[2].endswith("; mail that a rule wants TLS for is refused")
    assert "connection-refused" in lines[3]
    assert done.returncode == ExitStatus.PROTOCOL  # that of the first problem
    assert len(good.connections) == 1


def test_an_upstream_that_two_policies_share_is_dialled_once(home: Home, servers: Servers) -> None:
    good = servers.begin()
    home.policy("one", upstream("localhost", good.smtp_port), {})
    home.policy("two", upstream("localhost", good.smtp_port), {}, source=["10.0.0.0/8"])
    done = home.run("check", "--online")
    assert done.returncode == ExitStatus.OK
    assert "(one, two): TLSv1.3, certificate valid" in done.stdout
    assert len(good.connections) == 1


def test_an_upstream_that_must_take_xclient(home: Home, servers: Servers) -> None:
    takes = servers.begin(script=Script(keywords=(b"XCLIENT NAME ADDR PORT",)))
    lacks = servers.begin(script=Script(keywords=(b"XCLIENT NAME",)))
    bare = servers.begin(script=Script(starttls=False))
    for name, server in (("takes", takes), ("lacks", lacks), ("bare", bare)):
        home.policy(name, upstream("localhost", server.smtp_port), {}, send_client="xclient")
    home.policy("untold", upstream("localhost", lacks.smtp_port), {})
    done = home.run("check", "--online")
    lines = [line for line in done.stdout.splitlines() if "upstream localhost" in line]
    assert [line.partition(":")[0] for line in lines] == ["good", "problem", "problem", "good"]
    assert all("XCLIENT is not offered to this machine" in line for line in lines[1:3])
    assert done.returncode == ExitStatus.PROTOCOL


def test_the_command_that_shows_an_upstream_begins_as_the_gateway_does(home: Home, servers: Servers) -> None:
    bad = servers.begin(make_leaf(None))
    home.policy("told", upstream("localhost", bad.smtp_port), {}, send_client="proxy_v2")
    home.policy("untold", upstream("localhost", bad.smtp_port), {})
    lines = [line for line in home.run("check", "--online").stdout.splitlines() if "upstream localhost" in line]
    assert len(lines) == len(bad.connections) == 2
    assert lines[1].endswith(f"see: smtpproxy probe localhost:{bad.smtp_port}")


def test_without_online_nobody_is_dialled(home: Home, servers: Servers) -> None:
    good = servers.begin()
    home.policy("one", upstream("localhost", good.smtp_port), {})
    assert home.run("check").returncode == ExitStatus.OK
    assert good.connections == []


@pytest.fixture
def inbound(home: Home, servers: Servers, zone: Zone) -> Home:
    """A gateway before mx.example.test, whose certificate of its own is not that of the server behind it."""
    home.policy("in", upstream("localhost", servers.begin().smtp_port), {}, direction="inbound")
    home.put("proxy-server", make_leaf(None, Wanted(names=("mx.example.test",))))
    home.set(resolver={"servers": [f"{HOST}:{zone.port}"], "timeout": "2s"})
    return home


def test_nothing_is_published(inbound: Home) -> None:
    done = inbound.run("check", "--online")
    assert done.returncode == ExitStatus.OK
    assert "no TLSA record and no MTA-STS policy is published for mx.example.test, example.test" in done.stdout


def test_tlsa_records_of_another_certificate_and_the_one_to_publish(inbound: Home, zone: Zone) -> None:
    zone.says("_25._tcp.mx.example.test", "TLSA", f"3 1 1 {'ab' * 32}")
    done = inbound.run("check", "--online")
    assert done.returncode == ExitStatus.DATA
    assert "problem: mx.example.test: no TLSA record is of the certificate shown" in done.stdout
    found = re.search(r"publish '_25\._tcp\.mx\.example\.test\. IN TLSA (3 1 1 [0-9a-f]{64})'", done.stdout)
    assert found is not None
    zone.says("_25._tcp.mx.example.test", "TLSA", f"3 1 1 {'ab' * 32}", found[1])
    done = inbound.run("check", "--online")
    assert done.returncode == ExitStatus.OK
    assert "good: mx.example.test: the certificate shown is the one of its TLSA records" in done.stdout


def test_the_servers_own_certificate_keeps_what_is_published(inbound: Home, zone: Zone, tmp_path: Path) -> None:
    own = make_leaf(None, Wanted(names=("mx.example.test",)))
    (tmp_path / "own.pem").write_bytes(own.pem + own.key_pem)
    pinned = tlsa_of(own.certificate.public_bytes(Encoding.DER))
    assert pinned is not None
    zone.says("_25._tcp.mx.example.test", "TLSA", pinned)
    assert inbound.run("check", "--online").returncode == ExitStatus.DATA
    files = (str(tmp_path / "own.pem"), str(tmp_path / "own.pem"))
    assert inbound.run("certificate import", *files, "--name", "proxy-server", "--force").returncode == ExitStatus.OK
    assert inbound.run("check", "--online").returncode == ExitStatus.OK


def test_a_name_server_that_does_not_answer(inbound: Home) -> None:
    silent = Zone({}, silent=True)
    inbound.set(resolver={"servers": [f"{HOST}:{silent.port}"], "timeout": "1s"})
    done = inbound.run("check", "--online")
    silent.close()
    assert done.returncode == ExitStatus.UNAVAILABLE
    assert "problem: mx.example.test, example.test cannot be looked up" in done.stdout
