"""Haraka with its plugin smtp_proxy, which dials upstream anew for each message."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

from benchmarks.peers.peer import HOST, SINK_STARTTLS, Address, Peer, first_line

if TYPE_CHECKING:
    from pathlib import Path

_STARTTLS, _IMPLICIT = 4401, 4402

_FILES = {
    "smtp.ini": f"listen={HOST}:{_STARTTLS},{HOST}:{_IMPLICIT}\nsmtps_port={_IMPLICIT}\nnodes=0\n",
    "plugins": "tls\nrcpt_to.in_host_list\nqueue/smtp_proxy\n",
    "host_list": "sink.test\n",
    "me": "gateway.test\n",
    "log.ini": "[main]\nlevel=NOTICE\nformat=DEFAULT\n",
    "smtp_proxy.ini": f"host={HOST}\nport={SINK_STARTTLS}\nenable_tls=true\nenable_outbound=false\n"
    "[tls]\nrejectUnauthorized=true\n",
}


def haraka(folder: Path, *, may_install: bool) -> Peer | None:
    """Return Haraka as a proxy, from npm if it may be installed; ``None`` if it cannot run here."""
    program = shutil.which("haraka") or (_install(folder) if may_install and shutil.which("npm") else None)
    if program is None:
        return None
    config = folder / "haraka" / "config"
    subprocess.run([program, "--install", str(config.parent)], check=True, capture_output=True)
    for name, content in _FILES.items():
        (config / name).write_text(content)
    shutil.copy(folder / "leaf.pem", config / "tls_cert.pem")
    shutil.copy(folder / "leaf.key", config / "tls_key.pem")
    # Or else it has openssl look for a prime, which takes a core for a minute and outlives it.
    group = ("-genparam", "-algorithm", "DH", "-pkeyopt", "group:ffdhe2048", "-out", str(config / "dhparams.pem"))
    subprocess.run(["openssl", "genpkey", *group], check=True, capture_output=True)
    command = ("env", f"NODE_EXTRA_CA_CERTS={folder / 'ca.pem'}", program, "-c", str(config.parent))
    addresses = {"starttls": Address(HOST, _STARTTLS), "implicit": Address(HOST, _IMPLICIT)}
    version = f"{first_line(program, '-v')}, node {first_line('node', '-v')}"
    return Peer("haraka", "`queue/smtp_proxy`, a connection a message", command, addresses, version)


def _install(folder: Path) -> str | None:
    command = ["npm", "install", "--no-audit", "--no-fund", "--prefix", str(folder / "npm"), "Haraka"]
    if subprocess.run(command, check=False, capture_output=True).returncode != 0:
        return None
    return str(folder / "npm" / "node_modules" / ".bin" / "haraka")
