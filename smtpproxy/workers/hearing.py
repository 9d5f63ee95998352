"""What a worker tells of goes to whoever is to know it: the supervisor's lists, or the other workers."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from smtpproxy.net.blocklist import Blocklist
from smtpproxy.workers.blocking import Told, hear
from smtpproxy.workers.channel import Body
from smtpproxy.workers.shared_policies import POLICY, SharedPolicies

SUSPICION: Final = "suspicion"
"""Something that speaks for or against broken interception; only workers keep it in mind."""


class Hearing:
    """The supervisor's ear.

    Args:
        blocklist: who is turned away.
        policies: the MTA-STS policies.
        workers: returns who is told.
    """

    def __init__(self, blocklist: Blocklist, policies: SharedPolicies, workers: Callable[[], Iterable[Told]]) -> None:
        self._blocklist = blocklist
        self._policies = policies
        self._workers = workers

    def hear(self, what: str, body: Body) -> None:
        """Take what a worker tells; it may hear of it again itself."""
        if what == POLICY:
            self._policies.hear(body)
        elif what == SUSPICION:
            for worker in self._workers():
                worker.tell(SUSPICION, body)
        else:
            hear(self._blocklist, what, body)
