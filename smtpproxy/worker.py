"""The program of a worker: ``python -m smtpproxy.worker [--forward] NAME``, with its supervisor at descriptor 3."""

from __future__ import annotations

import gc
import signal
import sys
from functools import partial
from typing import Any, cast

from twisted.application.service import IService
from twisted.internet import reactor as default_reactor
from twisted.logger import ILogObserver, globalLogBeginner

from smtpproxy.admin.metrics_service import Metrics
from smtpproxy.config.snapshot import unpack
from smtpproxy.net.console import Console
from smtpproxy.net.figures import Figures
from smtpproxy.net.gateway import Gateway
from smtpproxy.net.generation import Generation
from smtpproxy.net.reloading import Reload
from smtpproxy.net.running import LocalRunning
from smtpproxy.peers.sts_service import StsService
from smtpproxy.service import OneAfterAnother, Shared, Workshop
from smtpproxy.workers.counting import Numbers, told
from smtpproxy.workers.launch import FORWARD, adopt_channel
from smtpproxy.workers.log_lines import Forwarding, Labelled
from smtpproxy.workers.serving import Given, Serving


class GatewayOfWorker:
    """A gateway as a worker has it: everything but what the supervisor does once for all.

    Args:
        reactor: Twisted's.
        given: what it begins with.

    Attributes:
        gateway: runs the sessions.
        running: the same, as it is asked and told.
        blocklist: who is turned away.
        suspicions: what speaks for broken interception.
        policies: MTA-STS policies.
        service: all of it.
    """

    def __init__(self, reactor: Any, given: Given) -> None:  # noqa: ANN401 - Twisted's
        configuration = unpack(given.snapshot)
        self.policies = given.policies
        sts = StsService(reactor, given.policies)
        shared = Shared(given.counts, given.counts)
        self._workshop = Workshop(reactor, Metrics(_no_metrics_here), sts.policies, given.signing, shared=shared)
        self.gateway = Gateway(reactor, self._workshop.make(configuration), given.sockets, given.counts)
        self._figures = Figures(self.gateway, self._workshop.records.tally, self._workshop.records.suspicions)
        self.blocklist = self._workshop.blocklist
        self.suspicions = self._workshop.records.suspicions
        self.running = LocalRunning(
            self.gateway, self._figures, _NoReloads(), _not_here, stop=_not_here, configuration=configuration.file
        )
        services = OneAfterAnother()  # type: ignore[no-untyped-call]
        for service in (sts, self.gateway):
            service.setServiceParent(services)  # type: ignore[no-untyped-call]
        self.service = cast("IService", services)
        reactor.addSystemEventTrigger("after", "shutdown", self._workshop.close)
        gc.freeze()

    def make(self, snapshot: bytes) -> Generation:
        """Make a generation of a configuration, in whichever thread."""
        return self._workshop.make(unpack(snapshot))

    def reopen(self) -> None:
        """Have the record files opened anew, in whichever thread."""
        self._workshop.records.reopen()

    def figures(self) -> Numbers:
        """Return what was counted."""
        return told(self._figures)


class _NoReloads:
    """The supervisor knows them."""

    last: Reload | None = None


def _not_here() -> Any:  # noqa: ANN401 - it returns nothing
    raise AssertionError("the supervisor does this")


def _no_metrics_here(_endpoint: object) -> Any:  # noqa: ANN401 - it returns nothing
    raise AssertionError("a snapshot names no address for metrics")


def main(arguments: list[str]) -> None:
    """Serve until the supervisor has it stop, or is gone."""
    *options, name = arguments
    observer = Forwarding(sys.stdout) if FORWARD in options else Labelled(Console(sys.stdout), name)
    globalLogBeginner.beginLoggingTo([cast("ILogObserver", observer)])
    for number in (
        signal.SIGINT,
        signal.SIGHUP,
    ):  # a terminal sends them to everybody; the supervisor says what follows
        signal.signal(number, signal.SIG_IGN)
    reactor: Any = default_reactor
    serving = Serving(reactor, partial(GatewayOfWorker, reactor))
    reactor.callWhenRunning(adopt_channel, reactor, serving.channel)
    reactor.run()


if __name__ == "__main__":
    main(sys.argv[1:])
