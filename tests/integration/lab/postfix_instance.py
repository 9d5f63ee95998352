"""A running Postfix of our own: its folders under one temporary root, its ports free ones, the system's untouched."""

from __future__ import annotations

import grp
import os
import pwd
import shutil
import subprocess
import tempfile
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.integration.lab.ports import HOST, listens, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_DAEMONS: Final = Path("/usr/lib/postfix/sbin")

_MAIN_CF: Final = """\
compatibility_level = 3.6
queue_directory = {root}/queue
data_directory = {root}/data
daemon_directory = {daemons}
command_directory = /usr/sbin
mail_owner = postfix
setgid_group = postdrop
alias_maps =
inet_interfaces = {interfaces}
inet_protocols = {protocols}
mailbox_size_limit = 0
message_size_limit = 60000000
smtputf8_enable = yes
maillog_file = {root}/mail.log
maillog_file_prefixes = {root}
"""

_MASTER_CF: Final = """\
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
tlsmgr unix - - n 1000? 1 tlsmgr
proxymap unix - - n - - proxymap
error unix - - n - - error
retry unix - - n - - error
anvil unix - - n - 1 anvil
postlog unix-dgram n - n - 1 postlogd
"""


_PRIVATE: Final = ("active", "bounce", "corrupt", "defer", "deferred", "flush", "hold", "incoming", "private", "saved")
_QUEUE: Final = {**dict.fromkeys((*_PRIVATE, "trace"), 0o700), "public": 0o710, "maildrop": 0o730}
"""What `postfix check` makes, which takes a hundred processes for it."""


def why_not() -> str | None:
    """Why Postfix cannot run here, ``None`` if it can."""
    if shutil.which("postfix", path="/usr/sbin:/usr/local/sbin") is None:
        return "postfix is not installed"
    if os.getuid() != 0:
        return "postfix needs root"
    return None


@cache
def _cache_kind() -> str:
    """Berkeley DB is on its way out of Debian."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy("/etc/postfix/dynamicmaps.cf", folder)
        (Path(folder) / "main.cf").touch()
        command = ["/usr/sbin/postconf", "-c", folder, "-m"]
        kinds = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    return "lmdb" if "lmdb" in kinds else "btree"


@dataclass(frozen=True)
class Place:
    """Where a Postfix listens.

    Args:
        interfaces: Postfix's ``inet_interfaces``.
        protocols: Postfix's ``inet_protocols``.
        ports: for SMTP, and for SMTP inside TLS; ``None`` for free ones.
        entered: within this it is started, and looked for.
        main: lines of main.cf that this takes.
    """

    interfaces: str = HOST
    protocols: str = "ipv4"
    ports: tuple[int, int] | None = None
    entered: Callable[[], AbstractContextManager[None]] = nullcontext
    main: str = ""


HERE: Final = Place()


class PostfixInstance:
    """Postfix's master and what it starts.

    Args:
        main: lines of main.cf besides those that every instance has; ``{root}`` is its folder, ``{cache}`` the kind of
            table that a cache can have here.
        master: lines of master.cf, the same.
        files: what is put into its configuration folder, readable by its user alone.
        port: where it listens when it is up.
        place: of which machine.
    """

    def __init__(self, main: str, master: str, files: Mapping[str, bytes], port: int, place: Place = HERE) -> None:
        # Postfix drops root: every folder above its own must let others pass, which pytest's do not.
        self.root = Path(tempfile.mkdtemp(prefix="postfix-"))
        self._port, self._place = port, place
        self._make_folders(files)
        words = {"root": self.root, "daemons": _DAEMONS, "host": HOST, "cache": _cache_kind()}
        words |= {"interfaces": place.interfaces, "protocols": place.protocols}
        (self.config / "main.cf").write_text((_MAIN_CF + main + place.main).format(**words))
        (self.config / "master.cf").write_text((_MASTER_CF + master).format(root=self.root, host=HOST))
        self._start()

    @property
    def config(self) -> Path:
        return self.root / "config"

    @property
    def log(self) -> str:
        path = self.root / "mail.log"
        return path.read_text() if path.exists() else ""

    def reconfigure(self, name: str, value: str) -> None:
        """Change one parameter of main.cf, and start anew with it."""
        subprocess.run(["/usr/sbin/postconf", "-c", str(self.config), f"{name}={value}"], check=True)
        self._end()
        self._start()

    def close(self) -> None:
        self._end()
        shutil.rmtree(self.root)

    def _start(self) -> None:
        # In a session of its own: when it ends it signals its whole process group.
        command = [str(_DAEMONS / "master"), "-c", str(self.config), "-d"]
        with self._place.entered():
            self._master = subprocess.Popen(command, start_new_session=True)
            versions = (4, 6) if self._place.protocols == "all" else (4,)
            wait_until(lambda: all(listens(self._port, version) for version in versions), "Postfix listens")

    def _end(self) -> None:
        self._master.terminate()
        self._master.wait(20)

    def _make_folders(self, files: Mapping[str, bytes]) -> None:
        user, group = pwd.getpwnam("postfix").pw_uid, grp.getgrnam("postdrop").gr_gid
        self.root.chmod(0o755)
        for folder in ("config", "queue", "queue/pid", "data"):
            (self.root / folder).mkdir()
        os.chown(self.root / "data", user, -1)
        for folder, mode in _QUEUE.items():
            path = self.root / "queue" / folder
            path.mkdir()
            os.chown(path, user, group if mode & 0o070 else -1)
            path.chmod(mode)
        for name, octets in files.items():
            path = self.config / name
            path.write_bytes(octets)
            path.chmod(0o600)
        shutil.copy("/etc/postfix/dynamicmaps.cf", self.config)
