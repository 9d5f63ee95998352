from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from rich.console import Console

from smtpproxy.admin.certificate_table import as_table
from smtpproxy.admin.certificate_view import view_file
from smtpproxy.admin.cli import commands
from smtpproxy.admin.exits import CommandError, ExitStatus
from smtpproxy.config.problems import ConfigurationErrors
from tests.pki import DAY, NOW, Pair, Wanted, make_intermediate, make_leaf, make_root

PROGRAM = Path(sys.executable).with_name("smtpproxy")


@pytest.fixture
def home(made_home: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made_home, tmp_path / "home"))


def show(home: Path, *arguments: str, main: str = "smtpproxy.yaml") -> Result:
    runner = CliRunner(env={"COLUMNS": "200"})
    return runner.invoke(commands, ["certificate", "show", "-c", f"{home}/config/{main}", *arguments])


def shown(home: Path, *arguments: str, main: str = "smtpproxy.yaml") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(show(home, "--format", "json", *arguments, main=main).stdout)
    return found


def put(home: Path, name: str, pair: Pair) -> None:
    (home / "certs" / f"{name}.pem").write_bytes(pair.pem)
    key = home / "certs" / f"{name}.key"
    key.touch(0o600)
    key.write_bytes(pair.key_pem)


def add_server(home: Path, *names: str) -> None:
    """Put more Proxy Server certificates behind the first."""
    main = home / "config" / "smtpproxy.yaml"
    first = "    - {certificate: certs/proxy-server.pem, key: certs/proxy-server.key}\n"
    more = "".join(f"    - {{certificate: certs/{name}.pem, key: certs/{name}.key}}\n" for name in names)
    main.write_text(main.read_text().replace(first, first + more))


def test_every_role_of_the_demonstration(made_home: Path) -> None:
    files = shown(made_home, main="demo.yaml")
    assert [file["role"] for file in files] == [
        "Proxy Server",
        "Proxy Authority",
        "untrusted authority",
        "embedded server",
    ]
    assert all(file["key"]["matches"] and file["key"]["mode"] == "0600" for file in files)
    assert all(file["problem"] is None for file in files)
    upstream = files[3]["chain"][0]
    assert upstream["names"] == ["localhost", "127.0.0.1"]
    assert upstream["issuer"] == "CN=SMTP Proxy Demonstration CA"
    until = datetime.fromisoformat(upstream["valid_until"])
    assert until.tzinfo == UTC
    assert upstream["days_left"] in {(until - datetime.now(UTC)).days, (until - datetime.now(UTC)).days + 1}


def test_which_names_choose_each_proxy_server_certificate(home: Path) -> None:
    put(home, "proxy-server", make_leaf(None, Wanted(names=("gw.example.net", "mx.example.net"))))
    put(home, "second", make_leaf(None, Wanted(names=("mx.example.net", "*.example.org"))))
    put(home, "third", make_leaf(None, Wanted(names=("gw.example.net",))))
    add_server(home, "second", "third")
    servers = shown(home)[:3]
    assert [(server["sni"], server["default"]) for server in servers] == [
        (["gw.example.net", "mx.example.net"], True),
        (["*.example.org"], False),
        ([], False),
    ]
    table = show(home).stdout
    assert "for SNI gw.example.net, mx.example.net, any other and none" in table
    assert "for no SNI: others before it have its names" in table


def test_the_chain_of_a_file(tmp_path: Path) -> None:
    root = make_root()
    pair = make_leaf(make_intermediate(root, "Intermediate"))
    (tmp_path / "chain.pem").write_bytes(pair.pem + root.pem)
    (file,) = shown(tmp_path, str(tmp_path / "chain.pem"))
    assert [each["subject"] for each in file["chain"]] == ["CN=mx.example.net", "CN=Intermediate", "CN=Test Root"]
    assert (file["sni"], file["key"], file["problem"]) == (None, None, None)
    assert show(tmp_path, str(tmp_path / "chain.pem")).stdout.count("which is certified by") == 2


def test_a_chain_out_of_order_is_shown_and_blamed(tmp_path: Path) -> None:
    (tmp_path / "chain.pem").write_bytes(make_root().pem + make_leaf(None).pem)
    (file,) = shown(tmp_path, str(tmp_path / "chain.pem"))
    assert len(file["chain"]) == 2
    assert file["problem"].startswith("certificate 1 is not signed by certificate 2")


