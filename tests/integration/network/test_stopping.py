"""A gateway that has stopped, or crashed: its traffic is dropped, or passes, as ``on_stop`` says."""

from __future__ import annotations

import os
import signal
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from tests.integration.lab.ports import wait_until
from tests.integration.network.machines import intercepting
from tests.integration.network.passing import PORTS
from tests.integration.network.topology import VERSIONS

if TYPE_CHECKING:
    from tests.integration.lab.gateway import Gateway
    from tests.integration.network.machines import Internet
    from tests.integration.network.passing import Mail

ALL: Final = set(product(VERSIONS, PORTS))
FATES = pytest.mark.parametrize("on_stop", ["block", "pass"])


@pytest.mark.parametrize(("mode", "end"), [("tproxy", signal.SIGTERM), ("redirect", signal.SIGKILL)], ids=str)
@FATES
def test_below_systemd(bare: Internet, mail: Mail, mode: str, end: signal.Signals, on_stop: str) -> None:
    """Its unit applies the table before the start, and has ``smtpproxy firewall stop`` as ``ExecStopPost``.

    Until that is run, tproxy without a listener goes on, and what is redirected is refused.
    """
    gateway = bare.active.serve(intercepting(mode, "gateway", on_stop=on_stop))
    mail.is_inspected(gateway, "smtps", 4)
    gateway.terminate(end)
    gateway.wait()
    assert mail.reached() == (ALL if (mode, on_stop) == ("tproxy", "pass") else set())
    stopped = bare.active.firewall("stop")
    assert (stopped.returncode, stopped.stderr) == (0, "")
    assert stopped.stdout.startswith(f"on_stop: {on_stop}: ")
    _is_as_wanted(mail, gateway, on_stop)


@pytest.mark.parametrize(("mode", "end"), [("tproxy", signal.SIGKILL), ("redirect", signal.SIGTERM)], ids=str)
@FATES
def test_below_its_guard(bare: Internet, mail: Mail, mode: str, end: signal.Signals, on_stop: str) -> None:
    """``smtpproxy firewall run``: the guard is told to end, or the proxy below it crashes."""
    guard = bare.active.guard(intercepting(mode, "gateway", on_stop=on_stop))
    mail.is_inspected(guard, "smtps", 6)
    if end is signal.SIGTERM:
        guard.terminate(end)
        assert guard.wait() == 0
    else:
        os.kill(_below(guard), end)
        assert guard.wait() == 128 + end
    assert f"on_stop: {on_stop}: " in guard.log
    _is_as_wanted(mail, guard, on_stop)


@FATES
def test_without_its_guard_the_proxy_goes_on(bare: Internet, mail: Mail, on_stop: str) -> None:
    guard = bare.active.guard(intercepting("tproxy", "gateway", on_stop=on_stop))
    proxy = _below(guard)
    guard.kill()
    try:
        mail.is_inspected(guard, "smtps", 4)
    finally:
        os.kill(proxy, signal.SIGTERM)
        wait_until(lambda: not _runs(proxy), "the proxy has ended")
    _is_as_wanted(mail, guard, on_stop)


def _is_as_wanted(mail: Mail, gateway: Gateway, on_stop: str) -> None:
    """Assert that mail goes straight to the server, or that nothing whatever comes there."""
    before = mail.connections()
    if on_stop == "pass":
        mail.goes_straight(gateway, "clear", 4)
        mail.goes_straight(gateway, "smtps", 6)
        assert mail.reached() == ALL
    else:
        assert mail.reached() == set()
        assert mail.connections() == before


def _below(guard: Gateway) -> int:
    (proxy,) = guard.children
    return proxy


def _runs(pid: int) -> bool:
    """Whether a process that is no child of ours has not ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except FileNotFoundError:
        return False
