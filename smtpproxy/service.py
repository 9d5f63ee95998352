"""Put the parts together: the one place that knows them all."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from weakref import WeakSet

from twisted.application.service import IService, MultiService, Service
from twisted.internet import reactor as default_reactor
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.logger import Logger

from smtpproxy.admin.control.server import ControlServer
from smtpproxy.admin.control.service import Control, ControlMove
from smtpproxy.admin.metrics_server import MetricsServer
from smtpproxy.admin.metrics_service import Metrics, MetricsMove
from smtpproxy.audit import Record
from smtpproxy.authority.credentials import Authority, Credential
from smtpproxy.authority.mint import Mint, make_leaf_keys
from smtpproxy.authority.remote import RemoteMint
from smtpproxy.authority.server import ServerCredentials
from smtpproxy.authority.signing_client import SigningClient, SigningError
from smtpproxy.config.home import Home
from smtpproxy.config.values import Certificates, Configuration, EmbeddedServer, ResolverSettings, SpoolSettings
from smtpproxy.counts import Counts, OwnCounts
from smtpproxy.embedded.service import EmbeddedUpstream
from smtpproxy.errors import SmtpProxyError
from smtpproxy.net.announcing import Announcing
from smtpproxy.net.blocklist import Blocklist
from smtpproxy.net.blocklist_file import BLOCKLIST_FILE, BlocklistFile
from smtpproxy.net.equipment import Equipment
from smtpproxy.net.figures import Figures
from smtpproxy.net.gateway import Gateway
from smtpproxy.net.generation import Generation
from smtpproxy.net.keeping import Keeping
from smtpproxy.net.listeners import bindings
from smtpproxy.net.listening import ListenError, status_of
from smtpproxy.net.loops import Loops
from smtpproxy.net.notify import Manager, Notifier, find_manager
from smtpproxy.net.record_files import RecordFiles
from smtpproxy.net.reloading import Reloading
from smtpproxy.net.running import LocalRunning
from smtpproxy.net.signals import Signals
from smtpproxy.net.stopping import Stopping
from smtpproxy.peers.directories import Directories
from smtpproxy.peers.directory import Directory
from smtpproxy.peers.examiner import Examiner
from smtpproxy.peers.exchange import NameServer
from smtpproxy.peers.memory import BrokenTls
from smtpproxy.peers.policy_host import PolicyHost
from smtpproxy.peers.report_socket import ReportSocket
from smtpproxy.peers.resolver import Resolver
from smtpproxy.peers.sts import StsPolicies
from smtpproxy.peers.sts_service import StsFile, StsMove, StsService
from smtpproxy.peers.tlsrpt import Reports, TlsReporter
from smtpproxy.policy.ahead import domains_ahead
from smtpproxy.policy.certificates import Leaf, LeafKey, Signer
from smtpproxy.spool import Spools, SpoolUsage, Usage
from smtpproxy.transport.activation import activated
from smtpproxy.transport.contexts import Contexts
from smtpproxy.transport.descriptors import make_room, needed, shortfall
from smtpproxy.transport.openssl import require_openssl
from smtpproxy.workers.cores import count_workers

STS_FILE = "var/mta-sts.json"
"""Where MTA-STS policies are kept over a restart, from the home on."""

SERVER_CONTEXTS = 4096
"""TLS contexts of certificates shown lately, about 20 KiB each: as many as there may be minted leaves."""

_log = Logger(namespace="smtpproxy")


class StartError(SystemExit, Exception):
    """Ends twistd with a status of ours.

    As `SystemExit` it leaves no traceback; as an `Exception` it has twistd remove its pid file and tell
    the terminal that a daemon was started from.

    Args:
        message: what is wrong, in one line.
        status: the exit status.
    """

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.code = status


class RestartNeeded(SmtpProxyError):  # noqa: N818 - it says what is wrong
    """A change that the running program cannot make."""


class OneAfterAnother(MultiService):
    """Stops in the reverse order of its start, each service when the one before has stopped.

    Metrics tell of sessions that are being drained.
    """

    def privilegedStartService(self) -> None:  # noqa: N802 - Twisted's name
        """Have each bind its ports."""
        with _told_in_one_line():
            super().privilegedStartService()  # type: ignore[no-untyped-call]

    def startService(self) -> None:  # noqa: N802 - Twisted's name
        """Start each."""
        with _told_in_one_line():
            super().startService()  # type: ignore[no-untyped-call]

    def stopService(self) -> Deferred[None]:  # noqa: N802 - Twisted's name
        """Stop each, the last one first."""
        Service.stopService(self)
        return Deferred.fromCoroutine(self._stop_all())

    async def _stop_all(self) -> None:
        for service in reversed(list(self)):
            await maybeDeferred(service.stopService)


@contextmanager
def _told_in_one_line() -> Iterator[None]:
    """What the embedded upstream cannot do comes as a plain `OSError`."""
    try:
        yield
    except ListenError as error:
        raise _told(str(error), error.status) from None
    except OSError as error:
        raise _told(f"cannot start: {error.strerror or error}", status_of(error)) from None


def _told(message: str, status: int) -> StartError:
    _log.critical("{message}", message=message)
    print(message, file=sys.__stderr__, flush=True)  # `sys.stderr` is a part of the log by now
    return StartError(message, status)


def make_service(
    configuration: Configuration,
    load: Callable[[], Configuration],
    reactor: Any = default_reactor,  # noqa: ANN401
) -> IService:
    """Make the gateway that a configuration describes, not yet started.

    Args:
        configuration: without mistakes.
        load: returns the configuration as it is when SIGHUP asks for a reload; called in a thread.
        reactor: Twisted's, or a test's.

    Raises:
        OpenSslError: the OpenSSL underneath cannot do what is needed.
        RecordFileError: the record file cannot be opened.
        OSError: certificate or key of the embedded upstream cannot be read, or the folder of the spool cannot be made.
    """
    require_openssl()
    metrics = Metrics(lambda endpoint: MetricsServer(reactor, endpoint.host, endpoint.port, figures, running.status))
    control = Control(lambda path: ControlServer(reactor, path, running))
    kept = StsFile(reactor, Home(configuration.home).resolve(STS_FILE), time.time)
    sts = StsService(reactor, kept.store)
    workshop = Workshop(reactor, metrics, sts.policies, control=control)
    manager = find_manager()
    notifier = Notifier(reactor, manager.address)
    gateway = Gateway(reactor, workshop.make(configuration), Keeping(notifier, activated()))
    announcing = _announcing(gateway, notifier, manager, reactor)
    figures = Figures(gateway, workshop.records.tally, workshop.records.suspicions)
    reloading = Reloading(gateway, workshop.records.reopen, lambda: workshop.make(_for_one_process(load())))
    stopping = Stopping(reactor.stop, gateway.expire)
    reload = announcing.reloads(reloading.request)
    running = LocalRunning(gateway, figures, reloading, reload, stopping.request, configuration.file)
    services = OneAfterAnother()  # type: ignore[no-untyped-call]
    blocked = BlocklistFile(reactor, Home(configuration.home).resolve(BLOCKLIST_FILE), workshop.blocklist)
    signals = make_signals(reload, stopping, reactor)
    for service in (signals, kept, sts, blocked, metrics, control, gateway, announcing):
        service.setServiceParent(services)  # type: ignore[no-untyped-call]
    return services


def _announcing(gateway: Gateway, notifier: Notifier, manager: Manager, reactor: Any) -> Announcing:  # noqa: ANN401
    announcing = Announcing(
        reactor,
        notifier,
        lambda: gateway.status,
        lambda: gateway.newest.drain_timeout_s,
        watchdog_s=manager.watchdog_s,
    )
    reactor.callWhenRunning(announcing.serves)
    return announcing


def make_signals(reload: Callable[[], object], stopping: Stopping, reactor: Any) -> Signals:  # noqa: ANN401
    """Return what has SIGHUP reload, SIGTERM and SIGINT stop."""
    wishes: dict[signal.Signals, Callable[[], object]] = {
        signal.SIGHUP: reload,
        signal.SIGTERM: stopping.request,
        signal.SIGINT: stopping.request,
    }
    return Signals(reactor, wishes)


def _for_one_process(configuration: Configuration) -> Configuration:
    workers = count_workers(configuration.gateway.workers)
    if workers > 1:
        raise RestartNeeded(f"gateway.workers: this gateway runs as one process; restart it to have {workers} workers")
    return configuration


def tell(notices: Sequence[str]) -> None:
    """Log what an administrator should hear of a configuration."""
    for notice in notices:
        _log.warn("{notice}", notice=notice)


def notices_of(configuration: Configuration) -> list[str]:
    """Have as many descriptors as can be had, for processes that are begun later too; return what is to be told."""
    wanted = needed(configuration.max_sessions)
    if raised := make_room(wanted):
        _log.info("limit of descriptors raised from {soft} to {hard}", soft=raised[0], hard=raised[1])
    lack = shortfall(wanted)
    return [*configuration.notices, *([lack] if lack else [])]


def _all_of(first: Callable[[Record], None], *others: Callable[[Record], None]) -> Callable[[Record], None]:
    """Return what has a record taken by all of them; one alone is called without a price."""

    def write(record: Record) -> None:
        for take in (first, *others):
            take(record)

    return write if others else first


def make_embedded(server: EmbeddedServer, others: WeakSet[EmbeddedUpstream]) -> EmbeddedUpstream:
    """Make the embedded upstream, not yet bound, which takes over the ports that others have.

    Raises:
        OSError: its certificate or key cannot be read.
    """
    upstream = EmbeddedUpstream(server.host, server.smtp, server.smtps, server.certificate, server.key, server.maildir)
    upstream.succeed(others)
    others.add(upstream)
    return upstream


def make_spools(settings: SpoolSettings, usage: Usage) -> Spools:
    """Return what makes spools, with their folder.

    Raises:
        OSError: it cannot be made.
    """
    spools = Spools(settings.directory, settings.memory_octets, settings.limit_octets, usage)
    spools.prepare()
    return spools


def _mint_ahead(mint: RemoteMint, leaf: Leaf) -> None:
    minting = mint.leaf(leaf, datetime.now(UTC))
    if isinstance(minting, Deferred):
        minting.addErrback(lambda failure: failure.trap(SigningError))  # told where it failed


@dataclass(frozen=True, slots=True)
class Shared:
    """What all processes of the gateway count together, or this one alone."""

    counts: Counts = field(default_factory=OwnCounts)
    spool_usage: Usage = field(default_factory=SpoolUsage)


class Workshop:
    """Makes generations of configurations, in whichever thread; what outlives a generation is kept here.

    Args:
        reactor: Twisted's, or a test's.
        metrics: moves to where each generation wants it.
        sts: MTA-STS policies, found as the newest generation says.
        signing: where the signing process listens; for configurations without the authorities' keys.
        control: moves as the metrics do; none where a supervisor has it.
        shared: what is counted together with other processes.

    Attributes:
        records: the record files.
        blocklist: who is turned away.
    """

    def __init__(
        self,
        reactor: Any,  # noqa: ANN401
        metrics: Metrics,
        sts: StsPolicies,
        signing: str | None = None,
        control: Control | None = None,
        shared: Shared | None = None,
    ) -> None:
        shared = shared or Shared()
        self._reactor = reactor
        self._metrics = metrics
        self._control = control
        self._sts = sts
        self._leaf_keys = make_leaf_keys()
        self._upstreams: WeakSet[EmbeddedUpstream] = WeakSet()
        self._spool_usage = shared.spool_usage
        self._broken_tls = BrokenTls()
        self._loops = Loops(shared.counts)
        self.blocklist = Blocklist()
        self._directories = Directories(self._directory)
        self.records = RecordFiles()
        self._client = SigningClient(reactor, signing, self.records.tally.leaves) if signing else None

    def close(self) -> None:
        """Let go of the signing process."""
        if self._client is not None:
            self._client.close()

    def make(self, configuration: Configuration) -> Generation:
        """Make a generation, which binds and serves nothing yet.

        Raises:
            RecordFileError: the record file cannot be opened.
            OSError: certificate or key of the embedded upstream cannot be read, or the folder of the spool cannot be
                made.
        """
        notices = notices_of(configuration)
        if self._client is None:  # else the supervisor has told it for all
            self._reactor.callFromThread(tell, notices)
        parts: list[Service] = [MetricsMove(self._metrics, configuration.metrics)]
        if self._control is not None:
            parts.append(ControlMove(self._control, configuration.control))
        if configuration.embedded is not None:
            parts.append(make_embedded(configuration.embedded, self._upstreams))
        mint, spools = self._mint(configuration), make_spools(configuration.spool, self._spool_usage)
        lease = self.records.lease(configuration.records)
        known = self._directories.lease(configuration.resolver, domains_ahead(configuration.policies))
        parts.append(self._sts_move(configuration, known.directory))
        reports = self._reports(configuration.tlsrpt, known.directory)
        write = _all_of(lease.writer.write, *(each.reporter.observe for each in reports))
        equipment = self._equipment(configuration, mint, spools, write, known.directory)
        interception = configuration.interception
        return Generation(
            configuration.policies,
            bindings(configuration.policies, interception),
            equipment,
            mode=interception.mode,
            trusted_balancers=interception.trusted_balancers,
            gateway_name=configuration.gateway.name,
            drain_timeout_s=configuration.gateway.drain_timeout_s,
            parts=[lease, known, equipment.examiner, *reports, *parts],
        )

    def _mint(self, configuration: Configuration) -> Mint | RemoteMint:
        """Mint one leaf ahead: the libraries load parts of themselves at the first, and may lack a descriptor later."""
        leaf = Leaf(Signer.UNTRUSTED_AUTHORITY, LeafKey.ECDSA, None, configuration.gateway.name)
        match configuration.certificates:
            case Certificates(proxy_authority=Credential() as proxy, untrusted_authority=Credential() as untrusted):
                mint = Mint(proxy, untrusted, self._leaf_keys, self.records.tally.leaves)
                mint.leaf(leaf, datetime.now(UTC))
                return mint
            case Certificates(proxy_authority=Authority() as proxy, untrusted_authority=Authority() as untrusted):
                return self._remote_mint(proxy, untrusted, leaf)
        raise AssertionError("the keys of both authorities are here, or none is")

    def _remote_mint(self, proxy: Authority, untrusted: Authority, ahead: Leaf) -> RemoteMint:
        if self._client is None:
            raise AssertionError("a configuration without keys needs a process that has them")
        mint = RemoteMint(proxy, untrusted, self._leaf_keys, self._client.sign)
        self._reactor.callFromThread(_mint_ahead, mint, ahead)
        return mint

    def _directory(self, settings: ResolverSettings) -> Directory:
        servers = [NameServer(endpoint.host, endpoint.port, trusted) for endpoint, trusted in settings.servers]
        return Directory(self._reactor, Resolver(self._reactor, servers, settings.timeout_s), self._sts)

    def _sts_move(self, configuration: Configuration, directory: Directory) -> StsMove:
        trust, private_addresses = configuration.certificates.trusted, configuration.private_policy_hosts
        source = PolicyHost(self._reactor, trust, directory.lookups, private_addresses=private_addresses)
        return StsMove(self._sts, directory.lookups, source)

    def _reports(self, path: Path | None, directory: Directory) -> list[Reports]:
        if path is None:
            return []
        socket = ReportSocket(path, self.records.tally.tls_reports)
        return [Reports(TlsReporter(directory.lookups, directory, self._sts.problem, socket, time.time), socket)]

    def _equipment(
        self,
        configuration: Configuration,
        mint: Mint | RemoteMint,
        spools: Spools,
        write: Callable[[Record], None],
        directory: Directory,
    ) -> Equipment:
        return Equipment(
            reactor=self._reactor,
            proxy_server=ServerCredentials(configuration.certificates.proxy_server),
            mint=mint,
            contexts=Contexts(SERVER_CONTEXTS),
            trust=configuration.certificates.trusted,
            profiles=configuration.profiles,
            examiner=Examiner(self._reactor),
            spools=spools,
            broken_tls=self._broken_tls,
            directory=directory,
            write=write,
            loops=self._loops,
            blocklist=self.blocklist,
        )
