"""Those that pass octets from one TLS leg to the other and read no SMTP: HAProxy, sslsplit and stunnel."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from benchmarks.peers.peer import HOST, SINK_CLEAR, SINK_IMPLICIT, SINK_POLITE, SINK_STARTTLS, Address, Peer, first_line

if TYPE_CHECKING:
    from pathlib import Path

_HAPROXY = f"""
global
  nbthread 1
  maxconn 6000
defaults
  mode tcp
  timeout connect 5s
  timeout client 300s
  timeout server 300s
listen clear
  bind {HOST}:4101
  server sink {HOST}:{SINK_CLEAR}
listen implicit
  bind {HOST}:4102 ssl crt leaf.both
  server sink {HOST}:{SINK_IMPLICIT} ssl verify required ca-file ca.pem sni str(sink.test)
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
connect = {HOST}:{SINK_STARTTLS}
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
connect = {HOST}:{SINK_IMPLICIT}
CAfile = ca.pem
verifyChain = yes
"""


def haproxy(folder: Path) -> Peer | None:
    """Return HAProxy that re-encrypts, and that passes clear text on; ``None`` if it is not installed."""
    if shutil.which("haproxy") is None:
        return None
    (folder / "haproxy.cfg").write_text(_HAPROXY)
    addresses = {"clear": Address(HOST, 4101), "implicit": Address(HOST, 4102)}
    command = ("haproxy", "-f", "haproxy.cfg", "-db")
    return Peer("haproxy", "`mode tcp`, re-encrypting", command, addresses, first_line("haproxy", "-v"))


def sslsplit(_: Path) -> Peer | None:
    """Return sslsplit in its ``ssl`` mode; ``None`` if it is not installed."""
    if shutil.which("sslsplit") is None:
        return None
    signing = ("-K", "leaf.key", "-k", "proxy-authority.key", "-c", "proxy-authority.pem")
    # The polite port: some sessions that the server closes first end its whole process.
    route = ("ssl", HOST, "4002", HOST, str(SINK_POLITE))
    command = ("sslsplit", *signing, *route)
    addresses = {"implicit": Address(HOST, 4002)}
    return Peer("sslsplit", "`ssl`, upstream unverified", command, addresses, first_line("sslsplit", "-V"))


def stunnel(folder: Path) -> Peer | None:
    """Return stunnel as a pair of server and client in one process; ``None`` if it is not installed."""
    if shutil.which("stunnel") is None:
        return None
    (folder / "stunnel.conf").write_text(_STUNNEL)
    addresses = {"starttls": Address(HOST, 4201), "implicit": Address(HOST, 4202)}
    version = first_line("stunnel", "-version")
    return Peer("stunnel", "server and client, joined", ("stunnel", "stunnel.conf"), addresses, version)
