from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from cryptography.x509.oid import ExtendedKeyUsageOID

from smtpproxy.admin.cli import commands
from smtpproxy.admin.exits import CommandError, ExitStatus
from smtpproxy.authority.credentials import CredentialError, load_credential
from smtpproxy.config.load import load_configuration
from tests.pki import DAY, NOW, Pair, Wanted, make_intermediate, make_leaf, make_root


@pytest.fixture
def home(made_home: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made_home, tmp_path / "home"))


def write(folder: Path, pair: Pair, key: Pair | None = None) -> list[str]:
    (folder / "fullchain.pem").write_bytes(pair.pem)
    (folder / "privkey.pem").touch(0o600)
    (folder / "privkey.pem").write_bytes((key or pair).key_pem)
    return [str(folder / "fullchain.pem"), str(folder / "privkey.pem")]


def run(home: Path, *arguments: str) -> Result:
    return CliRunner().invoke(commands, ["certificate", "import", "-c", f"{home}/config/smtpproxy.yaml", *arguments])


def test_what_is_imported_is_what_the_gateway_takes(home: Path) -> None:
    pair = make_leaf(make_intermediate(make_root(), "Intermediate"), Wanted(names=("mx.example.net", "mail.example")))
    result = run(home, *write(home.parent, pair))
    assert result.exit_code == 0, result.output
    *_, line = result.stdout.splitlines()
    assert line == "    - {certificate: certs/mx.example.net.pem, key: certs/mx.example.net.key}"
    main = home / "config" / "smtpproxy.yaml"
    first = "    - {certificate: certs/proxy-server.pem, key: certs/proxy-server.key}\n"
    assert first in main.read_text()
    main.write_text(main.read_text().replace(first, f"{first}{line}\n"))
    servers = load_configuration(main).certificates.proxy_server
    assert servers[1].certificates == pair.chain
    assert servers[1].notices == ()
    key = home / "certs" / "mx.example.net.key"
    assert key.stat().st_mode & 0o777 == 0o600


def test_it_comes_again_only_by_force(home: Path) -> None:
    pair, successor = make_leaf(None), make_leaf(None)
    assert run(home, *write(home.parent, pair), "--name", "mx").exit_code == 0
    refused = run(home, *write(home.parent, successor), "--name", "mx")
    assert isinstance(refused.exception, CredentialError)
    assert "exists already" in str(refused.exception)
    files = (home / "certs" / "mx.pem", home / "certs" / "mx.key")
    assert load_credential(*files).certificates == pair.chain
    assert run(home, *write(home.parent, successor), "--name", "mx", "--force").exit_code == 0
    assert load_credential(*files).certificates == successor.chain


def test_one_that_is_named_already_needs_no_line(home: Path) -> None:
    result = run(home, *write(home.parent, make_leaf(None)), "--name", "proxy-server", "--force")
    assert "takes effect with the next reload" in result.stdout
    assert "- {certificate" not in result.stdout


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (Wanted(authority=True), "a CA certificate"),
        (Wanted(purposes=(ExtendedKeyUsageOID.CLIENT_AUTH,)), "not for servers"),
        (Wanted(names=()), "without any DNS name"),
        (Wanted(not_before=NOW - 3 * DAY, not_after=NOW - DAY), "clients refuse it"),
        (Wanted(not_before=NOW + DAY), "clients refuse it"),
    ],
)
def test_what_clients_would_refuse(home: Path, wanted: Wanted, message: str) -> None:
    result = run(home, *write(home.parent, make_leaf(None, wanted)), "--name", "mx")
    assert isinstance(result.exception, CommandError)
    assert result.exception.status is ExitStatus.DATA
    assert message in str(result.exception)
    assert not (home / "certs" / "mx.pem").exists()
    assert not (home / "certs" / "mx.key").exists()


def test_a_key_of_another_certificate(home: Path) -> None:
    result = run(home, *write(home.parent, make_leaf(None), key=make_leaf(None)))
    assert "does not belong to the certificate" in str(result.exception)


def test_a_chain_out_of_order(home: Path) -> None:
    leaf, root = make_leaf(None), make_root()
    result = run(home, *write(home.parent, Pair(leaf.certificate, leaf.key, (root.certificate,))))
    assert "is not signed by certificate 2" in str(result.exception)


def test_a_leaf_alone_is_noticed(home: Path) -> None:
    pair = make_leaf(make_intermediate(make_root(), "Intermediate"))
    result = run(home, *write(home.parent, Pair(pair.certificate, pair.key)))
    assert result.exit_code == 0
    assert "has no issuer behind it" in result.stderr


@pytest.mark.parametrize("name", ["proxy-authority", "untrusted-authority"])
def test_no_force_costs_an_authority(home: Path, name: str) -> None:
    before = (home / "certs" / f"{name}.key").read_bytes()
    result = run(home, *write(home.parent, make_leaf(None)), "--name", name, "--force")
    assert "is an authority's" in str(result.exception)
    assert (home / "certs" / f"{name}.key").read_bytes() == before


def test_a_name_leads_to_no_other_folder(home: Path) -> None:
    result = run(home, *write(home.parent, make_leaf(None)), "--name", "../config/mx")
    assert isinstance(result.exception, CommandError)
    assert result.exception.status is ExitStatus.USAGE


def test_a_wildcard_has_a_name_that_shells_leave_alone(home: Path) -> None:
    result = run(home, *write(home.parent, make_leaf(None, Wanted(names=("*.example.net",)))))
    assert result.exit_code == 0
    assert (home / "certs" / "wildcard.example.net.pem").exists()
