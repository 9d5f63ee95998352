from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from smtpproxy.config.load import load_configuration
from smtpproxy.config.problems import ConfigurationErrors

if TYPE_CHECKING:
    from pathlib import Path

PASSING = {
    "by action": "tls: {action: allow}",
    "by an exception": "tls: {exceptions: [{match: [bank.example], action: allow}]}",
}
PASSING_STARTTLS = "starttls: {exceptions: [{match: [192.0.2.1], action: allow}]}"


def load(home: Path, policy: str, action: str) -> str:
    """Return what is told upstream."""
    config = home / "config"
    (config / "proxy-actions").mkdir(parents=True, exist_ok=True)
    (config / "proxy-actions" / "Mine.yaml").write_text(f"kind: client\n{action}\n")
    words = "name: A, direction: outbound, source: [10.0.0.0/8], upstream: {host: mx.example.net}, proxy_action: Mine"
    (config / "smtpproxy.yaml").write_text(f"policies:\n  - {{{words}, {policy}}}\n")
    (loaded,) = load_configuration(config / "smtpproxy.yaml").policies
    return loaded.send_client.value


@pytest.mark.parametrize("passing", PASSING)
@pytest.mark.parametrize("tls_support", ["enabled", "required"])
def test_xclient_cannot_be_said_where_tls_passes_uninspected(home: Path, passing: str, tls_support: str) -> None:
    with pytest.raises(ConfigurationErrors, match="lets TLS of port 465 pass") as raised:
        load(home, f"send_client: xclient, tls_support: {tls_support}", PASSING[passing])
    assert "policies[0].send_client: Mine lets TLS of port 465 pass, where nobody could be told" in str(raised.value)


@pytest.mark.parametrize("passing", PASSING)
@pytest.mark.parametrize(
    ("policy", "told"),
    [
        ("send_client: proxy_v2, tls_support: enabled", "proxy_v2"),
        ("tls_support: enabled", "none"),
        ("send_client: xclient, tls_support: disabled", "xclient"),
    ],
)
def test_elsewhere_tls_may_pass(home: Path, passing: str, policy: str, told: str) -> None:
    assert load(home, policy, PASSING[passing]) == told


def test_starttls_may_pass_since_xclient_comes_before(home: Path) -> None:
    assert load(home, "send_client: xclient, tls_support: disabled", PASSING_STARTTLS) == "xclient"
