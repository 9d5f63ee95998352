"""The running gateway as administrators see it: what can be asked of it, and what it can be told.

Answers are plain JSON, so that a supervisor can collect them of its workers and merge them (`merging`).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from twisted.internet.defer import Deferred, succeed

from smtpproxy import __version__
from smtpproxy.endpoint import Endpoint
from smtpproxy.errors import SmtpProxyError
from smtpproxy.net.blocklist import Blocked, Blocklist
from smtpproxy.net.counters import counters_of
from smtpproxy.net.documents import Document, fields_of
from smtpproxy.net.figures import Figures
from smtpproxy.net.gateway import Gateway, Work
from smtpproxy.net.live_sessions import live_sessions, written_time
from smtpproxy.net.reloading import Reload
from smtpproxy.net.signing_authorities import authority_documents

MAX_MISTAKES = 100
"""Mistakes of the last reload that a status tells; all are in the log."""


class Running(Protocol):
    """A running gateway, of however many processes."""

    def status(self) -> Deferred[Document]:
        """Return how it does, see `docs/control.md`."""

    def sessions(self, limit: int) -> Deferred[Document]:
        """Return ``sessions`` that are under way, the oldest first, and how many are ``left_out``."""

    def reload(self) -> Deferred[list[str]]:
        """Reload the configuration; return the mistakes that refused it, none if it is in force."""

    def drain(self, *, then_exit: bool) -> Deferred[None]:
        """Begin no new session; with ``then_exit`` end as soon as the last one has ended."""

    def resume(self) -> Deferred[list[str]]:
        """Begin sessions again; return why that cannot be, nothing if it is so."""

    def blocked(self) -> Deferred[list[Document]]:
        """Return every source that is turned away: ``address``, ``until``, ``seconds`` from now and ``reason``."""

    def block(self, address: str, seconds: float, reason: str) -> Deferred[Document]:
        """Turn a source away for a time; return its entry.

        Raises:
            ValueError: it is no address.
        """

    def lift(self, address: str) -> Deferred[bool]:
        """Turn a source away no longer; return whether it was.

        Raises:
            ValueError: it is no address.
        """


class Reloads(Protocol):
    """Knows how reloads went."""

    @property
    def last(self) -> Reload | None:
        """The one that ended last."""


class LocalRunning:
    """A gateway that is this process.

    Args:
        gateway: runs the sessions.
        figures: count.
        reloading: knows the last reload.
        reload: begins one.
        stop: ends the process in good order.
        configuration: the main file.
    """

    def __init__(
        self,
        gateway: Gateway,
        figures: Figures,
        reloading: Reloads,
        reload: Callable[[], Deferred[list[str]]],
        stop: Callable[[], None],
        configuration: Path,
    ) -> None:
        self._gateway = gateway
        self._figures = figures
        self._reloading = reloading
        self._reload = reload
        self._stop = stop
        self._configuration = configuration
        self._begun_s = time.time()
        self._exits = self._is_watched = False

    def status(self) -> Deferred[Document]:
        """Return how the gateway does."""
        gateway, now_s = self._gateway, time.time()
        newest = gateway.newest
        return succeed(
            {
                "version": __version__,
                "pid": os.getpid(),
                "name": newest.gateway_name,
                "configuration": str(self._configuration),
                "mode": newest.mode.value,
                "state": gateway.work.value,
                "exits_when_drained": self._exits,
                "since": written_time(self._begun_s),
                "uptime": round(now_s - self._begun_s, 3),
                "generation": {"number": newest.number, "loaded": written_time(newest.begun_s)},
                "last_reload": reload_document(self._reloading.last),
                "authorities": authority_documents(newest.equipment.authorities),
                "listening": self._listening(),
                "policies": self._policies(),
                "counters": counters_of(self._figures),
                "blocked": len(self._blocklist),
                "suspected": self._suspected(),
                "workers": [self._worker()],
            }
        )

    def _listening(self) -> list[Document]:
        found = self._gateway.addresses.items()
        return [{"address": str(Endpoint(*address)), "kind": bind.kind.value} for bind, address in found]

    def _policies(self) -> list[Document]:
        """Return those of the newest configuration, and earlier ones that still have sessions."""
        found = {policy.name: policy.enabled for policy in self._gateway.newest.policies}
        counts = dict.fromkeys(found, 0)
        for generation in self._gateway.generations:
            for driver in generation.sessions:
                name = driver.origin.policy
                counts[name] = counts.get(name, 0) + 1
        return [{"name": name, "enabled": found.get(name, False), "sessions": count} for name, count in counts.items()]

    def _suspected(self) -> list[Document]:
        recent = self._figures.suspicions.recent
        return [fields_of(suspected, written_time(when_s)) for when_s, suspected in recent]

    def _worker(self) -> Document:
        return {
            "pid": os.getpid(),
            "answers": True,
            "state": self._gateway.work.value,
            "since": written_time(self._begun_s),
            "generation": self._gateway.newest.number,
            "sessions": self._gateway.sessions_running,
        }

    def sessions(self, limit: int) -> Deferred[Document]:
        """Return sessions, the oldest first, and how many are left out."""
        found = live_sessions(self._gateway.generations, time.time(), limit)
        return succeed({"sessions": found, "left_out": self._gateway.sessions_running - len(found)})

    def reload(self) -> Deferred[list[str]]:
        """Reload."""
        return self._reload()

    def drain(self, *, then_exit: bool) -> Deferred[None]:
        """Begin no new session; what was said last about the exit counts."""
        self._gateway.drain()
        self._exits = then_exit
        if then_exit and not self._is_watched:
            self._is_watched = True
            self._gateway.when_empty().addCallback(self._leave)
        return succeed(None)

    def _leave(self, _: None) -> None:
        self._is_watched = False
        if self._exits and self._gateway.work is Work.DRAINING:
            self._stop()

    def resume(self) -> Deferred[list[str]]:
        """Begin sessions again."""
        try:
            self._gateway.resume()
        except SmtpProxyError as error:
            return succeed([str(error)])
        self._exits = False
        return succeed([])

    def blocked(self) -> Deferred[list[Document]]:
        """Return every source that is turned away."""
        now_s = time.time()
        entries = sorted(self._blocklist.entries(), key=lambda entry: entry.address)
        return succeed([blocked_document(entry, now_s) for entry in entries])

    def block(self, address: str, seconds: float, reason: str) -> Deferred[Document]:
        """Turn a source away for a time."""
        return succeed(blocked_document(self._blocklist.block(address, seconds, reason), time.time()))

    def lift(self, address: str) -> Deferred[bool]:
        """Turn a source away no longer."""
        return succeed(self._blocklist.lift(address))

    @property
    def _blocklist(self) -> Blocklist:
        return self._gateway.newest.equipment.blocklist


def blocked_document(entry: Blocked, now_s: float) -> Document:
    """Return a source that is turned away, as administrators see it."""
    return {
        "address": entry.address,
        "until": written_time(entry.until),
        "seconds": round(entry.until - now_s),
        "reason": entry.reason,
    }


def reload_document(last: Reload | None) -> Document | None:
    """Return how a reload went, as a status tells it."""
    if last is None:
        return None
    mistakes = list(last.mistakes[:MAX_MISTAKES])
    return {"time": written_time(last.ended_s), "mistakes": mistakes, "left_out": len(last.mistakes) - len(mistakes)}
