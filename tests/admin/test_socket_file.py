"""The control socket's file in a folder whose owner means ill, as root makes it there with ``twistd --uid``."""

from __future__ import annotations

import os
import signal
import stat
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

import pytest

from smtpproxy.admin.control.socket_file import listen_at

NOBODY = 65534
TRIES = 500
MODE = 0o755


def exchange(folder: Path, target: Path) -> NoReturn:
    """Put a link in the place of whatever is about to be made, for ever."""
    os.setgid(NOBODY)
    os.setuid(NOBODY)
    os.chdir(folder)
    while True:
        with suppress(OSError):
            Path("link").mkdir()
            Path("link/s").symlink_to(target)
        for name in [each.name for each in Path().iterdir()]:
            if name.startswith(".control-"):
                with suppress(OSError):
                    Path(name).rename(f"taken{name}")
                    Path("link").rename(name)


@pytest.mark.skipif(os.getuid() != 0, reason="only root makes sockets in folders of others")
def test_the_owner_of_the_folder_cannot_have_another_file_changed(tmp_path: Path) -> None:
    folder, victim = tmp_path / "var", tmp_path / "victim"
    folder.mkdir()
    os.chown(folder, NOBODY, NOBODY)
    for parent in tmp_path.parents[:3]:
        parent.chmod(parent.stat().st_mode | 0o011)
    tmp_path.chmod(0o755)
    victim.touch(MODE)
    victim.chmod(MODE)
    attacker = os.fork()
    if attacker == 0:
        try:
            exchange(folder, victim)
        finally:
            os._exit(1)
    try:
        for number in range(TRIES):
            with suppress(OSError):
                listen_at(folder / f"{number}.sock").close()
    finally:
        os.kill(attacker, signal.SIGKILL)
        assert os.waitstatus_to_exitcode(os.waitpid(attacker, 0)[1]) == -signal.SIGKILL
    assert stat.S_IMODE(victim.stat().st_mode) == MODE
