"""A gateway without descriptors: clients wait, the processor rests, sessions under way go on."""

from __future__ import annotations

import os
import resource
import socket
import subprocess
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.integration.lab.client import connect
from tests.integration.lab.gateway import PROGRAMS, Gateway, Setup, Terminal
from tests.integration.lab.ports import HOST

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.integration.lab.laboratory import Lab

WAIT_S: Final = 4.0
BUSY: Final = 0.25
FILLERS: Final = 40
ANSWER_S: Final = 30.0
SMALL: Final = Setup(general={"max_sessions": 100})


def cpu_s(gateway: Gateway) -> float:
    """Return the processor time that the gateway has had."""
    fields = Path(f"/proc/{gateway.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def lower_limit(gateway: Gateway) -> None:
    """Leave the gateway the descriptors below its highest one."""
    highest = max(int(entry.name) for entry in Path(f"/proc/{gateway.pid}/fd").iterdir())
    _soft, hard = resource.prlimit(gateway.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(gateway.pid, resource.RLIMIT_NOFILE, (highest + 1, hard))


def restore_limit(gateway: Gateway) -> None:
    """Let the gateway answer whoever asks for its metrics."""
    hard = resource.prlimit(gateway.pid, resource.RLIMIT_NOFILE)[1]
    resource.prlimit(gateway.pid, resource.RLIMIT_NOFILE, (hard, hard))


def fill(gateway: Gateway, stack: ExitStack) -> tuple[socket.socket, float]:
    """Come until one is not answered; return it, and the share of the processor while it waited."""
    for _ in range(FILLERS):
        before = cpu_s(gateway)
        client = stack.enter_context(socket.create_connection((HOST, gateway.smtp_port), WAIT_S))
        try:
            client.recv(100)
        except TimeoutError:
            return client, (cpu_s(gateway) - before) / WAIT_S
    raise AssertionError("the limit was never reached")


def test_clients_wait_while_there_are_no_descriptors(lab: Lab) -> None:
    gateway = lab.doomed_gateway(lab.recorder(), Setup(metrics=True))
    with ExitStack() as cleaning:
        cleaning.callback(gateway.close)
        under_way = connect(gateway, "clear", lab.trusting_proxy)
        cleaning.callback(under_way.close)
        under_way.mail("a@client.test")
        with ExitStack() as fillers:
            lower_limit(gateway)
            waiting, busy = fill(gateway, fillers)
            newcomer = cleaning.enter_context(socket.socket(fileno=os.dup(waiting.fileno())))
            assert busy < BUSY
            assert gateway.log.count("cannot accept connections: Too many open files") == 1
            assert under_way.rcpt("b@upstream.test")[0] == 250
            assert under_way.data(b"Subject: goes on\r\n\r\nhere\r\n")[0] == 250
        newcomer.settimeout(ANSWER_S)
        assert newcomer.recv(100).startswith(b"220 ")
        restore_limit(gateway)
        assert gateway.metrics["smtpproxy_accept_pauses_total",] >= 1


class Limited(Terminal):
    """Starts the program with the options of ``ulimit``."""

    def __init__(self, limit: str) -> None:
        self._limit = limit

    def start(self, command: Sequence[str | Path], folder: Path, log: Path) -> subprocess.Popen[bytes]:
        return super().start(["sh", "-c", f'ulimit {self._limit} && exec "$@"', "sh", *command], folder, log)


def test_the_soft_limit_is_raised_when_it_does_not_suffice(lab: Lab) -> None:
    gateway = lab.doomed_gateway(lab.recorder(), SMALL, starter=Limited("-Sn 256"))
    with closing(gateway):
        soft, hard = resource.prlimit(gateway.pid, resource.RLIMIT_NOFILE)
        assert soft == hard
        assert "limit of descriptors raised from 256 to" in gateway.log
        assert "and the hard limit is" not in gateway.log


def test_a_hard_limit_that_does_not_suffice_is_told_with_figures(lab: Lab) -> None:
    gateway = lab.doomed_gateway(lab.recorder(), SMALL, starter=Limited("-n 500"))
    with closing(gateway):
        command = f'ulimit -n 500 && exec "{PROGRAMS / "smtpproxy"}" check --config "{gateway.configuration}"'
        checked = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True, timeout=60)
        for told in (gateway.log, checked.stdout):
            assert "needs 556 descriptors in one process, and the hard limit is 500" in told
        assert "ok: " in checked.stdout
