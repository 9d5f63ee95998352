"""HAProxy as the balancer in front of the proxy."""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.integration.lab.ports import HOST, free_ports, listens, wait_until

if TYPE_CHECKING:
    from tests.integration.lab.laboratory import Server

_CONFIGURATION: Final = """\
global
    stats socket {root}/stats mode 600 level admin

defaults
    mode tcp
    timeout connect 5s
    timeout check 5s
    timeout client 1m
    timeout server 1m

listen smtp
    bind {host}:{smtp_port}
{smtp_checks}
    server gateway {host}:{gateway.smtp_port} {server}

listen smtps
    bind {host}:{smtps_port}
    server gateway {host}:{gateway.smtps_port} {server}
"""
SEVERAL: Final = 5
"""Checks that have to go well before it thinks so."""
_NAME: Final = "# pxname"


def why_not() -> str | None:
    """Why HAProxy cannot run here, ``None`` if it can."""
    return None if shutil.which("haproxy", path="/usr/sbin:/usr/local/sbin") else "haproxy is not installed"


@dataclass(frozen=True)
class Checks:
    """How it sees whether the gateway is well.

    Args:
        lines: of the section for port 25; without any it only connects.
        header: whether a header begins them.
    """

    lines: tuple[str, ...] = ()
    header: bool = True


class HaProxy:
    """Balances between one gateway.

    Args:
        gateway: what is behind it.
        sends: ``send-proxy`` or ``send-proxy-v2``.
        checks: none if left out.
    """

    def __init__(self, gateway: Server, sends: str, checks: Checks | None = None) -> None:
        self.smtp_port, self.smtps_port = free_ports(2)
        self._root = Path(tempfile.mkdtemp(prefix="haproxy-"))
        server = sends
        if checks is not None:
            server += f" check inter 50ms fall 1 rise {SEVERAL}{' check-send-proxy' if checks.header else ''}"
        path = self._root / "haproxy.cfg"
        text = _CONFIGURATION.format(
            root=self._root,
            host=HOST,
            smtp_port=self.smtp_port,
            smtps_port=self.smtps_port,
            smtp_checks="\n".join(checks.lines if checks else ()),
            gateway=gateway,
            server=server,
        )
        path.write_text(text)
        with (self._root / "log").open("wb") as log:
            self._process = subprocess.Popen(
                ["/usr/sbin/haproxy", "-db", "-f", path], stdout=log, stderr=subprocess.STDOUT
            )
        wait_until(lambda: listens(self.smtps_port) or self._process.poll() is not None, "HAProxy listens")
        assert self._process.poll() is None, self.log

    @property
    def log(self) -> str:
        return (self._root / "log").read_text()

    def check_anew(self) -> None:
        """Have it think that the gateway is down, and wait until several checks have told it better."""
        for section in ("smtp", "smtps"):
            self._say(f"set server {section}/gateway health down")
        wait_until(lambda: self._is_up("smtp") and self._is_up("smtps"), f"HAProxy finds the gateway well\n{self.log}")

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(20)
        shutil.rmtree(self._root)

    def _is_up(self, section: str) -> bool:
        lines = self._say("show stat").splitlines()
        names = lines[0].split(",")
        rows = (dict(zip(names, line.split(","), strict=True)) for line in lines[1:] if line)
        return any(row[_NAME] == section and row["svname"] == "gateway" and row["status"] == "UP" for row in rows)

    def _say(self, command: str) -> str:
        with socket.socket(socket.AF_UNIX) as stats, stats.makefile("r") as answer:
            stats.connect(str(self._root / "stats"))
            stats.sendall(f"{command}\n".encode())
            return answer.read()
