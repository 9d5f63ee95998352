"""Put the supervisor together: what stands once beside all workers, and how it is told to reload and stop."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from weakref import WeakSet

from twisted.application.service import IService, Service
from twisted.internet import reactor as default_reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import blockingCallFromThread

from smtpproxy.admin.control.server import ControlServer
from smtpproxy.admin.control.service import Control, ControlMove
from smtpproxy.admin.metrics_server import MetricsServer
from smtpproxy.admin.metrics_service import Metrics, MetricsMove
from smtpproxy.authority.signing_process import SigningProcess, open_signing_socket
from smtpproxy.config.home import Home
from smtpproxy.config.snapshot import pack
from smtpproxy.config.values import Configuration
from smtpproxy.embedded.service import EmbeddedUpstream
from smtpproxy.net.announcing import Announcing
from smtpproxy.net.blocklist_file import BLOCKLIST_FILE, BlocklistFile
from smtpproxy.net.keeping import Keeping
from smtpproxy.net.listeners import Binding, bindings
from smtpproxy.net.notify import Manager, Notifier, find_manager
from smtpproxy.net.record_files import RecordFiles
from smtpproxy.net.reloading import Reloading
from smtpproxy.net.stopping import Stopping
from smtpproxy.peers.sts_service import StsFile
from smtpproxy.policy.model import InterceptionMode
from smtpproxy.service import STS_FILE, OneAfterAnother, make_embedded, make_signals, make_spools, notices_of, tell
from smtpproxy.spool import SpoolUsage
from smtpproxy.transport.activation import activated
from smtpproxy.transport.openssl import require_openssl
from smtpproxy.workers.cores import count_workers
from smtpproxy.workers.counting import FleetFigures
from smtpproxy.workers.decision import Decision
from smtpproxy.workers.launch import Launch
from smtpproxy.workers.ports import SharedPorts
from smtpproxy.workers.running import FleetRunning
from smtpproxy.workers.supervisor import END_S, Supervisor


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What the supervisor itself needs of a configuration."""

    binds: tuple[Binding, ...]
    workers: int
    drain_timeout_s: float
    file: Path
    gateway_name: str
    mode: InterceptionMode
    policies: int
    authorities: tuple[str, ...]


def make_fleet(
    configuration: Configuration,
    load: Callable[[], Configuration],
    launch: Launch,
    reactor: Any = default_reactor,  # noqa: ANN401
) -> IService:
    """Make the supervisor of the workers that a configuration wants, not yet started.

    Args:
        configuration: without mistakes.
        load: returns the configuration as it is when SIGHUP asks for a reload; called in a thread.
        launch: how workers are started.
        reactor: Twisted's, or a test's.

    Raises:
        OpenSslError: the OpenSSL underneath cannot do what is needed.
        RecordFileError: the record file cannot be opened.
        OSError: certificate or key of the embedded upstream cannot be read, or the folder of the spool cannot be made.
    """
    require_openssl()
    metrics = Metrics(lambda endpoint: MetricsServer(reactor, endpoint.host, endpoint.port, figures, running.status))
    control = Control(lambda path: ControlServer(reactor, path, running))
    office = _Office(reactor, metrics, control)
    manager = find_manager()
    notifier = Notifier(reactor, manager.address)
    ports = SharedPorts(Keeping(notifier, activated()))
    process = SigningProcess(reactor, open_signing_socket())
    policies = StsFile(reactor, Home(configuration.home).resolve(STS_FILE), time.time)
    keys = _Keys(process, configuration.file)
    supervisor = Supervisor(reactor, office.decide(configuration), launch, ports, keys, policies.store)
    announcing = _announcing(supervisor, notifier, manager, reactor)
    figures = FleetFigures(lambda: [worker.figures for worker in supervisor.workers])
    supervisor.departed = figures.depart
    reloading = _reloading(supervisor, office, load, reactor)
    reload = announcing.reloads(reloading.request)
    stopping = Stopping(reactor.stop, supervisor.expire)
    running = FleetRunning(reactor, supervisor, figures, reloads=reloading, reload=reload, stop=stopping.request)
    services = OneAfterAnother()  # type: ignore[no-untyped-call]
    blocked = BlocklistFile(reactor, Home(configuration.home).resolve(BLOCKLIST_FILE), supervisor.blocklist)
    signals = make_signals(reload, stopping, reactor)
    for service in (signals, policies, blocked, metrics, control, process, supervisor, announcing):
        service.setServiceParent(services)  # type: ignore[no-untyped-call]
    return services


