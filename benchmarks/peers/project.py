"""The project as users run it: parsing, policy and records on, its upstream certificate checked."""

from __future__ import annotations

import platform
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import yaml
from OpenSSL import SSL

from benchmarks.peers.peer import CLEAR_HOST, HOST, SINK_CLEAR, SINK_IMPLICIT, SINK_STARTTLS, Address, Peer
from smtpproxy import __version__

if TYPE_CHECKING:
    from pathlib import Path

_PORTS, _PORTS_OF_BEFORE, _PORTS_OF_WORKERS = (5025, 5465), (5125, 5565), (5225, 5665)

TWO_WORKERS = "two-workers"


def project(folder: Path) -> Peer:
    """Return the proxy, run by the interpreter that runs this."""
    return _peer(folder, "smtpproxy", sys.prefix, _PORTS, _version())


def two_workers(folder: Path) -> Peer:
    """Return the proxy with two workers, which have every core: one more than one process could use."""
    peer = _peer(folder, TWO_WORKERS, sys.prefix, _PORTS_OF_WORKERS, _version(), workers=2)
    return replace(peer, title="`twistd smtpproxy`, two workers on every core", has_every_core=True)


def before(folder: Path, prefix: str) -> Peer:
    """Return another version of the proxy, to tell what a change gave.

    Args:
        folder: for its configuration.
        prefix: of an environment in which it is installed.
    """
    return _peer(folder, "before", prefix, _PORTS_OF_BEFORE, prefix)


def _version() -> str:
    openssl = SSL.SSLeay_version(SSL.SSLEAY_VERSION).decode()
    return f"smtpproxy {__version__}, Python {platform.python_version()}, {openssl}"


def _peer(folder: Path, name: str, prefix: str, ports: tuple[int, int], version: str, *, workers: int = 1) -> Peer:
    config = folder / name / "config"
    (config / "tls-profiles").mkdir(parents=True)
    (config / "proxy-actions").mkdir()
    for file, content in _files(folder, name, ports, workers).items():
        (config / file).write_text(yaml.safe_dump(content, sort_keys=False))
    command = (f"{prefix}/bin/twistd", "--nodaemon", "--pidfile=", "smtpproxy")
    smtp, smtps = ports
    addresses = {
        "clear": Address(CLEAR_HOST, smtp),
        "starttls": Address(HOST, smtp),
        "implicit": Address(HOST, smtps),
    }
    options = ("--config", str(config / "smtpproxy.yaml"))
    return Peer(name, "`twistd smtpproxy`, one process", (*command, *options), addresses, version)


def _files(folder: Path, name: str, ports: tuple[int, int], workers: int) -> dict[str, object]:
    smtp, smtps = ports
    return {
        "smtpproxy.yaml": {
            "gateway": {"name": "gateway.test", "workers": workers},
            "interception": {
                "mode": "explicit",
                "listen": [HOST, CLEAR_HOST],
                "ports": {"smtp": [smtp], "smtps": [smtps]},
            },
            "policies": [_policy("Encrypted", HOST, SINK_STARTTLS), _policy("Clear", CLEAR_HOST, SINK_CLEAR)],
            "certificates": {
                "proxy_server": [_pair(folder, "leaf")],
                "proxy_authority": _pair(folder, "proxy-authority"),
                "untrusted_authority": _pair(folder, "untrusted-authority"),
                "trusted": str(folder / "ca.pem"),
            },
            "records": {"file": str(folder / name / "records.jsonl")},
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
