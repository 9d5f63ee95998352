"""MTA-STS policies for as long as the gateway lasts: each configuration in turn says how they are found."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred

from smtpproxy.peers.policy_host import PolicyHost
from smtpproxy.peers.sts import StsPolicies, TextLookups
from smtpproxy.peers.sts_keeper import StsKeeper, load_store
from smtpproxy.peers.sts_store import StsStore


class StsFile(Service):
    """Keeps policies from one run of the gateway to the next; reads what was kept at once.

    Args:
        reactor: Twisted's.
        file: where they are kept.
        now_s: seconds since the epoch.

    Attributes:
        store: has them.
    """

    def __init__(self, reactor: Any, file: Path, now_s: Callable[[], float]) -> None:  # noqa: ANN401
        self.store = load_store(file, now_s)
        self._keeper = StsKeeper(reactor, self.store, file)

    def stopService(self) -> Deferred[None]:  # noqa: N802 - Twisted's name
        """Save what is not saved yet."""
        super().stopService()  # type: ignore[no-untyped-call]
        return self._keeper.stop()


class StsService(Service):
    """Finds and refreshes policies.

    Args:
        reactor: Twisted's.
        store: has those that are known.

    Attributes:
        policies: the policies.
    """

    def __init__(self, reactor: Any, store: StsStore) -> None:  # noqa: ANN401
        self.policies = StsPolicies(reactor, store)

    def startService(self) -> None:  # noqa: N802 - Twisted's name
        """Refresh them from now on."""
        super().startService()  # type: ignore[no-untyped-call]
        self.policies.start()

    def stopService(self) -> None:  # noqa: N802 - Twisted's name
        """Refresh nothing any more."""
        super().stopService()  # type: ignore[no-untyped-call]
        self.policies.stop()


class StsMove(Service):
    """A configuration's way to policies, which is everybody's from its start on.

    Args:
        policies: the policies.
        lookups: knows their records.
        source: fetches them.
    """

    def __init__(self, policies: StsPolicies, lookups: TextLookups, source: PolicyHost) -> None:
        self._policies = policies
        self._lookups = lookups
        self._source = source

    def startService(self) -> None:  # noqa: N802 - Twisted's name
        """Go this way from now on."""
        super().startService()  # type: ignore[no-untyped-call]
        self._policies.follow(self._lookups, self._source)
