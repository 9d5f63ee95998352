"""``smtpproxy top``: the running gateway's state, rates and sessions, anew every few seconds on a terminal."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import click
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from smtpproxy.admin.control.protocol import MAX_SESSIONS
from smtpproxy.admin.reached import gateway_options, reach
from smtpproxy.admin.readiness import obstacles
from smtpproxy.admin.running_state import sessions_table
from smtpproxy.admin.running_words import counted, gap, octets, state_words

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from smtpproxy.admin.control.client import ControlClient

SNAPSHOT_SESSIONS: Final = 20
"""Where there is no terminal whose height says it."""

_LINES_ABOVE: Final = 12
_LINES_OF_A_SESSION: Final = 3


@dataclass(frozen=True, slots=True)
class _Look:
    """What was seen at one time."""

    at_s: float
    status: dict[str, Any]
    sessions: dict[str, Any]


@click.command()
@gateway_options
@click.option(
    "--interval",
    metavar="SECONDS",
    type=click.FloatRange(0.5, 30),
    default=2.0,
    show_default=True,
    help="From one look to the next.",
)
def top(configuration_file: Path, socket_path: Path | None, interval: float) -> None:
    """Watch the running gateway: its state, what passes a second, and the oldest sessions, as many as there is room.

    The screen is drawn anew until Ctrl-C; where the output is no terminal, everything is printed once.
    """
    console = Console()
    with reach(configuration_file, socket_path) as gateway:
        if not console.is_terminal:
            console.print(_drawn(None, _look(gateway, SNAPSHOT_SESSIONS)))
            return
        try:
            _watch(console, gateway, interval)
        except KeyboardInterrupt:  # the way to leave
            return


def _watch(console: Console, gateway: ControlClient, interval_s: float) -> None:
    before: _Look | None = None
    with Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            look = _look(gateway, _room(console))
            live.update(_drawn(before, look), refresh=True)
            before = look
            time.sleep(interval_s)


def _room(console: Console) -> int:
    return min(MAX_SESSIONS, max(1, (console.height - _LINES_ABOVE) // _LINES_OF_A_SESSION))


def _look(gateway: ControlClient, limit: int) -> _Look:
    status, sessions = gateway.ask("status"), gateway.ask("sessions", limit=limit)
    return _Look(time.monotonic(), status, sessions)


def _drawn(before: _Look | None, look: _Look) -> Group:
    left_out = look.sessions["left_out"]
    more = [Text(f"{left_out} younger ones are not shown")] if left_out else []
    return Group(
        *(Text(line) for line in _lines(before, look)),
        *(Text(f"WARNING: {each}", style="bold red") for each in obstacles(look.status)),
        sessions_table(look.sessions["sessions"]),
        *more,
    )


def _lines(before: _Look | None, look: _Look) -> Iterator[str]:
    status, counters = look.status, look.status["counters"]
    yield f"{status['name']}: {state_words(status)}; up {gap(status['uptime'])}, {_workers(status)}"
    running, begun = counters["sessions_running"], counters["sessions_begun"]
    yield f"sessions: {running} running, {begun} begun{_rate(before, look, _begun)}; {status['blocked']} blocked"
    passed = _octet_rate(before, look)
    yield f"messages: {counted(counters['transactions'])}{_rate(before, look, _messages)}; {passed}"
    yield f"refused: {counted(counters['connections_refused'])}; {counters['incidents']} incidents"


def _workers(status: dict[str, Any]) -> str:
    count, generation = len(status["workers"]), status["generation"]["number"]
    return f"{count} worker{'' if count == 1 else 's'}, generation {generation}"


def _begun(counters: dict[str, Any]) -> float:
    return float(counters["sessions_begun"])


def _messages(counters: dict[str, Any]) -> float:
    return float(sum(counters["transactions"].values()))


def _content(counters: dict[str, Any]) -> float:
    return float(counters["content_bytes"])


def _rate(before: _Look | None, look: _Look, count: Callable[[dict[str, Any]], float]) -> str:
    rate = _a_second(before, look, count)
    return "" if rate is None else f" ({rate:.1f}/s)"


def _octet_rate(before: _Look | None, look: _Look) -> str:
    rate = _a_second(before, look, _content)
    passed = octets(_content(look.status["counters"]))
    return passed if rate is None else f"{passed} ({octets(rate)}/s)"


def _a_second(before: _Look | None, look: _Look, count: Callable[[dict[str, Any]], float]) -> float | None:
    """Return how much is counted a second; nothing at the first look, or behind a restart."""
    if before is None or before.status["since"] != look.status["since"]:
        return None
    grown = count(look.status["counters"]) - count(before.status["counters"])
    return max(0.0, float(grown)) / max(look.at_s - before.at_s, 0.001)
