from __future__ import annotations

import os
import pty
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from smtpproxy.admin.cli import commands
from smtpproxy.admin.exits import CommandError, ExitStatus
from smtpproxy.config.problems import ConfigurationErrors
from tests.pki import DAY, NOW, Wanted, make_intermediate, make_leaf, make_root

PROGRAM = Path(sys.executable).with_name("smtpproxy")


@pytest.fixture
def home(made_home: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made_home, tmp_path / "home"))


def export(home: Path, *arguments: str) -> Result:
    return CliRunner().invoke(commands, ["ca", "export", "-c", f"{home}/config/smtpproxy.yaml", *arguments])


def installed(home: Path, name: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate((home / "certs" / f"{name}.pem").read_bytes())


def refusal(result: Result) -> CommandError:
    assert isinstance(result.exception, CommandError)
    return result.exception


def mistake(result: Result) -> str:
    assert isinstance(result.exception, ConfigurationErrors)
    return str(result.exception)


def test_the_certificate_goes_out_and_what_it_is_beside(made_home: Path) -> None:
    result = export(made_home)
    certificate = installed(made_home, "proxy-authority")
    assert result.stdout_bytes == certificate.public_bytes(Encoding.PEM)
    assert certificate.fingerprint(hashes.SHA256()).hex(":").upper() in result.stderr
    assert f"{certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC" in result.stderr
    assert "WARNING" not in result.stderr


def test_the_untrusted_one_is_told_apart_loudly(made_home: Path) -> None:
    result = export(made_home, "--authority", "untrusted", "--format", "der")
    assert result.stdout_bytes == installed(made_home, "untrusted-authority").public_bytes(Encoding.DER)
    assert "WARNING: nobody should install this certificate" in result.stderr


def test_a_file_that_holds_the_key_too_gives_only_the_certificate(home: Path) -> None:
    certificate, key = home / "certs" / "proxy-authority.pem", home / "certs" / "proxy-authority.key"
    certificate.write_bytes(key.read_bytes() + certificate.read_bytes())
    result = export(home)
    assert result.stdout.count("-----BEGIN") == 1
    assert "PRIVATE" not in result.output


def test_no_key_is_opened(home: Path) -> None:
    for key in (home / "certs").glob("*.key"):
        key.unlink()
    assert export(home).exit_code == 0


@pytest.mark.parametrize(("form", "count", "notice"), [("pem", 2, False), ("der", 1, True)])
def test_the_chain_of_an_intermediate(home: Path, form: str, count: int, *, notice: bool) -> None:
    root = make_root()
    pair = make_intermediate(root, "Proxy Authority of a company", 0)
    (home / "certs" / "proxy-authority.pem").write_bytes(pair.pem + root.pem)
    result = export(home, "--format", form)
    load = x509.load_pem_x509_certificates if form == "pem" else lambda der: [x509.load_der_x509_certificate(der)]
    assert load(result.stdout_bytes) == [pair.certificate, root.certificate][:count]
    assert result.stderr.count("SHA-256: ") == count
    assert ("DER holds one certificate" in result.stderr) is notice


def test_a_file_is_written_once(home: Path) -> None:
    target = home / "ca.pem"
    result = export(home, "--output", str(target))
    assert result.stdout == ""
    assert target.read_bytes() == (home / "certs" / "proxy-authority.pem").read_bytes()
    assert stat.S_IMODE(target.stat().st_mode) & 0o133 == 0
    target.write_text("mine")
    error = refusal(export(home, "--output", str(target)))
    assert (error.status, str(error)) == (ExitStatus.DATA, f"{target} exists already; overwrite it with --force")
    assert target.read_text() == "mine"
    assert export(home, "--output", str(target), "--force").exit_code == 0
    assert "BEGIN CERTIFICATE" in target.read_text()
    assert [path.name for path in home.iterdir() if path.name.startswith(".")] == []


def test_a_key_is_never_overwritten(home: Path) -> None:
    key = home / "certs" / "proxy-authority.key"
    before = key.read_bytes()
    error = refusal(export(home, "--output", str(key), "--force"))
    assert error.status is ExitStatus.DATA
    assert key.read_bytes() == before


def test_what_the_system_refuses(home: Path) -> None:
    error = refusal(export(home, "--output", str(home / "none" / "ca.pem")))
    assert (error.status, str(error)) == (ExitStatus.UNAVAILABLE, f"{home}/none/ca.pem: No such file or directory")


def test_der_does_not_go_to_a_terminal(made_home: Path) -> None:
    terminal, side = pty.openpty()
    done = subprocess.run(
        [PROGRAM, "ca", "export", "--format", "der"],
        cwd=made_home,
        stdout=side,
        stderr=subprocess.PIPE,
        check=False,
        text=True,
    )
    os.close(side)
    os.close(terminal)
    assert done.returncode == ExitStatus.USAGE
    assert done.stderr == "smtpproxy: DER is not for a terminal; name a file with --output, or use --format pem\n"


def test_openssl_reads_what_the_program_writes(made_home: Path) -> None:
    made = subprocess.run([PROGRAM, "ca", "export", "--format", "der"], cwd=made_home, capture_output=True, check=True)
    read = subprocess.run(
        ["openssl", "x509", "-inform", "DER", "-noout", "-fingerprint", "-sha256"],
        input=made.stdout,
        capture_output=True,
        check=True,
    )
    assert read.stdout.decode().strip().partition("=")[2] in made.stderr.decode()


def test_no_authority_is_a_mistake_of_the_configuration(home: Path) -> None:
    main, certificate = home / "config" / "smtpproxy.yaml", home / "certs" / "proxy-authority.pem"
    certificate.write_bytes((home / "certs" / "proxy-server.pem").read_bytes())
    text = main.read_text()
    line = text[: text.index("proxy_authority:")].count("\n") + 1
    place = f"{main}:{line}:34: certificates.proxy_authority.certificate: certs/proxy-authority.pem: "
    assert mistake(export(home)).startswith(f"{place}not a CA certificate")
    certificate.write_bytes(make_leaf(None, Wanted(authority=True, not_after=NOW - DAY)).pem)
    assert "and so would every leaf; renew the authority" in mistake(export(home))
    certificate.unlink()
    assert mistake(export(home)).startswith(f"{place}does not exist")
    main.write_text("certificates: {proxy_authority: x}\n")
    assert f"{main}:1:33: certificates.proxy_authority: 'x' is not a mapping" in mistake(export(home))
