"""A probe by the files of a gateway's TLS profile: authorities, revocation lists and a certificate of ours."""

from __future__ import annotations

import json
import ssl
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.ocsp import OCSPCertStatus
from cryptography.x509.oid import ExtendedKeyUsageOID

from smtpproxy.admin.exits import ExitStatus
from tests.admin.online.homes import Home
from tests.integration.lab.ports import HOST
from tests.peers.chains import lax_root
from tests.peers.responder import Responder, Says
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


def test_a_certificate_whose_responder_says_that_it_was_revoked(home: Home, servers: Servers) -> None:
    issuer = servers.authorities.intermediate
    profile = {"ocsp": "strict", "ocsp_private_responders": [f"{HOST}/32"]}
    with closing(Responder()) as responder:
        pair = responder.leaf(issuer, names=("localhost",))
        port = servers.begin(pair).smtp_port
        responder.say(pair, issuer)
        good = probed(home, port, **profile)
        responder.say(pair, issuer, Says(OCSPCertStatus.REVOKED))
        revoked = probed(home, port, **profile)
    assert (good["status"], good["handshake"]["revocation"]) == (ExitStatus.OK, "good")
    assert (revoked["status"], revoked["handshake"]["reason"]) == (ExitStatus.DATA, "certificate-revoked")
    assert revoked["verdict"]["chain"]["text"] == "not valid, certificate-revoked; revocation: revoked"


def test_a_chain_that_another_verifier_refuses(home: Home, servers: Servers) -> None:
    root = lax_root()
    home.trust(root.certificate.public_bytes(Encoding.PEM))
    port = servers.begin(make_leaf(root, Wanted(names=("localhost",)))).smtp_port
    assert probed(home, port, chain_second_opinion="log")["status"] == ExitStatus.OK
    document = probed(home, port, chain_second_opinion="enforce")
    assert document["status"] == ExitStatus.DATA
    assert document["handshake"]["second_opinion"] == "critical-extension"
    assert document["verdict"]["chain"]["text"].endswith("; another verifier says: critical-extension")


def test_explain_tells_what_the_examination_leads_to(home: Home, servers: Servers) -> None:
    root = lax_root()
    home.trust(root.certificate.public_bytes(Encoding.PEM))
    home.profile("Mine", chain_second_opinion="enforce", certificate_validation="enforce")
    port = servers.begin(make_leaf(root, Wanted(names=("localhost",)))).smtp_port
    home.policy("Out", {"host": "localhost", "smtp": port}, {"starttls": {"profile": "Mine"}})
    question = ("--from", "a@inside.test", "--to", "b@[192.0.2.1]", "--clear", "--online", "--format", "json")
    done = home.run("explain", *question)
    (reply,) = json.loads(done.stdout)["online"]["recipients"][0]["replies"]
    assert (reply["at"], reply["because"]) == ("MAIL", "upstream-tls-certificate-refused")
