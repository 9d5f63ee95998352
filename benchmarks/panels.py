"""What the picture shows: for each kind of session, everybody's figure beside a yardstick's."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.peers.present import NAMES
from benchmarks.runs import DIRECT, PROJECT, Runs
from benchmarks.workloads import AIMS

_TITLES = {
    "": "short session, 4 KiB: CPU",
    "resumed-": "short session on a resumed TLS session: CPU",
    "many-": "200 messages on a session: CPU a message",
    "pipelined-": "200 messages, pipelined: CPU a message",
    "large-": "10 MiB by DATA: CPU a MiB",
    "bdat-": "10 MiB by BDAT: CPU a MiB",
    "quiet-": "quiet gateway: time added to a session",
    "idle-": "2,000 idle sessions: memory",
}
_ENDINGS = {"starttls": "STARTTLS", "implicit": "implicit"}
_SPELT = {"haproxy": "HAProxy", "postfix": "Postfix", "haraka": "Haraka"}


@dataclass(frozen=True, slots=True)
class Bar:
    """One peer's figure.

    Args:
        label: who it is.
        ratio: to the yardstick's figure.
        is_ours: the project's.
    """

    label: str
    ratio: float
    is_ours: bool


@dataclass(frozen=True, slots=True)
class Panel:
    """One kind of session.

    Args:
        title: what is measured.
        yardstick: whose figure is 1.
        aim: the ratio that the project wants to stay below; ``None`` if it named none.
        bars: in the order of the peers, the project's last.
    """

    title: str
    yardstick: str
    aim: float | None
    bars: tuple[Bar, ...]


def panels(runs: Runs) -> list[Panel]:
    """Return those of which both the project's and the yardstick's figure were measured."""
    families = [(title, {ending: prefix + ending for ending in _ENDINGS}) for prefix, title in _TITLES.items()]
    clear = ("short session in clear: CPU", {"": "clear"})
    drawn = [_panel(runs, title, family) for title, family in (*families, clear)]
    return [panel for panel in drawn if panel and any(bar.is_ours for bar in panel.bars)]


def _panel(runs: Runs, title: str, family: dict[str, str]) -> Panel | None:
    aim = next((aim for aim in AIMS if aim.workload in family.values()), None)
    yardstick = aim.yardstick if aim else ("sslsplit", family["implicit"])
    if runs.median(*yardstick) is None:
        return None
    bars: list[Bar] = []
    for peer in NAMES:
        bars += _ours(runs, family, yardstick) if peer == PROJECT else _theirs(runs, peer, family, yardstick)
    return Panel(title, _named(yardstick, family), aim.most if aim else None, tuple(bars))


def _named(yardstick: tuple[str, str], family: dict[str, str]) -> str:
    peer, workload = yardstick
    is_other_work = workload not in family.values()
    return _SPELT.get(peer, peer) + (" with full handshakes" if is_other_work else "")


def _ours(runs: Runs, family: dict[str, str], yardstick: tuple[str, str]) -> list[Bar]:
    found = []
    for ending, workload in family.items():
        if ratio := runs.ratio((PROJECT, workload), yardstick):
            found.append(Bar(f"{PROJECT} {_ENDINGS.get(ending, '')}".strip(), ratio, is_ours=True))
    return found


def _theirs(runs: Runs, peer: str, family: dict[str, str], yardstick: tuple[str, str]) -> list[Bar]:
    """Return the bar of the first that a peer serves: STARTTLS before implicit TLS."""
    if peer == DIRECT:
        return []
    for workload in family.values():
        if ratio := runs.ratio((peer, workload), yardstick):
            return [Bar(_SPELT.get(peer, peer), ratio, is_ours=False)]
    return []