def test_what_is_no_certificate(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("Dear all")
    for name, message in (("letter.txt", "has no PEM certificate"), ("gone.pem", "does not exist")):
        result = show(tmp_path, str(tmp_path / name))
        assert isinstance(result.exception, CommandError)
        assert result.exception.status is ExitStatus.DATA
        assert str(result.exception).startswith(f"{tmp_path}/{name}: {message}")


def test_what_the_gateway_would_refuse_is_shown_all_the_same(home: Path) -> None:
    put(home, "proxy-authority", make_root("Old", Wanted((), "Old", authority=True, not_after=NOW - DAY / 2)))
    shutil.copy(home / "certs" / "demo-ca.key", home / "certs" / "proxy-server.key")
    (home / "certs" / "untrusted-authority.pem").unlink()
    result = show(home, "--format", "json")
    server, proxy, untrusted = json.loads(result.stdout)
    assert (server["key"]["matches"], server["chain"][0]["key"]) == (False, "ECDSA P-256")
    assert (proxy["key"]["matches"], proxy["chain"][0]["days_left"]) == (True, -1)
    assert (untrusted["chain"], untrusted["key"]) == ([], None)
    assert untrusted["problem"].startswith("does not exist")
    assert isinstance(result.exception, ConfigurationErrors)
    assert [problem.key for problem in result.exception.problems] == [
        "certificates.proxy_server[0].key",
        "certificates.proxy_authority.certificate",
        "certificates.untrusted_authority.certificate",
    ]
    table = show(home).stdout
    assert "matches: NO" in table
    assert "expired" in table
    assert "does not exist" in table


def test_a_key_that_cannot_be_used_says_why(home: Path) -> None:
    (home / "certs" / "proxy-server.key").write_text("-----BEGIN NOTHING-----\n")
    key = shown(home)[0]["key"]
    assert (key["matches"], key["mode"]) == (None, "0600")
    assert key["problem"].startswith("has no PEM private key")


def test_a_key_that_others_may_read_is_noticed(home: Path) -> None:
    (home / "certs" / "proxy-server.key").chmod(0o644)
    result = show(home)
    assert "mode 0644" in result.stdout
    assert "lets others at the private key; chmod 0600" in result.stderr


def test_a_user_without_right_to_the_keys_sees_the_certificates(home: Path) -> None:
    key = home / "certs" / "proxy-server.key"
    key.chmod(0)
    program: list[str | Path] = [PROGRAM, "certificate", "show"]
    if os.geteuid() == 0:
        shutil.chown(key, "nobody")
        program = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--", *program]
    done = subprocess.run(program, cwd=home, capture_output=True, check=False, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Permission denied" in done.stdout


@pytest.mark.parametrize(
    ("after", "text", "colour"),
    [
        (timedelta(days=30, hours=1), "30 days left", "32m"),
        (timedelta(days=29, hours=23), "29 days left", "33m"),
        (timedelta(days=1, hours=1), "1 day left", "33m"),
        (timedelta(hours=-1), "expired", "1;31m"),
    ],
)
def test_how_long_it_lasts_has_a_colour(tmp_path: Path, after: timedelta, text: str, colour: str) -> None:
    path = tmp_path / "a.pem"
    path.write_bytes(make_leaf(None, Wanted(not_after=NOW + after)).pem)
    console = Console(width=150, force_terminal=True, color_system="standard")
    with console.capture() as capture:
        console.print(as_table([view_file("file", path)], tmp_path, NOW))
    assert f"\x1b[{colour}{text}" in capture.get()


def test_a_certificate_of_tomorrow(tmp_path: Path) -> None:
    path = tmp_path / "a.pem"
    path.write_bytes(make_leaf(None, Wanted(not_before=NOW + DAY)).pem)
    assert "not valid yet" in show(tmp_path, str(path)).stdout


def test_names_are_shown_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "a.pem"
    path.write_bytes(make_leaf(None, Wanted(common_name="[bold]\x1b]0;x\x07")).pem)
    table = show(tmp_path, str(path)).stdout
    assert "CN=[bold]\\x1b]0\\;x\\x07" in table


def test_no_key_is_printed(home: Path) -> None:
    for key in (home / "certs").glob("*.key"):
        secret = key.read_text().splitlines()[1]
        assert secret not in show(home).output
        assert secret not in show(home, "--format", "json").output


def test_mistakes_of_form(home: Path) -> None:
    (home / "config" / "smtpproxy.yaml").write_text("certificates: {proxy_server: []}\npolicies: x\n")
    result = show(home)
    assert isinstance(result.exception, ConfigurationErrors)
    assert len(result.exception.problems) == 2
