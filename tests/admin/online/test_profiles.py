"""A probe by the files of a gateway's TLS profile: authorities, revocation lists and a certificate of ours."""

from __future__ import annotations

import json
import ssl
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from smtpproxy.admin.exits import ExitStatus
from tests.admin.online.homes import Home
from tests.pki import Wanted, make_leaf
from tests.transport.test_revocation import make_list

if TYPE_CHECKING:
    from pathlib import Path

    from tests.admin.online.servers import Servers


@pytest.fixture
def home(made_home: Path, tmp_path: Path, servers: Servers) -> Home:
    home = Home(made_home, tmp_path)
    home.trust(servers.authorities.root.pem)
    return home


def probed(home: Home, port: int, **keys: object) -> dict[str, Any]:
    home.profile("Mine", **keys)
    done = home.run("probe", f"localhost:{port}", "--profile", "Mine", "--once", "--format", "json")
    document: dict[str, Any] = json.loads(done.stdout)
    assert document["status"] == done.returncode
    return document


def test_a_certificate_that_was_revoked_is_the_one_to_blame(home: Home, servers: Servers) -> None:
    pair = servers.authorities.leaf()
    lists = [make_list(servers.authorities.intermediate, pair), make_list(servers.authorities.root)]
    (home.path / "certs" / "lists.crl").write_bytes(b"".join(each.public_bytes(Encoding.PEM) for each in lists))
    document = probed(home, servers.begin(pair).smtp_port, crl=["certs/lists.crl"])
    assert document["status"] == ExitStatus.DATA
    assert document["handshake"]["reason"] == "certificate-revoked"
    leaf, *others = document["chain"]["certificates"]
    assert (leaf["verdict"], leaf["note"]) == ("bad", "certificate revoked")
    assert {each["verdict"] for each in others} == {"doubtful"}


def test_a_list_that_does_not_name_it_does_no_harm(home: Home, servers: Servers) -> None:
    pair, other = servers.authorities.leaf(), servers.authorities.leaf()
    revoked = make_list(servers.authorities.intermediate, other)  # of the root there is none
    (home.path / "certs" / "lists.crl").write_bytes(revoked.public_bytes(Encoding.PEM))
    document = probed(home, servers.begin(pair).smtp_port, crl=["certs/lists.crl"])
    assert document["status"] == ExitStatus.OK
    assert {each["verdict"] for each in document["chain"]["certificates"]} == {"good"}


def test_authorities_of_its_own(home: Home, servers: Servers) -> None:
    (home.path / "certs" / "others.pem").write_bytes(make_leaf(None).pem)
    document = probed(home, servers.begin().smtp_port, trusted="certs/others.pem")
    assert document["handshake"]["reason"] == "certificate-not-trusted"


@pytest.mark.parametrize("highest", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_server_that_insists_on_a_certificate_of_ours(home: Home, servers: Servers, highest: ssl.TLSVersion) -> None:
    context = servers.context(servers.authorities.leaf())
    context.maximum_version, context.verify_mode = highest, ssl.CERT_REQUIRED
    context.load_verify_locations(servers.trusted)
    server = servers.begin_with(context)
    document = probed(home, server.smtp_port)
    assert document["status"] == ExitStatus.PROTOCOL
    assert document["failure"]["reason"] == "client-certificate-required"
    ours = servers.authorities.leaf(Wanted(purposes=(ExtendedKeyUsageOID.CLIENT_AUTH,)))
    home.put("ours", ours)
    pair = {"certificate": "certs/ours.pem", "key": "certs/ours.key"}
    assert probed(home, server.smtp_port, client_certificate=pair)["status"] == ExitStatus.OK


def test_a_profile_with_mistakes_is_told_with_them(home: Home) -> None:
    home.profile("Mine", pfs="perhaps")
    done = home.run("probe", "localhost", "--profile", "Mine")
    assert done.returncode == ExitStatus.CONFIGURATION
    assert "Mine.yaml:1:9: pfs:" in done.stderr
