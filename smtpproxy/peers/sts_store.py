"""Keep MTA-STS policies until their time is over, the ones used lately, on disk too.

Source: RFC 8461 s3.2 (max_age), s5.1 (a policy that is kept holds until then), s10.2 (why it is worth keeping).
"""

from __future__ import annotations

import json
import os
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from smtpproxy.lru import CacheFigures
from smtpproxy.policy.knowledge import StsMode, StsPolicy
from smtpproxy.policy.mta_sts import MAX_AGE_S, MAX_PATTERNS
from smtpproxy.tls.names import ascii_name

MAX_KEPT: Final = 4096
"""Policies, most of some hundred octets; one in a hundred domains has any."""

LEAST_AGE_S: Final = 60.0
"""A policy of no lifetime serves this long, or each message would cost a fetch."""

_MAX_FILE_OCTETS: Final = 128 * 1024 * 1024
_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Held:
    """A policy, and when it was fetched, in seconds since the epoch."""

    policy: StsPolicy
    fetched_s: float

    def holds(self, now_s: float) -> bool:
        """Return whether its time is not over."""
        return now_s < self.fetched_s + max(self.policy.max_age_s, LEAST_AGE_S)


class StsStore:
    """Keeps policies by domain.

    Args:
        now_s: seconds since the epoch.
        kept: what was kept before, the ones used lately last.

    Attributes:
        changed: called when there is something new to save.
        fetched: told of what was fetched by this process.
    """

    def __init__(self, now_s: Callable[[], float], kept: Mapping[str, Held] | None = None) -> None:
        self._now_s = now_s
        self._kept = OrderedDict(kept or {})
        self._hits = self._misses = 0
        self.changed: Callable[[], object] = lambda: None
        self.fetched: Callable[[str, Held], object] = lambda _domain, _held: None

    @property
    def figures(self) -> CacheFigures:
        """How it does."""
        return CacheFigures(len(self._kept), MAX_KEPT, self._hits, self._misses)

    def get(self, domain: str) -> StsPolicy | None:
        """Return the policy of a domain that still holds."""
        held = self._kept.get(domain)
        if held is None or not held.holds(self._now_s()):
            self._misses += 1
            return None
        self._hits += 1
        self._kept.move_to_end(domain)
        return held.policy

    def put(self, domain: str, policy: StsPolicy) -> None:
        """Keep a policy that was fetched now; what is refreshed is not thereby used."""
        held = Held(policy, self._now_s())
        self._keep(domain, held)
        self.fetched(domain, held)

    def take(self, domain: str, held: Held) -> bool:
        """Keep a policy that another process has fetched, and return whether it is news: newer than what is kept."""
        known = self._kept.get(domain)
        if known is not None and known.fetched_s >= held.fetched_s:
            return False
        self._keep(domain, held)
        return True

    def _keep(self, domain: str, held: Held) -> None:
        self._kept[domain] = held
        if len(self._kept) > MAX_KEPT:
            self._kept.popitem(last=False)
        self.changed()

    def older_than(self, age_s: float) -> dict[str, StsPolicy]:
        """Return the policies that hold and were fetched before that long, and drop those that do not hold."""
        now_s = self._now_s()
        self._kept = OrderedDict((domain, held) for domain, held in self._kept.items() if held.holds(now_s))
        return {domain: held.policy for domain, held in self._kept.items() if held.fetched_s <= now_s - age_s}

    def snapshot(self) -> dict[str, Held]:
        """Return all that is kept, for another thread to save."""
        return dict(self._kept)


def save_policies(file: Path, kept: Mapping[str, Held]) -> None:
    """Write policies into a file, as a whole or not at all.

    Raises:
        OSError: it cannot be written.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        with unfinished.open("w", encoding="ascii") as opened:
            opened.write(write_policies(kept))
            opened.flush()
            os.fsync(opened.fileno())
        unfinished.replace(file)
    finally:
        unfinished.unlink(missing_ok=True)


def load_policies(file: Path, now_s: float) -> dict[str, Held]:
    """Read policies that were saved; what is damaged or over is left out, and a missing file has none.

    Args:
        file: written by `save_policies`.
        now_s: seconds since the epoch; nothing was fetched later.

    Raises:
        OSError: it is there and cannot be read.
        ValueError: it is no such file.
    """
    try:
        with file.open("rb") as opened:
            octets = opened.read(_MAX_FILE_OCTETS)
    except FileNotFoundError:
        return {}
    return read_policies(octets, now_s)


def write_policies(kept: Mapping[str, Held]) -> str:
    """Return policies as a file has them, in ASCII."""
    document = {"version": _VERSION, "policies": [entry_of(domain, held) for domain, held in kept.items()]}
    return json.dumps(document, separators=(",", ":"))


def read_policies(octets: bytes, now_s: float) -> dict[str, Held]:
    """Return the policies that a file has; what is damaged or over is left out.

    Args:
        octets: by `write_policies`.
        now_s: seconds since the epoch; nothing was fetched later.

    Raises:
        ValueError: it is no such file.
    """
    try:
        document = json.loads(octets)
    except RecursionError:
        raise ValueError("too deep") from None
    if not isinstance(document, dict) or document.get("version") != _VERSION:
        raise ValueError("not of this version")
    return dict(_last(_read_entries(document.get("policies"), now_s), MAX_KEPT))


def _last(entries: Iterable[tuple[str, Held]], count: int) -> list[tuple[str, Held]]:
    return list(entries)[-count:]


def entry_of(domain: str, held: Held) -> dict[str, object]:
    """Return a policy as JSON can say it."""
    policy = held.policy
    return {
        "domain": domain,
        "id": policy.id,
        "mode": policy.mode.value,
        "max_age": policy.max_age_s,
        "mx": policy.mx,
        "fetched": held.fetched_s,
    }


def _read_entries(entries: object, now_s: float) -> Iterable[tuple[str, Held]]:
    for entry in entries if isinstance(entries, list) else []:
        try:
            domain, held = read_entry(entry, now_s)
        except (KeyError, TypeError, ValueError, OverflowError):
            continue
        if held.holds(now_s):
            yield domain, held


def read_entry(entry: Any, now_s: float) -> tuple[str, Held]:  # noqa: ANN401 - what JSON gives
    """Return a policy that was written, and its domain.

    Raises:
        KeyError, TypeError, ValueError, OverflowError: it is none.
    """
    domain = str(entry["domain"])
    if ascii_name(domain) != domain:
        raise ValueError(domain)
    patterns = tuple(str(pattern) for pattern in entry["mx"][:MAX_PATTERNS])
    lifetime_s = min(max(int(entry["max_age"]), 0), MAX_AGE_S)
    policy = StsPolicy(str(entry["id"]), StsMode(entry["mode"]), lifetime_s, patterns)
    return domain, Held(policy, min(float(entry["fetched"]), now_s))
