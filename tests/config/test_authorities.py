"""Which process opens the keys of the authorities, and which does not."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from smtpproxy.authority.credentials import Authority, Credential
from smtpproxy.config.authorities import load_authorities
from smtpproxy.config.certificates import Keys
from smtpproxy.config.load import keys_elsewhere, load_configuration
from smtpproxy.config.problems import ConfigurationErrors

if TYPE_CHECKING:
    from pathlib import Path

POLICY = "policies:\n  - {name: Out, direction: outbound, source: [10.0.0.0/8], upstream: {host: mx.example.net}}\n"

_WATCHED = """
import sys
opened = []
sys.addaudithook(lambda event, arguments: opened.append(str(arguments[0])) if event == "open" else None)
from pathlib import Path
from smtpproxy.config.load import keys_elsewhere, keys_here, load_configuration
load_configuration(Path(sys.argv[1]), keys={"here": keys_here, "elsewhere": keys_elsewhere}[sys.argv[2]])
print(*sorted({Path(each).name for each in opened if each.endswith(".key")}))
"""


@pytest.fixture
def main(home: Path) -> Path:
    path = home / "config" / "smtpproxy.yaml"
    path.parent.mkdir()
    path.write_text(f"gateway: {{workers: 1}}\n{POLICY}")
    return path


def keys_opened(main: Path, where: str) -> list[str]:
    command = [sys.executable, "-c", _WATCHED, str(main), where]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()


def test_where_the_keys_are_used_elsewhere_they_are_not_opened(main: Path) -> None:
    assert keys_opened(main, "here") == ["proxy-authority.key", "proxy-server.key", "untrusted-authority.key"]
    assert keys_opened(main, "elsewhere") == ["proxy-server.key"]


def test_it_does_without_them(main: Path, home: Path) -> None:
    whole = load_configuration(main).certificates
    for name in ("proxy", "untrusted"):
        (home / "certs" / f"{name}-authority.key").unlink()
    bare = load_configuration(main, keys=keys_elsewhere).certificates
    for name in ("proxy_authority", "untrusted_authority"):
        one, other = getattr(whole, name), getattr(bare, name)
        assert isinstance(one, Credential)
        assert isinstance(other, Authority)
        assert (one.fingerprint, one.certificates) == (other.fingerprint, other.certificates)


def test_where_they_are_used_follows_the_number_of_workers(main: Path) -> None:
    asked: list[int | None] = []

    def by_number(workers: int | None) -> Keys:
        asked.append(workers)
        return Keys.ELSEWHERE

    assert isinstance(load_configuration(main, keys=by_number).certificates.proxy_authority, Authority)
    assert asked == [1]


def test_what_can_be_seen_without_the_keys_is_checked(main: Path, home: Path) -> None:
    certs = home / "certs"
    (certs / "proxy-authority.pem").write_bytes((certs / "proxy-server.pem").read_bytes())
    with pytest.raises(ConfigurationErrors, match=r"proxy_authority\.certificate: .*not a CA certificate"):
        load_configuration(main, keys=keys_elsewhere)
    (certs / "proxy-authority.pem").write_bytes((certs / "untrusted-authority.pem").read_bytes())
    with pytest.raises(ConfigurationErrors, match="untrusted_authority: the same key as proxy_authority"):
        load_configuration(main, keys=keys_elsewhere)


def test_a_key_that_others_may_read_is_told_of_without_opening_it(main: Path, home: Path) -> None:
    (home / "certs" / "proxy-authority.key").chmod(0o644)
    assert "lets others at the private key" in load_configuration(main, keys=keys_elsewhere).notices[0]


def test_the_signing_process_loads_the_authorities_and_their_keys_alone(main: Path, home: Path) -> None:
    main.write_text("policies: nonsense\ncertificates: {trusted: certs/none.pem}\n")
    (home / "certs" / "proxy-server.key").unlink()
    proxy, untrusted = load_authorities(main)
    assert (proxy.certificate, proxy.key) == (
        home / "certs" / "proxy-authority.pem",
        home / "certs" / "proxy-authority.key",
    )
    assert untrusted.credential.certificate.subject != proxy.credential.certificate.subject
