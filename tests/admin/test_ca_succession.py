from __future__ import annotations

import json
import shutil
import stat
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from smtpproxy.admin.ca_succession import Place
from smtpproxy.admin.cli import commands
from smtpproxy.admin.exits import CommandError, ExitStatus
from smtpproxy.authority.create import create_authority
from smtpproxy.authority.credentials import save_credential
from smtpproxy.config.problems import ConfigurationErrors
from tests.pki import NOW


@pytest.fixture
def home(made_home: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made_home, tmp_path / "home"))


def run(home: Path, *words: str) -> Result:
    return CliRunner().invoke(commands, ["ca", *words, "-c", f"{home}/config/smtpproxy.yaml"])


def ran(home: Path, *words: str) -> str:
    result = run(home, *words)
    assert result.exit_code == 0, result.output
    return result.output


def refusal(result: Result) -> CommandError:
    assert isinstance(result.exception, CommandError)
    return result.exception


def main(home: Path) -> Path:
    return home / "config" / "smtpproxy.yaml"


def certificate(home: Path, name: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate((home / "certs" / f"{name}.pem").read_bytes())


@pytest.mark.parametrize(
    ("place", "following"),
    [
        (Place("certs/a.pem", "certs/a.key", ""), Place("certs/a-2.pem", "certs/a-2.key", "certs/a-2-cross.pem")),
        (Place("/c/a-9.crt", "/k/b.key", None), Place("/c/a-10.crt", "/k/a-10.key", None)),
        (Place("a.pem", "a.pem", ""), Place("a-2.pem", "a-2.key", "a-2-cross.pem")),
    ],
)
def test_where_the_next_one_is(place: Place, following: Place) -> None:
    assert place.at(place.number + 1) == following


def test_the_next_one_is_made_beside_the_present_one(home: Path) -> None:
    before = {path: path.read_bytes() for path in home.rglob("*") if path.is_file()}
    (home / "certs" / "proxy-authority.key").chmod(0o640)
    ran(home, "make")
    assert {path: path.read_bytes() for path in before} == before
    made = {path.name for path in home.rglob("*") if path.is_file()} - {path.name for path in before}
    assert made == {"proxy-authority-2.pem", "proxy-authority-2.key", "proxy-authority-2-cross.pem"}
    assert stat.S_IMODE((home / "certs" / "proxy-authority-2.key").stat().st_mode) == 0o640
    cross, old, new = (certificate(home, f"proxy-authority{name}") for name in ("-2-cross", "", "-2"))
    cross.verify_directly_issued_by(old)
    assert cross.public_key() == new.public_key()
    assert new.subject.rfc4514_string() == f"{old.subject.rfc4514_string()} 2"
    error = refusal(run(home, "make"))
    assert error.status is ExitStatus.DATA
    assert str(error) == "certs/proxy-authority-2.pem is there already and is not overwritten; use it, or move it away"


def test_a_key_of_the_same_kind_is_made(home: Path) -> None:
    key = rsa.generate_private_key(65537, 2048)
    files = (home / "certs" / "proxy-authority.pem", home / "certs" / "proxy-authority.key")
    save_credential(create_authority("Old", NOW, key=key), *files, replace=True)
    told = ran(home, "make", "--name", "Mine", "--days", "10")
    assert "no cross-certificate was made: of certs/proxy-authority.pem, it may certify no other authority" in told
    made = load_pem_private_key((home / "certs" / "proxy-authority-2.key").read_bytes(), None)
    assert isinstance(made, rsa.RSAPrivateKey)
    assert certificate(home, "proxy-authority-2").subject.rfc4514_string() == "CN=Mine"
    assert not (home / "certs" / "proxy-authority-2-cross.pem").exists()
    assert "WARNING: there is no cross-certificate" in ran(home, "switch")


@pytest.mark.parametrize("name", ["x" * 65, "a\nb", "Old"])
def test_a_name_that_cannot_be(home: Path, name: str) -> None:
    files = (home / "certs" / "proxy-authority.pem", home / "certs" / "proxy-authority.key")
    save_credential(create_authority("Old", NOW), *files, replace=True)
    assert refusal(run(home, "make", "--name", name)).status is ExitStatus.USAGE
    assert not (home / "certs" / "proxy-authority-2.key").exists()


def test_both_are_exported_in_one_bundle(home: Path) -> None:
    assert "make the next authority with" in str(refusal(run(home, "export", "--next")))
    ran(home, "make")
    result = run(home, "export", "--next")
    names = ("proxy-authority", "proxy-authority-2")
    assert x509.load_pem_x509_certificates(result.stdout_bytes) == [certificate(home, name) for name in names]
    assert result.stderr.count("SHA-256: ") == 2
    assert refusal(run(home, "export", "--next", "--format", "der")).status is ExitStatus.USAGE


def test_the_switch_changes_one_line_and_no_comment(home: Path) -> None:
    ran(home, "make")
    before = main(home).read_text().splitlines()
    ran(home, "switch")
    changed = [pair for pair in zip(before, main(home).read_text().splitlines(), strict=True) if pair[0] != pair[1]]
    written = (
        "{certificate: certs/proxy-authority-2.pem, key: certs/proxy-authority-2.key, "
        "cross_certificate: certs/proxy-authority-2-cross.pem}"
    )
    assert [after for _, after in changed] == [f"  proxy_authority: {written}"]
    assert "certs/proxy-authority-3.pem is not there" in str(refusal(run(home, "switch")))
    ran(home, "retire")
    assert "cross_certificate" not in main(home).read_text()
    assert "nothing to retire" in str(refusal(run(home, "retire")))
    assert CliRunner().invoke(commands, ["check", "-c", str(main(home))]).exit_code == 0


@pytest.mark.parametrize("which", ["proxy", "untrusted"])
def test_a_switch_that_the_gateway_would_refuse_is_not_written(home: Path, which: str) -> None:
    ran(home, "make", "--authority", which)
    other = "proxy" if which == "untrusted" else "untrusted"
    for kind in ("pem", "key"):
        shutil.copy(home / "certs" / f"{other}-authority.{kind}", home / "certs" / f"{which}-authority-2.{kind}")
    (home / "certs" / "proxy-authority-2-cross.pem").unlink(missing_ok=True)
    before = main(home).read_text()
    result = run(home, "switch", "--authority", which)
    assert isinstance(result.exception, ConfigurationErrors)
    assert "the same key as proxy_authority" in str(result.exception)
    assert main(home).read_text() == before


def test_what_is_shown_at_each_step(home: Path) -> None:
    def states() -> list[tuple[str, str]]:
        found = json.loads(ran(home, "show", "--format", "json"))
        assert all(each["chain"] and not each["problem"] for each in found)
        return [(each["authority"], each["state"]) for each in found]

    untrusted = [("untrusted", "signs")]
    assert states() == [("proxy", "signs"), *untrusted]
    ran(home, "make")
    following = [("proxy", "next"), ("proxy", "next, cross-certificate")]
    assert states() == [("proxy", "signs"), *following, *untrusted]
    assert "the next one is made; when clients trust it, 'smtpproxy ca switch" in ran(home, "show")
    ran(home, "switch")
    signing = [("proxy", "signs"), ("proxy", "signs, cross-certificate"), ("proxy", "before")]
    assert states() == [*signing, *untrusted]
    assert "when all trust this one, 'smtpproxy ca retire" in ran(home, "show")
    ran(home, "retire")
    assert states() == [("proxy", "signs"), ("proxy", "before"), *untrusted]


def test_an_end_that_is_near_is_told(home: Path) -> None:
    files = (home / "certs" / "proxy-authority.pem", home / "certs" / "proxy-authority.key")
    save_credential(create_authority("Old", NOW, 30), *files, replace=True)
    checked = CliRunner().invoke(commands, ["check", "-c", str(main(home))]).output
    assert "certificates.proxy_authority.certificate: certs/proxy-authority.pem: ends in 29 days (" in checked
    assert "'smtpproxy ca make' makes the next one" in checked
    assert "untrusted-authority.pem: ends in" not in checked
    assert "its end is near; make the next one: 'smtpproxy ca make" in ran(home, "show")


def test_the_untrusted_authority_is_never_taken_for_the_next_one(home: Path) -> None:
    for number, name in enumerate(("proxy-authority", "untrusted-authority"), 1):
        for suffix in ("pem", "key"):
            (home / "certs" / f"{name}.{suffix}").rename(home / "certs" / f"authority-{number}.{suffix}")
    text = main(home).read_text()
    for number, name in enumerate(("proxy-authority", "untrusted-authority"), 1):
        text = text.replace(f"certs/{name}.", f"certs/authority-{number}.")
    main(home).write_text(text)
    for words in (["make"], ["switch"], ["switch", "--authority", "untrusted"], ["export", "--next"]):
        error = refusal(run(home, *words))
        assert error.status is ExitStatus.DATA
        assert "differ by their number alone" in str(error)
    assert "BEGIN CERTIFICATE" in ran(home, "export")
