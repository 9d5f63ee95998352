"""What a running gateway tells, in words for tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

_UNITS: Final = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))
_SIZES: Final = ((10**9, "GB"), (10**6, "MB"), (10**3, "kB"))


def gap(seconds: float) -> str:
    """Return a length of time by its two biggest units: ``3 d 4 h``."""
    left = int(seconds)
    parts: list[str] = []
    for length, unit in _UNITS:
        count, left = divmod(left, length)
        if count or parts:
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2]) or "0 s"


def octets(count: float) -> str:
    """Return an amount of octets."""
    for size, unit in _SIZES:
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count:.0f} B"


def counted(counts: Mapping[str, int]) -> str:
    """Return what there is any of, or that there is none."""
    return ", ".join(f"{count} {name}" for name, count in counts.items() if count) or "none"


def on_leg(tls: Mapping[str, Any] | None) -> str:
    """Return what a handshake established."""
    if tls is None:
        return "in clear"
    resumed = ", resumed" if tls["resumed"] else ""
    return f"{tls['version']} {tls['cipher']}, {tls['verified']}{resumed}"


def state_words(status: Mapping[str, Any]) -> str:
    """Return what a gateway is at."""
    if status["state"] != "draining":
        return str(status["state"])
    after = (
        "the process exits after the last one" if status["exits_when_drained"] else "'smtpproxy drain --cancel' ends it"
    )
    return f"draining: no new sessions; {after}"


def reload_words(last: Mapping[str, Any] | None) -> str:
    """Return how the last reload went."""
    if last is None:
        return "none since the start"
    if not last["mistakes"]:
        return f"{last['time']}, done"
    more = f"\n(and {last['left_out']} more, see the log)" if last["left_out"] else ""
    return "\n".join((f"{last['time']}, REFUSED:", *last["mistakes"])) + more
