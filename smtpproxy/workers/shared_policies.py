"""MTA-STS policies: what one worker fetches the others know, and those that begin later.

A worker that did not know a policy might let mail pass in clear that another would not. The supervisor has them all,
and it alone keeps the file.

Source: RFC 8461 s10.2 (a policy is worth most to whom an attacker keeps from fetching it).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from smtpproxy.peers.sts_store import Held, StsStore, entry_of, read_entry, read_policies, write_policies
from smtpproxy.workers.blocking import Told
from smtpproxy.workers.channel import Body
from smtpproxy.workers.decision import read_snapshot, sealed

POLICY = "policy"
"""What is told."""


class SharedPolicies:
    """The supervisor's.

    Args:
        store: has them.
        workers: returns who is told.
    """

    def __init__(self, store: StsStore, workers: Callable[[], Iterable[Told]]) -> None:
        self._store = store
        self._workers = workers

    def hear(self, body: Body) -> None:
        """Keep what a worker has fetched, and tell the others."""
        if _take(self._store, body):
            for worker in self._workers():
                worker.tell(POLICY, body)

    def sealed(self) -> int:
        """Return a descriptor of memory that has all of them, to be closed by whoever asked."""
        return sealed("smtpproxy-policies", write_policies(self._store.snapshot()).encode("ascii"))


def store_of_worker(descriptor: int, channel: Told) -> StsStore:
    """Return a worker's store: it begins with what the supervisor has, and tells of what is fetched."""
    store = StsStore(time.time, read_policies(read_snapshot(descriptor), time.time()))
    store.fetched = lambda domain, held: _tell(channel, domain, held)
    return store


def learn(store: StsStore, body: Body) -> None:
    """In a worker: know what another has fetched."""
    _take(store, body)


def _tell(channel: Told, domain: str, held: Held) -> None:
    channel.tell(POLICY, entry_of(domain, held))


def _take(store: StsStore, body: Body) -> bool:
    return store.take(*read_entry(body, time.time()))
