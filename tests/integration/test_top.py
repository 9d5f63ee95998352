"""``smtpproxy top`` on a terminal of its own, and where there is none."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import time
from typing import TYPE_CHECKING

import pytest

from tests.integration.lab.client import connect, send_stuffed
from tests.integration.lab.gateway import PROGRAMS, Gateway, Setup
from tests.integration.lab.ports import HOST

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.integration.lab.laboratory import Lab

ROWS, COLUMNS = 40, 160
PATIENCE_S = 30.0
CLEAR_SCREEN = b"\x1b[?1049h"
LEAVE_SCREEN = b"\x1b[?1049l"


@pytest.fixture
def gateway(lab: Lab) -> Iterator[Gateway]:
    made = lab.doomed_gateway(lab.recorder(), Setup())
    yield made
    made.close()


class Screen:
    """A terminal with ``top`` on it."""

    def __init__(self, gateway: Gateway) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        self.seen = b""
        self._process = subprocess.Popen(
            [PROGRAMS / "smtpproxy", "top", "--interval", "0.5", "--config", gateway.configuration],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env={**os.environ, "TERM": "xterm"},
            start_new_session=True,
        )
        os.close(slave)

    def wait_for(self, *words: bytes) -> bytes:
        """Read on until all words were drawn since the last wait; return what was."""
        end_s, found = time.monotonic() + PATIENCE_S, b""
        while not all(word in found for word in words):
            left_s = end_s - time.monotonic()
            assert left_s > 0, (words, found)
            if select.select([self._master], [], [], left_s)[0]:
                found += os.read(self._master, 65536)
        self.seen += found
        return found

    def interrupt(self) -> int:
        """Leave as a user does."""
        self._process.send_signal(signal.SIGINT)
        self.wait_for(LEAVE_SCREEN)
        return self.close()

    def close(self) -> int:
        """Wait for its end."""
        status = self._process.wait(30)
        os.close(self._master)
        return status


def test_the_screen_is_drawn_anew_until_it_is_left(lab: Lab, gateway: Gateway) -> None:
    screen = Screen(gateway)
    screen.wait_for(CLEAR_SCREEN, b"running", b"1 worker, generation 1", b"0 running, 0 begun")
    with connect(gateway, "starttls", lab.trusting_proxy) as client:
        screen.wait_for(b"1 running, 1 begun (", HOST.encode(), b"TLSv1.3")
        assert send_stuffed(client, b"hello\r\n")[0] == 250
        screen.wait_for(b"1 accepted (")
    screen.wait_for(b"0 running, 1 begun (0.0/s)")
    gateway.tell("drain")
    screen.wait_for(b"draining: no new sessions", b"WARNING: the gateway is draining")
    assert screen.interrupt() == 0
    assert b"Traceback" not in screen.seen


def test_without_a_terminal_everything_is_printed_once(lab: Lab, gateway: Gateway) -> None:
    with connect(gateway, "clear", lab.trusting_proxy):
        shown = gateway.tell("top")
    assert shown.returncode == 0
    assert "1 running, 1 begun; 0 blocked" in shown.stdout
    assert "clear" in shown.stdout
    assert "\x1b" not in shown.stdout


def test_it_ends_when_the_gateway_does(gateway: Gateway) -> None:
    screen = Screen(gateway)
    screen.wait_for(b"0 running, 0 begun (")
    gateway.terminate()
    assert gateway.wait() == 0
    screen.wait_for(LEAVE_SCREEN, b"the gateway has ended the connection")
    assert screen.close() == 75
