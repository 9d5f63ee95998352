"""GnuTLS's client and OpenSSL's against each predefined TLS profile: what it takes, and what it refuses."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING, Final, Literal

import pytest
import yaml

from tests.integration.lab.gateway import Gateway, Setup
from tests.integration.lab.ports import HOST

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.lab.laboratory import Lab

TlsMode = Literal["starttls", "smtps"]
MODES: Final[tuple[TlsMode, ...]] = ("starttls", "smtps")
VERSIONS: Final = ("1.0", "1.1", "1.2", "1.3")
PROFILES: Final = {
    entry.name.removesuffix(".yaml"): yaml.load(entry.read_text(), yaml.BaseLoader)  # noqa: S506 - `off` is a word here
    for entry in files("smtpproxy.config").joinpath("predefined", "tls-profiles").iterdir()
}
SAID: Final = b"EHLO client.test\r\nQUIT\r\n"


@dataclass(frozen=True)
class Shown:
    """How a client may know a gateway: whom it trusts, and by which name."""

    trusted: Path
    name: str


@pytest.fixture(params=sorted(PROFILES))
def profile(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def inbound(profile: str) -> bool:
    return profile.startswith("TLS-Server")


@pytest.fixture
def gateway(lab: Lab, profile: str, inbound: bool) -> Gateway:  # noqa: FBT001 - a fixture
    return lab.gateway(lab.recorder(), Setup(direction="inbound" if inbound else "outbound", profile=PROFILES[profile]))


@pytest.fixture
def shown(lab: Lab, inbound: bool, tmp_path: Path) -> Shown:  # noqa: FBT001 - a fixture
    authority = lab.authorities.inside if inbound else lab.authorities.proxy
    path = tmp_path / "trusted.pem"
    path.write_bytes(authority.cert_pem.bytes())
    return Shown(path, "mail.inside.test" if inbound else "mx.upstream.test")


def port(gateway: Gateway, mode: TlsMode) -> str:
    return str(gateway.smtp_port if mode == "starttls" else gateway.smtps_port)


def run(*command: str) -> str:
    return subprocess.run(command, input=SAID, capture_output=True, timeout=60, check=False).stdout.decode()


def gnutls(gateway: Gateway, mode: TlsMode, shown: Shown, *options: str) -> str:
    """Return what was said inside TLS, nothing without TLS; the certificate and its name are checked."""
    if shutil.which("gnutls-cli") is None:
        pytest.skip("gnutls-cli is not installed")
    starttls = ["--starttls-proto=smtp"] if mode == "starttls" else []
    names = [f"--sni-hostname={shown.name}", f"--verify-hostname={shown.name}", f"--x509cafile={shown.trusted}"]
    told = run("gnutls-cli", *starttls, *names, *options, "--port", port(gateway, mode), HOST)
    _, handshake, said = told.partition("- Handshake was completed")
    return said if handshake else ""


def openssl(gateway: Gateway, mode: TlsMode, shown: Shown, *options: str) -> str:
    """Return what was said inside TLS, nothing without TLS; the certificate and its name are checked."""
    starttls = ["-starttls", "smtp", "-name", "client.test"] if mode == "starttls" else []
    names = ["-servername", shown.name, "-verify_hostname", shown.name, "-CAfile", str(shown.trusted)]
    where = ["-connect", f"{HOST}:{port(gateway, mode)}"]
    return run("openssl", "s_client", "-quiet", "-verify_return_error", *where, *starttls, *names, *options)


CLIENTS: Final = {"gnutls": gnutls, "openssl": openssl}
OLDEST: Final = {name: float(profile["minimum_protocol"].removeprefix("tls")) for name, profile in PROFILES.items()}


def only(client: str, version: str) -> list[str]:
    """Return the options for one version; both libraries want to be asked for what RFC 8996 retired."""
    if client == "gnutls":
        return [f"--priority=NORMAL:-VERS-ALL:+VERS-TLS{version}:%VERIFY_ALLOW_SIGN_WITH_SHA1:+SIGN-ALL"]
    return ["-tls" + version.replace(".0", "").replace(".", "_"), "-cipher", "ALL:@SECLEVEL=0"]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("client", CLIENTS)
def test_a_dialogue_inside_a_checked_certificate(gateway: Gateway, mode: TlsMode, client: str, shown: Shown) -> None:
    said = CLIENTS[client](gateway, mode, shown)
    assert "250-PIPELINING" in said
    assert "221 2.0.0" in said


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("client", CLIENTS)
def test_no_version_older_than_the_profiles(
    gateway: Gateway, profile: str, client: str, shown: Shown, version: str
) -> None:
    said = CLIENTS[client](gateway, "smtps", shown, *only(client, version))
    assert ("221 2.0.0" in said) is (float(version) >= OLDEST[profile])


@pytest.mark.parametrize("client", CLIENTS)
def test_another_name_is_not_taken_for_ours(gateway: Gateway, client: str, shown: Shown) -> None:
    assert CLIENTS[client](gateway, "smtps", Shown(shown.trusted, "www.bank.test")) == ""
