from __future__ import annotations

import os
import time
from typing import Any

import pytest

from smtpproxy.peers.sts_store import Held, StsStore
from smtpproxy.policy.knowledge import StsMode, StsPolicy
from smtpproxy.workers.shared_policies import POLICY, SharedPolicies, learn, store_of_worker

FIRST = StsPolicy("1", StsMode.ENFORCE, 86400, ("mx.example.com", "*.example.net"))
SECOND = StsPolicy("2", StsMode.NONE, 600, ())


class Gateway:
    """Workers and their supervisor, without processes between them."""

    def __init__(self) -> None:
        self.kept = StsStore(time.time)
        self.saves = 0
        self.kept.changed = self._save
        self.workers: list[Worker] = []
        self.shared = SharedPolicies(self.kept, lambda: self.workers)

    def _save(self) -> None:
        self.saves += 1

    def begin(self) -> Worker:
        self.workers.append(Worker(self))
        return self.workers[-1]


class Worker:
    """Both ends of a worker's channel."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        descriptor = gateway.shared.sealed()
        self.store = store_of_worker(descriptor, Supervisor(gateway))
        os.close(descriptor)

    def tell(self, what: str, body: Any = None) -> None:  # noqa: ANN401 - what a line says
        assert what == POLICY
        learn(self.store, body)


class Supervisor:
    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def tell(self, what: str, body: Any = None) -> None:  # noqa: ANN401 - what a line says
        assert what == POLICY
        self._gateway.shared.hear(body)


def test_what_one_fetches_all_know_and_the_file_has() -> None:
    gateway = Gateway()
    one, two = gateway.begin(), gateway.begin()
    one.store.put("example.com", FIRST)
    two.store.put("example.net", SECOND)
    for store in (one.store, two.store, gateway.kept):
        assert {domain: held.policy for domain, held in store.snapshot().items()} == {
            "example.com": FIRST,
            "example.net": SECOND,
        }
    assert gateway.saves == 2


def test_one_that_begins_later_knows_what_was_fetched_before() -> None:
    gateway = Gateway()
    gateway.begin().store.put("example.com", FIRST)
    gateway.workers.clear()
    assert gateway.begin().store.get("example.com") == FIRST


def test_what_is_older_replaces_nothing_and_is_told_to_nobody() -> None:
    gateway = Gateway()
    one, two = gateway.begin(), gateway.begin()
    one.store.put("example.com", FIRST)
    fetched_s = one.store.snapshot()["example.com"].fetched_s
    late = Held(SECOND, fetched_s - 1.0)
    assert not two.store.take("example.com", late)
    assert not gateway.kept.take("example.com", late)
    assert gateway.saves == 1
    assert two.store.get("example.com") == FIRST


@pytest.mark.parametrize("body", [None, {}, {"domain": "EXAMPLE.com", "id": "1"}, ["example.com"]])
def test_what_makes_no_sense_is_kept_nowhere(body: object) -> None:
    gateway = Gateway()
    with pytest.raises((KeyError, TypeError, ValueError)):
        gateway.shared.hear(body)
    assert not gateway.kept.snapshot()
