"""A Debian machine with two interfaces and nothing of the gateway: what it is told happens in a root shell there."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.integration.lab.systemd import PROJECT, Systemd

if TYPE_CHECKING:
    import trustme

    from tests.firewall.namespaces import Namespace

HOST_NAME: Final = "gw1"
_PYTHON: Final = Path("/usr/bin/python3")
_WHEELS: Final = "/media/wheels"
_LIMIT_S: Final = 180.0

# There is no way to Debian or to PyPI from there, so packages are on the machine and wheels in a folder.
_ENVIRONMENT: Final = (
    "env", "--ignore-environment", "--chdir=/root", "HOME=/root", "LC_ALL=C.UTF-8",
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "PIP_NO_INDEX=1", f"PIP_FIND_LINKS={_WHEELS}", "PIP_DISABLE_PIP_VERSION_CHECK=1", "PIP_ROOT_USER_ACTION=ignore",
)  # fmt: skip


def why_not() -> str | None:
    """Return why the page cannot be followed here, ``None`` if it can."""
    tried = subprocess.run([_PYTHON, "-c", "import ensurepip, venv"], capture_output=True, check=False)
    return "python3-venv is not installed" if tried.returncode else None


def wheels(folder: Path) -> Path:
    """Return a folder with all that ``pip install`` takes besides the project itself."""
    own, found = folder / "environment", folder / "wheels"
    subprocess.run([_PYTHON, "-m", "venv", own], check=True, timeout=_LIMIT_S)
    options = ("--quiet", "--wheel-dir", found, "--constraint", PROJECT / "requirements-ci.txt")
    command: list[str | Path] = [own / "bin" / "pip", "wheel", *options, PROJECT, "hatchling"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=_LIMIT_S, check=False)
    assert ended.returncode == 0, ended.stderr
    for ours in found.glob("smtpproxy-*.whl"):
        ours.unlink()
    return found


class BareBox:
    """The machine.

    Args:
        machine: its network.
        folder: for what it needs.
        internet: signs the certificates of servers, and is one of those that everybody trusts.
    """

    def __init__(self, machine: Namespace, folder: Path, internet: trustme.CA) -> None:
        machine.ip("link", "property", "add", "dev", "outside", "altname", "eth0")
        machine.ip("link", "property", "add", "dev", "inside", "altname", "eth1")
        machine.parameter("net.ipv4.ip_forward", 0)
        machine.parameter("net.ipv6.conf.all.forwarding", 0)
        self._systemd = Systemd(folder, machine.name, installs=False)
        self._systemd.path(_WHEELS).mkdir()
        for wheel in wheels(folder).iterdir():
            self._systemd.take(wheel, f"{_WHEELS}/{wheel.name}")
        self.run(f"hostname {HOST_NAME}")
        self.run("rm -rf /var/lib/apt/lists/*")  # what is installed is then the newest version
        self.run("systemctl start systemd-journald")
        with self.path("/etc/ssl/certs/ca-certificates.crt").open("ab") as trusted:
            trusted.write(internet.cert_pem.bytes())

    def path(self, inside: str) -> Path:
        """Return where a path inside is found from outside."""
        return self._systemd.path(inside)

    def run(self, command: str) -> subprocess.CompletedProcess[str]:
        """Type a command into root's shell."""
        return self._systemd.run(*_ENVIRONMENT, "sh", "-c", f"exec 2>&1; {command}", check=False)

    def close(self) -> None:
        """End it."""
        self._systemd.close()
