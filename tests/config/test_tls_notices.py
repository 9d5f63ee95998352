from __future__ import annotations

from pathlib import Path

import pytest

from smtpproxy.config.written import read_written

MAIN = """\
policies:
  - {name: A, direction: outbound, source: [10.0.0.0/8], proxy_action: Mine, upstream: {host: mx.example.net}, %s}
"""
PASSING = 'tls: {exceptions: [{match: ["*.bank.example"], action: allow}]}'
HIDDEN = 'tls: {exceptions: [{match: ["*"], action: inspect}, {match: [bank.example], action: allow}]}'
STARTTLS = "starttls: {exceptions: [{match: [192.0.2.0/24], action: allow}]}"


def told_of_the_log(home: Path, action: str, policy: str) -> list[str]:
    config = home / "config"
    (config / "proxy-actions").mkdir(parents=True, exist_ok=True)
    (config / "proxy-actions" / "Mine.yaml").write_text(f"kind: client\n{action}\n")
    (config / "smtpproxy.yaml").write_text(MAIN % policy)
    return [each.message for each in read_written(config / "smtpproxy.yaml").notices if "log" in each.message]


@pytest.mark.parametrize("action", [PASSING, STARTTLS])
def test_xforward_is_said_in_no_tunnel(home: Path, action: str) -> None:
    assert told_of_the_log(home, action, "send_client: xforward") == [
        "upstream's log is told nothing of who passes in a tunnel, as Mine allows"
    ]


@pytest.mark.parametrize(
    ("action", "policy"),
    [
        (HIDDEN, "send_client: xforward"),
        (PASSING, "send_client: proxy_v2"),
        (PASSING, "send_client: xforward, tls_support: disabled"),
        (STARTTLS, "send_client: xforward, tls_support: required"),
    ],
)
def test_where_nothing_is_lost_nothing_is_told(home: Path, action: str, policy: str) -> None:
    assert told_of_the_log(home, action, policy) == []
