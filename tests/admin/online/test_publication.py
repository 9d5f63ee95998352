"""A server judged by what a mail domain publishes, through a name server on loopback."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from smtpproxy.admin.exits import ExitStatus
from smtpproxy.admin.online.certificates import tlsa_of
from tests.admin.online.homes import Home
from tests.admin.online.zone import Zone
from tests.integration.lab.ports import HOST
from tests.pki import Pair, make_leaf

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.admin.online.servers import Servers


@pytest.fixture
def zone() -> Iterator[Zone]:
    made = Zone({("example.test", "MX"): ("10 mx.upstream.test.",), ("mx.upstream.test", "A"): (HOST,)})
    yield made
    made.close()


@pytest.fixture
def home(made_home: Path, tmp_path: Path, servers: Servers, zone: Zone) -> Home:
    home = Home(made_home, tmp_path)
    home.trust(servers.authorities.root.pem)
    home.set(resolver={"servers": [f"{HOST}:{zone.port}"], "timeout": "2s"})
    return home


def probed(home: Home, port: int) -> dict[str, Any]:
    arguments = (f"localhost:{port}", "--server-name", "mx.upstream.test", "--domain", "example.test", "--once")
    done = home.run("probe", *arguments, "--format", "json")
    document: dict[str, Any] = json.loads(done.stdout)
    assert document["status"] == done.returncode
    return document


def pin(pair: Pair) -> str:
    record = tlsa_of(pair.certificate.public_bytes(Encoding.DER))
    assert record is not None
    return record


def test_records_that_match_need_no_authority(home: Home, servers: Servers, zone: Zone) -> None:
    pair = make_leaf(None)
    zone.says("_25._tcp.mx.upstream.test", "TLSA", pin(pair))
    document = probed(home, servers.begin(pair).smtp_port)
    assert document["verdict"]["chain"]["mark"] == "bad"
    assert (document["dane"]["state"], document["status"]) == ("matched", ExitStatus.OK)


def test_records_that_do_not_match_count_more_than_an_authority(home: Home, servers: Servers, zone: Zone) -> None:
    zone.says("_25._tcp.mx.upstream.test", "TLSA", pin(make_leaf(None)))
    document = probed(home, servers.begin().smtp_port)
    assert document["verdict"]["chain"]["mark"] == "good"
    assert (document["dane"]["state"], document["status"]) == ("mismatched", ExitStatus.DATA)


def test_a_record_of_an_issuer_that_is_sent(home: Home, servers: Servers, zone: Zone) -> None:
    digest = pin(servers.authorities.intermediate).rpartition(" ")[2]
    zone.says("_25._tcp.mx.upstream.test", "TLSA", f"2 1 1 {digest}")
    assert probed(home, servers.begin().smtp_port)["dane"]["state"] == "matched"


def test_where_nothing_is_published_the_chain_decides(home: Home, servers: Servers) -> None:
    document = probed(home, servers.begin().smtp_port)
    assert (document["dane"]["state"], document["mta_sts"]["state"]) == ("absent", "absent")
    assert document["published"]["mx"][0]["addresses"] == [HOST]
    assert document["status"] == ExitStatus.OK


def test_the_picture(home: Home, servers: Servers) -> None:
    done = home.run("probe", f"localhost:{servers.begin().smtp_port}", "--domain", "example.test", "--once")
    assert f"MX of example.test: mx.upstream.test ({HOST}); DNSSEC vouches for them" in done.stdout
    assert "MTA-STS: no policy, absent" in done.stdout
