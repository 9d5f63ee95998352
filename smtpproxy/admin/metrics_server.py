"""Answer ``GET`` of ``/metrics``, ``/healthz`` and ``/readyz``, and nothing else, on an address of its own.

Source: RFC 9110 s9.3.1 (GET), s15.5.6 (405), s15.6.4 (503); Prometheus' exposition format.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from io import BytesIO
from typing import Any, Final, TypeAlias

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IAddress
from twisted.logger import Logger
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.python.failure import Failure
from twisted.web.http import (
    INTERNAL_SERVER_ERROR,
    NOT_ALLOWED,
    NOT_FOUND,
    OK,
    SERVICE_UNAVAILABLE,
    HTTPFactory,
    Request,
)

from smtpproxy.admin.metrics import Figures, exposition, registry_of
from smtpproxy.admin.readiness import obstacles

CONNECTIONS: Final = 16
"""At a time: a few Prometheus servers and somebody with a browser."""

IDLE_LIMIT_S: Final = 30.0
"""A connection without a request; longer than a scrape interval of 15 s, so that it can be used again."""

_PATHS: Final = frozenset({b"/metrics", b"/healthz", b"/readyz"})
_PLAIN: Final = {b"content-type": b"text/plain; charset=utf-8"}

Status: TypeAlias = Callable[[], Deferred[dict[str, Any]]]

_log = Logger(namespace="smtpproxy")


class MetricsServer(Service):
    """Listens and answers.

    Args:
        reactor: Twisted's.
        host: the IP address to listen on.
        port: the port; 0 for one of the kernel's choice.
        figures: what is shown.
        status: returns how the gateway does.

    Attributes:
        address: after the start, where it really listens.
    """

    def __init__(
        self,
        reactor: Any,  # noqa: ANN401 - Twisted's
        host: str,
        port: int,
        figures: Figures,
        status: Status,
    ) -> None:
        self._reactor = reactor
        self._wanted = host, port
        self._factory = _Bounded(_Http(registry_of(figures), status, reactor))  # type: ignore[no-untyped-call]
        self._port: Any = None
        self.address: tuple[str, int] | None = None

    @property
    def connections(self) -> int:
        """How many there are."""
        return len(self._factory.protocols)

    def privilegedStartService(self) -> None:  # noqa: N802 - Twisted's name
        """Bind the port, before twistd gives up its privileges.

        Raises:
            OSError: it cannot be had.
        """
        super().privilegedStartService()  # type: ignore[no-untyped-call]
        host, port = self._wanted
        try:
            self._port = self._reactor.listenTCP(port, self._factory, backlog=CONNECTIONS, interface=host)
        except CannotListenError as error:
            reason = error.socketError.strerror or error.socketError
            raise OSError(error.socketError.errno, f"{reason}: {host} port {port}, for metrics") from error
        self.address = self._port.getHost().host, self._port.getHost().port
        _log.info("metrics at http://{host}:{port}/metrics", host=_in_a_url(host), port=self.address[1])

    def startService(self) -> None:  # noqa: N802 - Twisted's name
        """Bind the port, unless that is done."""
        if self._port is None:
            self.privilegedStartService()
        super().startService()  # type: ignore[no-untyped-call]

    async def _stop(self) -> None:
        port, self._port = self._port, None
        if port is not None:
            await port.stopListening()
        for connection in list(self._factory.protocols):
            connection.transport.abortConnection()

    def stopService(self) -> Deferred[None]:  # noqa: N802 - Twisted's name
        """Close the port and every connection."""
        super().stopService()  # type: ignore[no-untyped-call]
        return Deferred.fromCoroutine(self._stop())


class _Bounded(WrappingFactory):
    """Takes no more connections than `CONNECTIONS`."""

    noisy = False

    def buildProtocol(self, addr: IAddress | None) -> ProtocolWrapper | None:  # type: ignore[override]  # noqa: N802
        return None if len(self.protocols) >= CONNECTIONS else super().buildProtocol(addr)


class _Http(HTTPFactory):
    """Writes no line in the log for each request, and so needs no clock for them."""

    noisy = False

    def __init__(self, registry: CollectorRegistry, status: Status, reactor: Any) -> None:  # noqa: ANN401 - Twisted's
        super().__init__(timeout=IDLE_LIMIT_S, reactor=reactor)
        self._request = partial(_Request, registry, status)

    def buildProtocol(self, addr: IAddress | None) -> Any:  # noqa: ANN401, N802 - Twisted's
        channel: Any = super().buildProtocol(addr)
        channel.requestFactory = self._request
        return channel

    def startFactory(self) -> None:  # noqa: N802 - Twisted's name
        """Open no log."""

    def log(self, request: Request) -> None:
        """Pass over."""


class _Request(Request):
    """Is answered, or told why not; a body, which a GET has no use for, is thrown away as it comes."""

    def __init__(self, registry: CollectorRegistry, status: Status, *arguments: Any) -> None:  # noqa: ANN401
        super().__init__(*arguments)
        self._status = status
        self._registry = registry

    def gotLength(self, length: int | None) -> None:  # noqa: ARG002, N802 - Twisted's; it would open a file
        self.content = BytesIO()

    def handleContentChunk(self, data: bytes) -> None:  # noqa: N802 - Twisted's name
        """Keep nothing."""

    def process(self) -> None:
        if self.path not in _PATHS:
            _answer(self, NOT_FOUND, b"Only /metrics, /healthz and /readyz are here.\n")
        elif self.method not in {b"GET", b"HEAD"}:
            _answer(self, NOT_ALLOWED, b"Only GET and HEAD are answered.\n", {b"allow": b"GET, HEAD"})
        elif self.path == b"/metrics":
            _answer(self, OK, exposition(self._registry), {b"content-type": CONTENT_TYPE_LATEST.encode("ascii")})
        elif self.path == b"/readyz":
            self._status().addCallbacks(self._ready, self._failed)
        else:
            _answer(self, OK, b"ok\n")

    def _ready(self, status: dict[str, Any]) -> None:
        found = list(obstacles(status))
        self._answer_late(SERVICE_UNAVAILABLE if found else OK, "".join(f"{each}\n" for each in found or ["ok"]))

    def _failed(self, failure: Failure) -> None:
        _log.failure("/readyz failed", failure)
        self._answer_late(INTERNAL_SERVER_ERROR, "the gateway failed at this; its log tells more\n")

    def _answer_late(self, code: int, text: str) -> None:
        """Answer who is still there."""
        if self.channel is not None:
            _answer(self, code, text.encode())


def _answer(request: Any, status: int, body: bytes, headers: Mapping[bytes, bytes] = _PLAIN) -> None:  # noqa: ANN401
    """Answer a request, whose methods Twisted has not typed."""
    request.setResponseCode(status)
    for name, value in {**_PLAIN, **headers, b"content-length": b"%d" % len(body)}.items():
        request.setHeader(name, value)
    request.write(body)
    request.finish()


def _in_a_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host
