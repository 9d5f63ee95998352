from __future__ import annotations

from pathlib import Path

import pytest

from smtpproxy.config.load import load_configuration
from smtpproxy.config.problems import ConfigurationErrors

INBOUND = """\
policies:
  - {name: Web, direction: inbound, upstream: {host: a.example}}
  - {name: Old, direction: inbound, proxy_action: Old-Hosts, destination: [192.0.2.1], upstream: {host: a.example}}
"""
OUTBOUND = INBOUND.replace("inbound, proxy_action", "outbound, proxy_action")
BOTH = "kind: server\ntls: {profile: Static}\nstarttls: {profile: Static}\n"
ECDSA_PAIR = "{certificate: certs/proxy-server.pem, key: certs/proxy-server.key}"
RSA_PAIR = "{certificate: certs/rsa-server.pem, key: certs/rsa-server.key}"
REFUSED = (
    "smtpproxy.yaml:3:51: policies[1].proxy_action: in Old-Hosts TLS profile Static has pfs: none, and static RSA "
    "needs a Proxy Server certificate with an RSA key, which no entry of certificates.proxy_server has; add one, or "
    "choose a profile with pfs: allowed or required"
)


def found(home: Path, main: str, action: str = BOTH) -> tuple[list[str], list[str]]:
    """Return the problems of a configuration, and its notices of forward secrecy."""
    files = {"smtpproxy.yaml": main, "proxy-actions/Old-Hosts.yaml": action, "tls-profiles/Static.yaml": "pfs: none\n"}
    for name, text in files.items():
        path = home / "config" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    problems: list[str] = []
    try:
        notices = load_configuration(home / "config" / "smtpproxy.yaml").notices
    except ConfigurationErrors as errors:
        problems, notices = [str(each) for each in errors.problems], errors.notices
    prefix = f"{home}/config/"
    return (
        [each.removeprefix(prefix) for each in problems],
        [each.removeprefix(prefix) for each in notices if "pfs" in each],
    )


@pytest.mark.parametrize(
    ("main", "action"),
    [
        (INBOUND, BOTH),
        (INBOUND, "kind: server\ntls: {profile: Static}\n"),
        (INBOUND, "kind: server\nstarttls: {profile: Static}\n"),
    ],
    ids=["both", "implicit TLS", "STARTTLS"],
)
def test_static_rsa_needs_an_rsa_key(home: Path, main: str, action: str) -> None:
    assert found(home, main, action) == ([REFUSED], [])


@pytest.mark.parametrize(
    ("main", "action"),
    [
        (INBOUND.replace("name: Old,", "name: Old, enabled: false,"), BOTH),
        (OUTBOUND, BOTH.replace("server", "client")),
        (INBOUND.replace("name: Old,", "name: Old, tls_support: disabled,"), "kind: server\ntls: {profile: Static}\n"),
        (
            INBOUND.replace("name: Old,", "name: Old, tls_support: required,"),
            "kind: server\nstarttls: {profile: Static}\n",
        ),
        (INBOUND, "kind: server\nstarttls: {profile: Static, enabled: false}\n"),
        (INBOUND, "kind: server\nstarttls: {profile: Static, rules: [{sender: none}]}\n"),
        (INBOUND + f"certificates: {{proxy_server: [{RSA_PAIR}]}}\n", BOTH),
    ],
    ids=["disabled", "outbound", "no port 465", "no port 25", "no STARTTLS", "STARTTLS not offered", "RSA key"],
)
def test_where_no_client_needs_one_or_there_is_one(home: Path, main: str, action: str) -> None:
    assert found(home, main, action) == ([], [])


def test_notice_of_certificates_that_fail_beside_an_rsa_key(home: Path) -> None:
    main = INBOUND + f"certificates: {{proxy_server: [{ECDSA_PAIR}, {RSA_PAIR}]}}\n"
    assert found(home, main) == (
        [],
        [
            (
                "smtpproxy.yaml:3:51: policies[1].proxy_action: in Old-Hosts TLS profile Static has pfs: none, so the "
                "handshake fails for clients that are shown certificates.proxy_server[0], without an RSA key; list one "
                "with an RSA key first and for each name"
            )
        ],
    )
