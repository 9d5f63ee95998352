"""Make one answer of what several worker processes say of themselves.

Each function takes any number of answers, in any grouping: what was merged can be merged again. A key that an answer
does not have adds nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias

Document: TypeAlias = dict[str, Any]

MAX_SUSPECTED: Final = 10
"""Pairs of client and destination that are told of."""

_WORK: Final = ("running", "draining", "stopping")
"""What a gateway may be at; one worker that goes further counts for all."""


def merge_status(answers: Sequence[Document]) -> Document:
    """Return the status of the whole gateway: numbers are summed, lists joined, the earliest start counts."""
    found: Document = {}
    for key, merge in _STATUS.items():
        values = [answer[key] for answer in answers if key in answer]
        if values:
            found[key] = merge(values)
    return found


def silent_worker(pid: int, why: str) -> Document:
    """Return the status of a worker that has not answered, to be merged with the others'.

    Args:
        pid: its process, 0 for none.
        why: what is wrong, for the administrator.
    """
    return {"workers": [{"pid": pid, "answers": False, "because": why}]}


def merge_sessions(answers: Sequence[Document], limit: int) -> Document:
    """Return the sessions of all workers, the oldest first.

    Args:
        answers: each with ``sessions`` and how many are ``left_out``.
        limit: how many there may be; more of the youngest are left out.
    """
    every = sorted((each for answer in answers for each in answer["sessions"]), key=_age_of)
    left_out = sum(answer["left_out"] for answer in answers) + max(0, len(every) - limit)
    return {"sessions": every[:limit], "left_out": left_out}


def _age_of(session: Document) -> tuple[str, str]:
    return session["since"], session["session"]


def _sum(values: Sequence[Any]) -> Any:  # noqa: ANN401 - a number, or a mapping of such
    """Add numbers, or mappings of numbers, however deep."""
    if not isinstance(values[0], Mapping):
        return sum(values)
    keys = dict.fromkeys(key for value in values for key in value)
    return {key: _sum([value[key] for value in values if key in value]) for key in keys}


def _joined(values: Iterable[Sequence[Any]]) -> list[Any]:
    return [each for value in values for each in value]


def _union(values: Iterable[Sequence[Any]]) -> list[Any]:
    found: list[Any] = []
    for each in _joined(values):
        if each not in found:
            found.append(each)
    return found


def _policies(values: Iterable[Sequence[Document]]) -> list[Document]:
    """Return each policy once, with the sessions of all workers."""
    found: dict[str, Document] = {}
    for each in _joined(values):
        known = found.get(each["name"])
        found[each["name"]] = each if known is None else {**known, "sessions": known["sessions"] + each["sessions"]}
    return list(found.values())


def _suspected(values: Iterable[Sequence[Document]]) -> list[Document]:
    """Return the latest of each client and destination, the newest first."""
    found: dict[tuple[str, str], Document] = {}
    for each in sorted(_joined(values), key=_time_of):
        found[each["client"].rpartition(":")[0], each["upstream"]] = each
    return sorted(found.values(), key=_time_of, reverse=True)[:MAX_SUSPECTED]


def _time_of(suspected: Document) -> tuple[str, str]:
    return suspected["time"], suspected["session"]


def _generation(values: Iterable[Document]) -> Document:
    """The earliest counts: it is in force somewhere still."""
    return min(values, key=lambda each: (each["number"], each["loaded"]))


def _last_reload(values: Iterable[Document | None]) -> Document | None:
    """The latest counts, and at the same time one that was refused."""
    done = [each for each in values if each is not None]
    return max(done, key=lambda each: (each["time"], each["mistakes"]), default=None)


def _furthest(values: Iterable[str]) -> str:
    return max(values, key=_WORK.index)


def _first(values: Sequence[Any]) -> Any:  # noqa: ANN401 - whatever it is
    return values[0]


_STATUS: Final[Mapping[str, Callable[[Sequence[Any]], Any]]] = {
    "version": _first,
    "pid": _first,
    "name": _first,
    "configuration": _first,
    "mode": _first,
    "state": _furthest,
    "exits_when_drained": any,
    "since": min,
    "uptime": max,
    "generation": _generation,
    "last_reload": _last_reload,
    "listening": _union,
    "policies": _policies,
    "counters": _sum,
    "blocked": max,
    "suspected": _suspected,
    "workers": _joined,
}
"""Every key of a status, in the order in which they are shown, and how it is merged."""
