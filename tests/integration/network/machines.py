"""What runs on the machines: real Postfix on the servers, the real proxy on the gateways."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.integration.lab import postfix
from tests.integration.lab.gateway import PROGRAMS, Gateway, Setup, Upstream
from tests.integration.lab.ports import listens, wait_until
from tests.integration.lab.postfix_instance import Place
from tests.integration.network.topology import CLIENT_NETWORK, ONE, VERSIONS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import trustme

    from tests.firewall.namespaces import Namespace
    from tests.integration.lab.laboratory import Authorities
    from tests.integration.network.topology import Addresses, Network

_UNUSED: Final = Upstream(25, 465)
_LIMIT_S: Final = 60.0
_SMTPPROXY: Final = PROGRAMS / "smtpproxy"


def mail_server(authority: trustme.CA, machine: Namespace, addresses: Addresses) -> postfix.Postfix:
    """Start a Postfix on a machine's ports 25 and 465, both families, as it would be without any gateway."""
    # There is no DNS on these machines.
    place = Place("all", "all", (25, 465), machine.entered, "smtpd_peername_lookup = no\n")
    return postfix.make(authority, names=(postfix.NAME, *addresses.values()), place=place)


@dataclass(frozen=True)
class _Inside:
    """Starts a program on a machine, behind other words where they are wanted."""

    machine: Namespace
    before: tuple[str | Path, ...] = ()

    def start(self, command: Sequence[str | Path], folder: Path, log: Path) -> subprocess.Popen[bytes]:
        with self.machine.entered(), log.open("ab") as output:
            return subprocess.Popen([*self.before, *command], cwd=folder, stdout=output, stderr=subprocess.STDOUT)

    def is_up(self, _port: int) -> bool:
        with self.machine.entered():
            return any(map(listens, (25, 465)))


class Box:
    """A gateway's machine, with one proxy on it at a time."""

    def __init__(self, machine: Namespace, folder: Path, authorities: Authorities) -> None:
        self.machine = machine
        self._folder = folder
        self._authorities = authorities
        self._count = 0
        self._running: tuple[Setup, Gateway] | None = None

    def serve(self, setup: Setup) -> Gateway:
        """Return a proxy with its table applied: the one that runs, if it is the same."""
        gateway = self._found_or_made(setup)
        gateway.begin()
        return gateway

    def guard(self, setup: Setup) -> Gateway:
        """Return a new proxy that ``smtpproxy firewall run`` has started, which is the process that is known of it."""
        self.clear()
        gateway = self._make(setup, _Inside(self.machine, (_SMTPPROXY, "firewall", "run", "--")))
        gateway.begin()
        return gateway

    def _found_or_made(self, setup: Setup) -> Gateway:
        if self._running and self._running[0] == setup and self._running[1].alive:
            return self._running[1]
        self.clear()
        gateway = self._make(setup, _Inside(self.machine))
        applied = self.firewall("apply")
        assert applied.returncode == 0, applied.stderr
        return gateway

    def firewall(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run ``smtpproxy firewall`` on the machine."""
        assert self._running is not None
        home = self._running[1].home
        with self.machine.entered():
            return subprocess.run(
                [_SMTPPROXY, "firewall", *words],
                cwd=home,
                capture_output=True,
                text=True,
                timeout=_LIMIT_S,
                check=False,
            )

    def clear(self) -> None:
        """End the proxy, and have nothing of it left in the kernel."""
        if self._running is None:
            return
        self.firewall("remove")
        _, gateway = self._running
        self._running = None
        if gateway.alive:
            gateway.close()

    def _make(self, setup: Setup, starter: _Inside) -> Gateway:
        self._count += 1
        home = self._folder / f"gateway-{self._count}"
        gateway = Gateway(home, setup, _UNUSED, self._authorities, starter=starter)
        self._running = setup, gateway
        return gateway


@dataclass(frozen=True)
class Internet:
    """Everything there is before a gateway is put into it."""

    network: Network
    one: postfix.Postfix
    two: postfix.Postfix
    active: Box
    standby: Box


def intercepting(mode: str, source_address: str, *, on_stop: str = "block", **more: Any) -> Setup:  # noqa: ANN401 - fields of `Setup`
    """Return what a gateway is in the path of what the client network sends."""
    interception = {
        "mode": mode,
        "listen": ["0.0.0.0", "::"],  # noqa: S104 - of a namespace
        "ports": {"smtp": [25], "smtps": [465]},
        "on_stop": on_stop,
    }
    return Setup(
        source=tuple(CLIENT_NETWORK.values()),
        policy={"upstream": "original_destination", "source_address": source_address},
        main={"interception": interception},
        **more,
    )


def dialled(mode: str, **interception: object) -> Setup:
    """Return what a gateway is that the client network's mail is sent to, and that sends it on to server one."""
    policies = [
        {
            "name": f"IPv{version}",
            "direction": "outbound",
            "source": [CLIENT_NETWORK[version]],
            "proxy_action": "Action",
            "upstream": {"host": ONE[version]},
        }
        for version in VERSIONS
    ]
    listening = {"mode": mode, "listen": ["0.0.0.0", "::"], **interception}  # noqa: S104 - of a namespace
    return Setup(main={"interception": listening, "policies": policies})


def from_anywhere(setup: Setup) -> Setup:
    """Return the same for what is sent to the client network."""
    policy = {**setup.policy, "destination": list(CLIENT_NETWORK.values())}
    return replace(setup, source=("any",), policy=policy)


_HAPROXY: Final = """\
defaults
    mode tcp
    timeout connect 10s
    timeout client 60s
    timeout server 60s
listen smtp
    bind 0.0.0.0:25
    bind :::25 v6only
    server gateway {gateway}:25 send-proxy-v2
listen smtps
    bind 0.0.0.0:465
    bind :::465 v6only
    server gateway {gateway}:465 send-proxy-v2
"""


@contextmanager
def haproxy(machine: Namespace, gateway: str) -> Iterator[None]:
    """Run a HAProxy on a machine, which hands all mail to one gateway and says who dialled."""
    if shutil.which("haproxy", path=f"{os.environ['PATH']}:/usr/sbin") is None:
        pytest.skip("haproxy is not installed")
    with tempfile.NamedTemporaryFile("w", suffix=".cfg") as file, machine.entered():
        file.write(_HAPROXY.format(gateway=f"ipv6@{gateway}" if ":" in gateway else gateway))
        file.flush()
        process = subprocess.Popen(["haproxy", "-db", "-f", file.name])
        try:
            wait_until(lambda: listens(465), "HAProxy listens")
            yield
        finally:
            process.terminate()
            process.wait(20)
