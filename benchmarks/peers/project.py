"""The project as users run it: parsing, policy and records on, its upstream certificate checked."""

from __future__ import annotations

import platform
import sys
from typing import TYPE_CHECKING

import yaml
from OpenSSL import SSL

from benchmarks.peers.peer import CLEAR_HOST, HOST, SINK_CLEAR, SINK_IMPLICIT, SINK_STARTTLS, Address, Peer
from smtpproxy import __version__

if TYPE_CHECKING:
    from pathlib import Path

_SMTP, _SMTPS = 5025, 5465


def project(folder: Path) -> Peer:
    """Return the proxy, run by the interpreter that runs this."""
    config = folder / "project" / "config"
    (config / "tls-profiles").mkdir(parents=True)
    (config / "proxy-actions").mkdir()
    for name, content in _files(folder).items():
        (config / name).write_text(yaml.safe_dump(content, sort_keys=False))
    twistd = f"{sys.prefix}/bin/twistd"
    command = (twistd, "--nodaemon", "--pidfile=", "smtpproxy", "--config", str(config / "smtpproxy.yaml"))
    addresses = {
        "clear": Address(CLEAR_HOST, _SMTP),
        "starttls": Address(HOST, _SMTP),
        "implicit": Address(HOST, _SMTPS),
    }
    openssl = SSL.SSLeay_version(SSL.SSLEAY_VERSION).decode()
    version = f"smtpproxy {__version__}, Python {platform.python_version()}, {openssl}"
    return Peer("smtpproxy", "`twistd smtpproxy`, one process", command, addresses, version)


def _files(folder: Path) -> dict[str, object]:
    return {
        "smtpproxy.yaml": {
            "gateway": {"name": "gateway.test", "workers": 1},
            "interception": {
                "mode": "explicit",
                "listen": [HOST, CLEAR_HOST],
                "ports": {"smtp": [_SMTP], "smtps": [_SMTPS]},
            },
            "policies": [_policy("Encrypted", HOST, SINK_STARTTLS), _policy("Clear", CLEAR_HOST, SINK_CLEAR)],
            "certificates": {
                "proxy_server": [_pair(folder, "leaf")],
                "proxy_authority": _pair(folder, "proxy-authority"),
                "untrusted_authority": _pair(folder, "untrusted-authority"),
                "trusted": str(folder / "ca.pem"),
            },
            "records": {"file": str(folder / "project" / "records.jsonl")},
        },
        "tls-profiles/Bench.yaml": {"minimum_protocol": "tls1.3", "certificate_validation": "audit"},
        "proxy-actions/Bench.yaml": {
            "kind": "client",
            "tls": {"action": "inspect", "profile": "Bench"},
            "starttls": {
                "enabled": True,
                "profile": "Bench",
                "rules": [{"name": "default", "sender": "optional", "recipient": "preferred"}],
            },
            "general": {"max_sessions_per_source": 5000},
        },
    }


def _pair(folder: Path, name: str) -> dict[str, str]:
    return {"certificate": str(folder / f"{name}.pem"), "key": str(folder / f"{name}.key")}


def _policy(name: str, destination: str, upstream_smtp: int) -> dict[str, object]:
    return {
        "name": name,
        "direction": "outbound",
        "source": ["127.0.0.0/8"],
        "destination": [f"{destination}/32"],
        "tls_support": "enabled",
        "proxy_action": "Bench",
        "upstream": {"host": HOST, "smtp": upstream_smtp, "smtps": SINK_IMPLICIT},
        "source_address": "gateway",
    }
