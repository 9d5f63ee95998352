"""A systemd of our own: PID 1 in namespaces, over the machine's own files, of which it changes none.

Source: namespaces(7), unshare(1), nsenter(1); systemd's "Container Interface"; the kernel's overlayfs document.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

from tests.integration.lab.ports import wait_until

PROJECT: Final = Path(__file__).resolve().parents[3]
_SYSTEMD: Final = Path("/lib/systemd/systemd")
_START_S: Final = 60
_TARGET: Final = "lab.target"
SOURCES: Final = "/usr/src/smtpproxy"
"""Where the project is inside, for who reads a document of it."""

# What is written goes into memory. Of `/proc/sys` only the network may change: the rest is the whole machine's.
_BOOT: Final = r"""
set -e
mount --make-rprivate /
mount -t proc proc /proc
mount --bind /proc/sys /proc/sys
mount -o remount,bind,ro /proc/sys
mount --bind /proc/sys/net /proc/sys/net
mount -o remount,bind,rw /proc/sys/net
mount -t tmpfs tmpfs /media
mkdir /media/python /media/packages /media/project
mount --bind {python} /media/python
mount --bind {packages} /media/packages
mount --bind {project} /media/project
for each in etc opt root usr/local usr/src var; do
    mkdir -p /media/$each/upper /media/$each/work
    chmod 755 /media/$each/upper
    mount -t overlay overlay -o lowerdir=/$each,upperdir=/media/$each/upper,workdir=/media/$each/work /$each
done
for each in /run /tmp /var/tmp; do
    mount -t tmpfs -o mode=1777 tmpfs $each
done
mount -t tmpfs tmpfs /sys/fs/cgroup
mount -t cgroup2 cgroup2 /sys/fs/cgroup
rm -rf /etc/systemd/system
mkdir -p /etc/systemd/system
mkdir -p {sources}
mount --bind /media/project {sources}
printf '[Unit]\nDescription=laboratory\n' > /etc/systemd/system/{target}
export container=laboratory
exec {systemd} --system --unit={target} --show-status=no --log-target=null
"""

_PROGRAM: Final = """#!/opt/smtpproxy/bin/python
import sys
from {module} import {function}
sys.exit({function}())
"""


def why_not() -> str | None:
    """Why it cannot run here, ``None`` if it can."""
    if os.geteuid() != 0:
        return "only root may make namespaces"
    if not _SYSTEMD.exists():
        return "systemd is not installed"
    if "cgroup2" not in Path("/proc/self/mounts").read_text():
        return "no cgroup2 is mounted"
    return None


def _cgroup2() -> Path:
    mounts = (line.split() for line in Path("/proc/self/mounts").read_text().splitlines())
    return next(Path(point) for _, point, kind, *_ in mounts if kind == "cgroup2")


class Systemd:
    """Runs units as the machine would.

    Args:
        folder: for what it needs and logs.
        network: the network namespace that it is in; ``None`` for one of its own.
        installs: whether the gateway is under /opt/smtpproxy, with the packages that these tests run with.
    """

    def __init__(self, folder: Path, network: str | None = None, *, installs: bool = True) -> None:
        self._cgroup = _cgroup2() / f"smtpproxy-test-{os.getpid()}-{folder.name}"
        self._cgroup.mkdir()
        script = folder / "boot.sh"
        script.write_text(
            _BOOT.format(
                python=sys.base_prefix,
                packages=next(Path(path) for path in sys.path if path.endswith("site-packages")),
                project=PROJECT,
                target=_TARGET,
                systemd=_SYSTEMD,
                sources=SOURCES,
            )
        )
        entered = ("ip", "netns", "exec", network) if network else ()
        spaces = ["--mount", "--pid", "--fork", "--uts", "--ipc", "--cgroup", "--kill-child"]
        spaces += [] if network else ["--net"]
        own_group = f'echo $$ >{self._cgroup}/cgroup.procs; exec "$@"'
        with (folder / "systemd.log").open("wb") as log:
            self._process = subprocess.Popen(
                ["sh", "-c", own_group, "sh", *entered, "unshare", *spaces, "sh", script],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
            )
        wait_until(lambda: self._is_running or self._process.poll() is not None, "systemd runs", _START_S)
        assert self._process.poll() is None, (folder / "systemd.log").read_text()
        self.run("ip", "link", "set", "lo", "up")
        if installs:
            self._install()

    @property
    def pid(self) -> int:
        """Of systemd, outside; 0 before there is one."""
        pid = self._process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return int(children[0]) if children else 0

    def path(self, inside: str) -> Path:
        """Return where a path inside is found from outside."""
        return Path(f"/proc/{self.pid}/root{inside}")

    def command(self, *command: str | Path) -> list[str | Path]:
        """Return what runs a command inside."""
        return ["nsenter", "--target", str(self.pid), "--all", "--", *command]

    def run(self, *command: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command inside to its end."""
        whole = self.command(*command)
        done = subprocess.run(whole, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0 or not check, f"{command}: {done.stdout}{done.stderr}"
        return done

    def shown(self, unit: str, name: str) -> str:
        """Return a property of a unit, as systemd has it now."""
        return self.run("systemctl", "show", "--value", "--property", name, unit).stdout.strip()

    def close(self) -> None:
        """End it, and everything in it."""
        self._process.kill()
        self._process.wait(60)
        wait_until(lambda: "populated 0" in (self._cgroup / "cgroup.events").read_text(), "everything has ended")
        for folder, _, _ in os.walk(self._cgroup, topdown=False):
            Path(folder).rmdir()

    @property
    def _is_running(self) -> bool:
        if not self.pid:
            return False
        asked = subprocess.run(
            self.command("systemctl", "is-active", _TARGET), capture_output=True, timeout=20, check=False
        )
        return asked.returncode == 0

    def _install(self) -> None:
        """Have under /opt what ``pip install`` makes there, of the packages that these tests run with."""
        home = self.path("/opt/smtpproxy")
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        packages = home / "lib" / version / "site-packages"
        packages.mkdir(parents=True)
        (packages / "laboratory.pth").write_text("/media/packages\n/media/project\n")
        (home / "pyvenv.cfg").write_text("home = /media/python/bin\n")
        (home / "bin").mkdir()
        (home / "bin" / "python").symlink_to(f"/media/python/bin/{version}")
        for name, module, function in (
            ("twistd", "twisted.scripts.twistd", "run"),
            ("smtpproxy", "smtpproxy.admin.cli", "main"),
        ):
            program = home / "bin" / name
            program.write_text(_PROGRAM.format(module=module, function=function))
            program.chmod(0o755)

    def take(self, file: Path, inside: str) -> None:
        """Copy a file to a path inside."""
        target = self.path(inside)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, target)