def _announcing(supervisor: Supervisor, notifier: Notifier, manager: Manager, reactor: Any) -> Announcing:  # noqa: ANN401
    announcing = Announcing(
        reactor,
        notifier,
        lambda: supervisor.status,
        lambda: supervisor.newest.wanted.drain_timeout_s + END_S,
        watchdog_s=manager.watchdog_s,
    )
    supervisor.all_serve = announcing.serves
    return announcing


def _reloading(
    supervisor: Supervisor,
    office: _Office,
    load: Callable[[], Configuration],
    reactor: Any,  # noqa: ANN401
) -> Reloading:
    def reopen() -> Deferred[None]:
        return Deferred.fromCoroutine(supervisor.reopen())

    in_thread = partial(blockingCallFromThread, reactor, reopen)  # type: ignore[arg-type]  # no inference of None
    return Reloading(supervisor, in_thread, lambda: office.decide(load()))


class _Keys:
    """Those of one configuration file, in the signing process."""

    def __init__(self, process: SigningProcess, file: Path) -> None:
        self._process = process
        self._file = file

    @property
    def address(self) -> str:
        """Where workers find it."""
        return self._process.address

    def prepare(self, decision: Decision) -> Deferred[None]:
        """Have the authorities of the file loaded, which must be those of the decision."""
        return self._process.prepare(self._file, decision.wanted.authorities)

    def adopt(self) -> None:
        """Keep what was prepared."""
        self._process.adopt()

    def discard(self) -> None:
        """Forget it."""
        self._process.discard()


class _Office:
    """Makes decisions of configurations, in whichever thread; what outlives one is kept here."""

    def __init__(self, reactor: Any, metrics: Metrics, control: Control) -> None:  # noqa: ANN401
        self._reactor = reactor
        self._metrics = metrics
        self._control = control
        self._upstreams: WeakSet[EmbeddedUpstream] = WeakSet()

    def decide(self, configuration: Configuration) -> Decision:
        """Make a decision, which binds and serves nothing yet.

        Raises:
            RecordFileError: the record file cannot be opened.
            OSError: certificate or key of the embedded upstream cannot be read, or the folder of the spool cannot be
                made.
        """
        self._reactor.callFromThread(tell, notices_of(configuration))
        _try_files(configuration)
        parts: list[Service] = [
            MetricsMove(self._metrics, configuration.metrics),
            ControlMove(self._control, configuration.control),
        ]
        if configuration.embedded is not None:
            parts.append(make_embedded(configuration.embedded, self._upstreams))
        return Decision(_wanted(configuration), pack(configuration), parts)


def _wanted(configuration: Configuration) -> _Wanted:
    certificates = configuration.certificates
    return _Wanted(
        binds=tuple(bindings(configuration.policies, configuration.interception)),
        workers=count_workers(configuration.gateway.workers),
        drain_timeout_s=configuration.gateway.drain_timeout_s,
        file=configuration.file,
        gateway_name=configuration.gateway.name,
        mode=configuration.interception.mode,
        policies=len(configuration.policies),
        authorities=tuple(
            each.fingerprint for each in (certificates.proxy_authority, certificates.untrusted_authority)
        ),
    )


def _try_files(configuration: Configuration) -> None:
    """Find out here what would keep every worker from its start; what is made by that is made anew by their user."""
    file = configuration.records
    is_new = file is not None and not file.exists()
    RecordFiles().lease(file).stopService()
    if file is not None and is_new:
        file.unlink(missing_ok=True)
    make_spools(configuration.spool, SpoolUsage())
