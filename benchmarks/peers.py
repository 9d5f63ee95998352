"""Who takes part, how each is set up, and the certificates that they need.

Everybody stands between the load and the same sink, and does the same work: one TLS handshake with either side, the
client shown an ECDSA P-256 certificate, the sink's certificate checked against the bench CA (sslsplit cannot check).
"""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import yaml

if TYPE_CHECKING:
    from pathlib import Path

HOST = "127.0.0.1"
CLEAR_HOST = "127.0.0.2"  # where the project has a policy whose upstream offers no STARTTLS


class Address(NamedTuple):
    """Where a client dials."""

    host: str
    port: int


@dataclass(frozen=True)
class Peer:
    """A program that takes part.

    Args:
        name: in the table.
        command: starts it in the foreground; empty for the sink itself.
        addresses: where it serves each mode.
    """

    name: str
    command: tuple[str, ...]
    addresses: dict[str, Address]


SINK_PORTS = ("--clear", "2525", "--starttls", "2526", "--implicit", "2465", "--polite", "2475")
SINK = (*SINK_PORTS, "--certificate", "sink.pem", "--key", "sink.key")

DIRECT = Peer(
    "direct", (), {"clear": Address(HOST, 2525), "starttls": Address(HOST, 2526), "implicit": Address(HOST, 2465)}
)

CERTIFICATES = """
new_key() { openssl ecparam -name prime256v1 -genkey -noout -out "$1.key"; }
for authority in ca proxy-authority untrusted-authority; do
  new_key $authority
  openssl req -x509 -key $authority.key -days 30 -subj "/CN=bench $authority" -out $authority.pem \
    -addext keyUsage=critical,keyCertSign,cRLSign
done
for pair in sink:ca leaf:proxy-authority; do
  name=${pair%:*} authority=${pair#*:}
  new_key $name
  cat > $name.ext <<EXT
subjectAltName=DNS:sink.test,IP:127.0.0.1
basicConstraints=critical,CA:FALSE
keyUsage=critical,digitalSignature
extendedKeyUsage=serverAuth
subjectKeyIdentifier=hash
authorityKeyIdentifier=keyid
EXT
  openssl req -new -key $name.key -subj "/CN=sink.test" |
    openssl x509 -req -CA $authority.pem -CAkey $authority.key -CAcreateserial \\
      -days 20 -extfile $name.ext -out $name.pem
  cat $name.pem $name.key > $name.both
done
"""

_HAPROXY = f"""
global
  nbthread 1
  maxconn 6000
defaults
  mode tcp
  timeout connect 5s
  timeout client 300s
  timeout server 300s
listen implicit
  bind {HOST}:4102 ssl crt leaf.both
  server sink {HOST}:2465 ssl verify required ca-file ca.pem sni str(sink.test)
"""

_STUNNEL = f"""
foreground = yes
pid =
debug = 3
[starttls-in]
accept = {HOST}:4201
connect = {HOST}:4206
protocol = smtp
cert = leaf.both
[starttls-out]
client = yes
accept = {HOST}:4206
connect = {HOST}:2526
protocol = smtp
CAfile = ca.pem
verifyChain = yes
[implicit-in]
accept = {HOST}:4202
connect = {HOST}:4207
cert = leaf.both
[implicit-out]
client = yes
accept = {HOST}:4207
connect = {HOST}:2465
CAfile = ca.pem
verifyChain = yes
"""


def prepare(folder: Path) -> list[Peer]:
    """Write everybody's configuration into ``folder`` and return those that can run here."""
    present = [DIRECT]
    if shutil.which("haproxy"):
        (folder / "haproxy.cfg").write_text(_HAPROXY)
        present.append(Peer("haproxy", ("haproxy", "-f", "haproxy.cfg", "-db"), {"implicit": Address(HOST, 4102)}))
    if shutil.which("sslsplit"):
        present.append(_sslsplit())
    if shutil.which("stunnel"):
        (folder / "stunnel.conf").write_text(_STUNNEL)
        addresses = {"starttls": Address(HOST, 4201), "implicit": Address(HOST, 4202)}
        present.append(Peer("stunnel", ("stunnel", "stunnel.conf"), addresses))
    present.append(_project(folder))
    return present


def _sslsplit() -> Peer:
    signing = ("-K", "leaf.key", "-k", "proxy-authority.key", "-c", "proxy-authority.pem")
    # The polite port: some sessions that the server closes first end its whole process.
    route = ("ssl", HOST, "4002", HOST, "2475")
    return Peer("sslsplit", ("sslsplit", *signing, *route), {"implicit": Address(HOST, 4002)})


def _project(folder: Path) -> Peer:
    """The proxy with parsing, policy and records on, its upstream certificate checked."""
    configuration = folder / "project" / "config" / "smtpproxy.yaml"
    (configuration.parent / "tls-profiles").mkdir(parents=True)
    (configuration.parent / "proxy-actions").mkdir()
    for name, content in _project_files(folder).items():
        (configuration.parent / name).write_text(yaml.safe_dump(content, sort_keys=False))
    twistd = f"{sys.prefix}/bin/twistd"
    command = (twistd, "--nodaemon", "--pidfile=", "smtpproxy", "--config", str(configuration))
    addresses = {
        "starttls": Address(HOST, 5025),
        "implicit": Address(HOST, 5465),
        "clear": Address(CLEAR_HOST, 5025),
    }
    return Peer("project", command, addresses)


def _project_files(folder: Path) -> dict[str, object]:
    def pair(name: str) -> dict[str, str]:
        return {"certificate": str(folder / f"{name}.pem"), "key": str(folder / f"{name}.key")}

    def policy(name: str, destination: str, upstream_smtp: int) -> dict[str, object]:
        return {
            "name": name,
            "direction": "outbound",
            "source": ["127.0.0.0/8"],
            "destination": [f"{destination}/32"],
            "tls_support": "enabled",
            "proxy_action": "Bench",
            "upstream": {"host": HOST, "smtp": upstream_smtp, "smtps": 2465},
            "source_address": "gateway",
        }

    return {
        "smtpproxy.yaml": {
            "gateway": {"name": "gateway.test", "workers": 1},
            "interception": {
                "mode": "explicit",
                "listen": [HOST, CLEAR_HOST],
                "ports": {"smtp": [5025], "smtps": [5465]},
            },
            "policies": [policy("Encrypted", HOST, 2526), policy("Clear", CLEAR_HOST, 2525)],
            "certificates": {
                "proxy_server": [pair("leaf")],
                "proxy_authority": pair("proxy-authority"),
                "untrusted_authority": pair("untrusted-authority"),
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
        },
    }
