"""What the standard profiles offer, as OpenSSL's client and testssl.sh see it."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import TYPE_CHECKING, Literal

import pytest

from tests.integration.lab.gateway import Gateway, Setup
from tests.integration.lab.ports import HOST

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.lab.laboratory import Lab

TlsMode = Literal["starttls", "smtps"]
MODES: tuple[TlsMode, ...] = ("starttls", "smtps")
DIRECTIONS = ("outbound", "inbound")


def _port(gateway: Gateway, mode: TlsMode) -> int:
    return gateway.smtp_port if mode == "starttls" else gateway.smtps_port


def _s_client(gateway: Gateway, mode: TlsMode, *options: str) -> str:
    command = ["openssl", "s_client", "-connect", f"{HOST}:{_port(gateway, mode)}", *options]
    if mode == "starttls":
        command += ["-starttls", "smtp", "-name", "client.test"]
    done = subprocess.run(command, input="QUIT\r\n", capture_output=True, text=True, timeout=30, check=False)
    return done.stdout


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_versions_by_openssl(lab: Lab, mode: TlsMode, direction: str) -> None:
    gateway = lab.gateway(lab.recorder(), Setup(direction=direction))
    assert "New, TLSv1.3, Cipher is TLS_" in _s_client(gateway, mode, "-tls1_3")
    assert "New, TLSv1.2, Cipher is ECDHE-" in _s_client(gateway, mode, "-tls1_2")
    for old in ("-tls1_1", "-tls1"):
        assert "Cipher is (NONE)" in _s_client(gateway, mode, old, "-cipher", "ALL:@SECLEVEL=0")


def test_a_minimum_of_tls_1_3_refuses_1_2(lab: Lab) -> None:
    gateway = lab.gateway(lab.recorder(), Setup(profile={"minimum_protocol": "tls1.3"}))
    assert "New, TLSv1.3" in _s_client(gateway, "smtps", "-tls1_3")
    assert "Cipher is (NONE)" in _s_client(gateway, "smtps", "-tls1_2")


@pytest.mark.parametrize("offer", ["h2,http/1.1", "smtp"])
def test_an_alpn_offer_is_no_obstacle(lab: Lab, offer: str) -> None:
    gateway = lab.gateway(lab.recorder())
    assert "New, TLSv1.3" in _s_client(gateway, "smtps", "-alpn", offer)


@pytest.mark.parametrize("mode", MODES)
def test_protocols_and_cipher_categories_by_testssl(lab: Lab, mode: TlsMode, tmp_path: Path) -> None:
    program = shutil.which("testssl") or shutil.which("testssl.sh")
    if program is None:
        pytest.skip("testssl.sh is not installed")
    gateway = lab.gateway(lab.recorder())
    report = tmp_path / "report.json"
    starttls = ["--starttls", "smtp"] if mode == "starttls" else []
    command = [program, "--quiet", "--color", "0", "--warnings", "off", "--nodns", "none"]
    command += ["--protocols", "--std", "--jsonfile", str(report), *starttls, f"{HOST}:{_port(gateway, mode)}"]
    subprocess.run(command, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL, timeout=300, check=False)
    found = {entry["id"]: entry["finding"] for entry in json.loads(report.read_text())}
    for old in ("SSLv2", "SSLv3", "TLS1", "TLS1_1"):
        assert found[old].startswith("not offered"), (old, found[old])
    for modern in ("TLS1_2", "TLS1_3"):
        assert found[modern].startswith("offered"), (modern, found[modern])
    weak = {name: finding for name, finding in found.items() if name.startswith("cipherlist_")}
    strong = weak.pop("cipherlist_STRONG")
    assert strong.startswith("offered")
    assert all(finding.startswith("not offered") for finding in weak.values()), weak
    assert len(weak) >= 5
