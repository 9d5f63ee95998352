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


def merge_workers(answers: Sequence[Document]) -> Document:
    """Return what only workers know of a gateway's status, together."""
    return {key: merge([answer[key] for answer in answers if key in answer]) for key, merge in _OF_WORKERS.items()}


def silent_worker(pid: int, why: str) -> Document:
    """Return what is to be told of a worker that has not answered, to be merged with the others'.

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


_OF_WORKERS: Final[Mapping[str, Callable[[Sequence[Any]], Any]]] = {
    "authorities": _union,
    "listening": _union,
    "policies": _policies,
    "suspected": _suspected,
    "workers": _joined,
}
"""The keys of a status that only workers know, and how each is merged."""
