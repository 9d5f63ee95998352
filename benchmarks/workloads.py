"""What is measured, and what the project aims at."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

MEBIBYTE = 1024 * 1024


class Measure(Enum):
    """What a workload is judged by; less is better in each."""

    SESSION = "CPU ms a session"
    MESSAGE = "CPU ms a message"
    MEBIBYTE = "CPU ms a MiB"
    ADDED_MS = "ms added to a session"
    MEMORY = "KiB an idle session"


@dataclass(frozen=True, slots=True)
class Workload:
    """One kind of session.

    Args:
        title: what it is, in words.
        mode: how the client comes: clear, starttls or implicit.
        measure: what it is judged by.
        at_once: sessions kept going; while sessions are opened to be held, those being opened.
        warm_up: sessions in each place that are not counted.
        messages: in a session.
        size_octets: of a message.
        pipelining: whether MAIL, RCPT and DATA leave as one.
        chunk_octets: of a BDAT chunk; 0 for DATA.
        resumes: whether the client resumes its last TLS session.
        hold: sessions held open that do nothing.
        twin: the workload by which a yardstick that speaks no STARTTLS stands in.
    """

    title: str
    mode: str
    measure: Measure = Measure.SESSION
    at_once: int = 50
    warm_up: int = 1
    messages: int = 1
    size_octets: int = 4096
    pipelining: bool = False
    chunk_octets: int = 0
    resumes: bool = False
    hold: int = 0
    twin: str | None = None

    def options(self) -> dict[str, object]:
        """Return what the load is told, but for where and how long."""
        switches = {"--pipelining": self.pipelining, "--resumes": self.resumes}
        return {
            "--mode": self.mode,
            "--at-once": self.at_once,
            "--warm-up": self.warm_up,
            "--messages": self.messages,
            "--size": self.size_octets,
            "--chunks": self.chunk_octets,
            "--hold": self.hold,
            **{option: "yes" for option, is_on in switches.items() if is_on},
        }


_SHORT = Workload("one message of 4 KiB", "implicit")
_LARGE = Workload("one message of 10 MiB by DATA", "implicit", Measure.MEBIBYTE, at_once=4, size_octets=10 * MEBIBYTE)
_MANY = Workload(
    "200 messages on a session, one command at a time", "implicit", Measure.MESSAGE, at_once=10, warm_up=0, messages=200
)
_OVER_TLS = {
    "{}": _SHORT,
    "resumed-{}": replace(_SHORT, title="one message of 4 KiB on a resumed TLS session", warm_up=2, resumes=True),
    "many-{}": _MANY,
    "pipelined-{}": replace(_MANY, title="200 messages on a session, pipelined", pipelining=True),
    "large-{}": _LARGE,
    "bdat-{}": replace(_LARGE, title="one message of 10 MiB by BDAT in chunks of 1 MiB", chunk_octets=MEBIBYTE),
    "quiet-{}": replace(
        _SHORT, title="one message of 4 KiB, nothing else going on", measure=Measure.ADDED_MS, at_once=1, warm_up=3
    ),
    "idle-{}": Workload("2,000 sessions that do nothing after EHLO", "implicit", Measure.MEMORY, at_once=40, hold=2000),
}


def _with_twins() -> dict[str, Workload]:
    found = {}
    for pattern, workload in _OVER_TLS.items():
        twin = pattern.format("implicit")
        found[pattern.format("starttls")] = replace(workload, mode="starttls", twin=twin)
        found[twin] = workload
    return found


WORKLOADS = {**_with_twins(), "clear": replace(_SHORT, mode="clear")}


@dataclass(frozen=True, slots=True)
class Aim:
    """What the project wants to reach.

    Args:
        workload: of the project.
        most: of the yardstick's figure.
        yardstick: the peer, and the workload that it is measured by.
    """

    workload: str
    most: float
    yardstick: tuple[str, str]


AIMS = (
    Aim("starttls", 0.85, ("sslsplit", "implicit")),
    Aim("implicit", 0.85, ("sslsplit", "implicit")),
    Aim("resumed-starttls", 0.6, ("sslsplit", "implicit")),
    Aim("resumed-implicit", 0.6, ("sslsplit", "implicit")),
    Aim("large-starttls", 1.0, ("sslsplit", "large-implicit")),
    Aim("large-implicit", 1.0, ("sslsplit", "large-implicit")),
    Aim("bdat-starttls", 1.0, ("sslsplit", "bdat-implicit")),
    Aim("bdat-implicit", 1.0, ("sslsplit", "bdat-implicit")),
    Aim("clear", 4.0, ("haproxy", "clear")),
    Aim("pipelined-starttls", 1.5, ("postfix", "pipelined-starttls")),
    Aim("quiet-starttls", 2.0, ("haproxy", "quiet-implicit")),
    Aim("idle-starttls", 1.0, ("sslsplit", "idle-implicit")),
    Aim("idle-implicit", 1.0, ("sslsplit", "idle-implicit")),
)
