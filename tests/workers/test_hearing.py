from __future__ import annotations

import time
from typing import Any

from smtpproxy.net.blocklist import Blocked, Blocklist
from smtpproxy.peers.sts_store import Held, StsStore, entry_of
from smtpproxy.policy.knowledge import StsMode, StsPolicy
from smtpproxy.workers.blocking import written
from smtpproxy.workers.hearing import SUSPICION, Hearing
from smtpproxy.workers.shared_policies import POLICY, SharedPolicies


class Worker:
    def __init__(self) -> None:
        self.told: list[tuple[str, Any]] = []

    def tell(self, what: str, body: Any = None) -> None:  # noqa: ANN401 - what a line says
        self.told.append((what, body))


def test_each_thing_goes_to_whoever_is_to_know_it() -> None:
    workers, blocklist, store = [Worker(), Worker()], Blocklist(), StsStore(time.time)
    hearing = Hearing(blocklist, SharedPolicies(store, lambda: workers), lambda: workers)
    policy = entry_of("example.com", Held(StsPolicy("1", StsMode.ENFORCE, 600, ("mx.example.com",)), time.time()))
    hearing.hear(POLICY, policy)
    hearing.hear(SUSPICION, ["mails", "192.0.2.1"])
    hearing.hear("blocked", written(Blocked("192.0.2.9", time.time() + 60, "noise")))
    assert [each.told for each in workers] == [[(POLICY, policy), (SUSPICION, ["mails", "192.0.2.1"])]] * 2
    assert store.get("example.com") is not None
    assert blocklist.is_blocked("192.0.2.9")
