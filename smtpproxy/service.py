"""Put the parts together: the one place that knows them all."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from twisted.application.service import IService, MultiService, Service
from twisted.internet import reactor as default_reactor
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.logger import Logger

from smtpproxy.admin.metrics_server import MetricsServer
from smtpproxy.authority.mint import Mint
from smtpproxy.authority.server import ServerCredentials
from smtpproxy.config.values import Configuration, EmbeddedServer, SpoolSettings
from smtpproxy.embedded.service import EmbeddedUpstream
from smtpproxy.net.equipment import Equipment
from smtpproxy.net.figures import Figures
from smtpproxy.net.gateway import Gateway, bindings
from smtpproxy.net.hangup import Hangup
from smtpproxy.net.listening import ListenError, status_of
from smtpproxy.net.records import RecordWriter
from smtpproxy.policy.certificates import Leaf, LeafKey, Signer
from smtpproxy.spool import Spools
from smtpproxy.transport.contexts import Contexts
from smtpproxy.transport.openssl import require_openssl

SERVER_CONTEXTS = 4096
"""TLS contexts of certificates shown lately, about 20 KiB each: as many as there may be minted leaves."""

_log = Logger(namespace="smtpproxy")


class _Records(Service):
    """Closes the record file when everything else has stopped."""

    def __init__(self, writer: RecordWriter) -> None:
        self._writer = writer

    def stopService(self) -> None:  # noqa: N802 - Twisted's name
        super().stopService()  # type: ignore[no-untyped-call]
        self._writer.close()


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


class _OneAfterAnother(MultiService):
    """Stops in the reverse order of its start, each service when the one before has stopped.

    Sessions that are being drained still need their upstream and the record file.
    """

    def privilegedStartService(self) -> None:  # noqa: N802 - Twisted's name
        with _told_in_one_line():
            super().privilegedStartService()  # type: ignore[no-untyped-call]

    def startService(self) -> None:  # noqa: N802 - Twisted's name
        with _told_in_one_line():
            super().startService()  # type: ignore[no-untyped-call]

    def stopService(self) -> Deferred[None]:  # noqa: N802 - Twisted's name
        Service.stopService(self)
        return Deferred.fromCoroutine(self._stop_all())

    async def _stop_all(self) -> None:
        for service in reversed(list(self)):
            await maybeDeferred(service.stopService)


@contextmanager
def _told_in_one_line() -> Iterator[None]:
    """End twistd if a port cannot be had; what the embedded upstream cannot do comes as a plain `OSError`."""
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


def make_service(configuration: Configuration, reactor: Any = default_reactor) -> IService:  # noqa: ANN401
    """Make the gateway that a configuration describes, not yet started.

    Args:
        configuration: without mistakes.
        reactor: Twisted's, or a test's.

    Raises:
        OpenSslError: the OpenSSL underneath cannot do what is needed.
        OSError: the record file cannot be opened, or the folder of the spool cannot be made.
    """
    require_openssl()
    for notice in configuration.notices:
        _log.warn("{notice}", notice=notice)
    writer = RecordWriter(configuration.records)
    services = _OneAfterAnother()  # type: ignore[no-untyped-call]
    _add(services, Hangup(reactor))
    _add(services, _Records(writer))
    if configuration.embedded is not None:
        _add(services, _embedded(configuration.embedded))
    equipment = _equipment(configuration, writer, reactor)
    gateway = _gateway(configuration, equipment)
    if (metrics := configuration.metrics) is not None:
        figures = Figures(equipment, gateway, writer.tally)
        _add(services, MetricsServer(reactor, metrics.host, metrics.port, figures))
    _add(services, gateway)
    return services


def _add(parent: MultiService, child: Service) -> None:
    child.setServiceParent(parent)


def _equipment(configuration: Configuration, writer: RecordWriter, reactor: Any) -> Equipment:  # noqa: ANN401
    certificates = configuration.certificates
    mint = Mint(certificates.proxy_authority, certificates.untrusted_authority)
    # One leaf ahead: the libraries load parts of themselves at the first, and may lack a descriptor for it later.
    mint.leaf(Leaf(Signer.UNTRUSTED_AUTHORITY, LeafKey.ECDSA, None, configuration.gateway.name), datetime.now(UTC))
    return Equipment(
        reactor=reactor,
        proxy_server=ServerCredentials(certificates.proxy_server),
        mint=mint,
        contexts=Contexts(SERVER_CONTEXTS),
        trust=certificates.trusted,
        spools=_spools(configuration.spool),
        write=writer.write,
    )


def _gateway(configuration: Configuration, equipment: Equipment) -> Gateway:
    interception = configuration.interception
    binds = bindings(configuration.policies, interception.listen, interception.ports)
    return Gateway(equipment, configuration.policies, binds, configuration.gateway.name)


def _spools(settings: SpoolSettings) -> Spools:
    spools = Spools(settings.directory, settings.memory_octets, settings.limit_octets)
    spools.prepare()
    return spools


def _embedded(server: EmbeddedServer) -> EmbeddedUpstream:
    return EmbeddedUpstream(server.host, server.smtp, server.smtps, server.certificate, server.key, server.maildir)
