from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from smtpproxy.admin.online.certificates import tlsa_of
from tests.admin.online.homes import Home
from tests.admin.online.servers import Servers
from tests.admin.online.zone import Zone
from tests.integration.lab.ports import HOST, free_ports
from tests.integration.lab.recorder import Script
from tests.pki import Wanted, make_leaf

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

RULES = [
    {"name": "dane", "to": ["dane.test"], "recipient": "dane"},
    {"name": "sure", "to": ["sure.test"], "recipient": "verified"},
    {"name": "by mx", "to": ["mx.test"], "recipient": "verified", "match": ["mx"]},
    {"name": "required", "to": ["required.test"], "recipient": "required"},
    {"name": "default", "to": ["*"], "sender": "optional", "recipient": "preferred"},
]
DOMAINS = ("dane.test", "sure.test", "mx.test", "required.test", "other.test")


@pytest.fixture
def zone() -> Iterator[Zone]:
    exchangers = {(domain, "MX"): ("10 mx.upstream.test.",) for domain in DOMAINS}
    made = Zone({**exchangers, ("mx.upstream.test", "A"): (HOST,)})
    yield made
    made.close()


@pytest.fixture
def home(made_home: Path, tmp_path: Path, servers: Servers, zone: Zone) -> Home:
    home = Home(made_home, tmp_path)
    home.trust(servers.authorities.root.pem)
    home.set(resolver={"servers": [f"{HOST}:{zone.port}"], "timeout": "2s"})
    return home


def asked(home: Home, port: int, domain: str, *arguments: str, host: str = HOST) -> dict[str, Any]:
    home.policy("Out", {"host": host, "smtp": port}, {"starttls": {"rules": RULES}})
    question = ("--from", "a@inside.test", "--to", f"b@{domain}", "--clear", "--online", *arguments)
    done = home.run("explain", *question, "--format", "json")
    assert done.returncode == 0, done.stderr
    online: dict[str, Any] = json.loads(done.stdout)["online"]
    return online


def told(online: dict[str, Any]) -> tuple[str | None, str | None]:
    (reply,) = online["recipients"][0]["replies"]
    assert reply["passes"] == (reply["at"] is None)
    return reply["at"], reply["because"]


def test_what_upstream_is_and_what_is_published(home: Home, servers: Servers) -> None:
    online = asked(home, servers.begin().smtp_port, "required.test")
    assert online["upstream"]["handshake"]["server_name"] == "mx.upstream.test"  # as the gateway learns from the MX
    assert online["upstream"]["verdict"]["chain"]["mark"] == "good"
    (recipient,) = online["recipients"]
    assert recipient["published"]["secure"] is True
    (host,) = recipient["published"]["mx"]
    assert (host["name"], host["addresses"], host["tlsa"]["answer"]) == ("mx.upstream.test", [HOST], "absent")
    assert recipient["published"]["mta_sts"] is None
    assert (recipient["dane"]["state"], recipient["mta_sts"]["state"]) == ("absent", "absent")
    assert told(online) == (None, None)


@pytest.mark.parametrize("matches", [True, False])
def test_dane(home: Home, servers: Servers, zone: Zone, *, matches: bool) -> None:
    pair = make_leaf(None)  # needs no authority but the zone
    pinned = tlsa_of((pair if matches else make_leaf(None)).certificate.public_bytes(Encoding.DER))
    assert pinned is not None
    zone.says("_25._tcp.mx.upstream.test", "TLSA", pinned)
    online = asked(home, servers.begin(pair).smtp_port, "dane.test")
    state = online["recipients"][0]["dane"]["state"]
    assert state == ("matched" if matches else "mismatched")
    assert told(online) == ((None, None) if matches else ("RCPT", "dane-mismatched"))


def test_a_domain_without_tlsa_where_a_rule_wants_it(home: Home, servers: Servers) -> None:
    assert told(asked(home, servers.begin().smtp_port, "dane.test"))[0] == "RCPT"


def test_names_of_mail_exchangers(home: Home, servers: Servers) -> None:
    assert told(asked(home, servers.begin().smtp_port, "mx.test")) == (None, None)


def test_a_certificate_for_another_domain(home: Home, servers: Servers) -> None:
    online = asked(home, servers.begin().smtp_port, "sure.test")
    assert told(online) == ("RCPT", "upstream-certificate-name")


def test_no_starttls_where_a_rule_wants_it(home: Home, servers: Servers) -> None:
    server = servers.begin(script=Script(starttls=False))
    assert told(asked(home, server.smtp_port, "required.test")) == ("RCPT", "upstream-tls-not-offered")


def test_no_starttls_where_it_is_only_preferred(home: Home, servers: Servers) -> None:
    server = servers.begin(script=Script(starttls=False))
    assert told(asked(home, server.smtp_port, "other.test")) == (None, None)


def test_a_handshake_that_fails(home: Home, servers: Servers) -> None:
    server = servers.begin(script=Script(handshake=False))
    assert told(asked(home, server.smtp_port, "required.test")) == ("RCPT", "upstream-tls-handshake-failed")


def test_nobody_is_there(home: Home) -> None:
    (port,) = free_ports(1)
    assert told(asked(home, port, "other.test")) == ("session", "upstream-connection-refused")


def test_a_name_server_that_does_not_answer(home: Home, servers: Servers) -> None:
    silent = Zone({}, silent=True)
    home.set(resolver={"servers": [f"{HOST}:{silent.port}"], "timeout": "1s"})
    online = asked(home, servers.begin().smtp_port, "dane.test")
    silent.close()
    assert online["recipients"][0]["published"]["answer"] == "failed"
    assert told(online) == ("RCPT", "look-up-failed")


def test_the_picture(home: Home, servers: Servers, zone: Zone) -> None:
    zone.says("_25._tcp.mx.upstream.test", "TLSA", f"3 1 1 {'ab' * 32}")
    home.policy("Out", {"host": HOST, "smtp": servers.begin().smtp_port}, {"starttls": {"rules": RULES}})
    done = home.run("explain", "--from", "a@inside.test", "--to", "b@dane.test", "--to", "c@[192.0.2.1]", "--online")
    assert done.returncode == 0, done.stderr
    assert f"MX of dane.test: mx.upstream.test ({HOST}); DNSSEC vouches for them" in done.stdout
    assert f"TLSA of mx.upstream.test: 3 1 1 {'ab' * 32}" in done.stdout
    assert "DANE: mismatched by mx.upstream.test (certificate-not-trusted)" in done.stdout
    assert "an address literal, of which nothing is published" in done.stdout
    assert "chain valid" in done.stdout
    assert "a client in clear is told: 450 4.7.5" in done.stdout


def test_no_mail_is_sent(home: Home, servers: Servers) -> None:
    server = servers.begin()
    asked(home, server.smtp_port, "other.test")
    assert b"MAIL" not in server.octets.upper()


def test_a_wanted_name(home: Home, servers: Servers) -> None:
    pair = servers.authorities.leaf(Wanted(names=("sure.test",)))
    assert told(asked(home, servers.begin(pair).smtp_port, "sure.test")) == (None, None)
