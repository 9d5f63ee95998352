"""The laboratory: real programs on real sockets, each on free ports and in a folder of its own."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Protocol

import pytest
import trustme

from tests.integration.lab import postfix
from tests.integration.lab.gateway import Authorities, Gateway, Setup, Upstream
from tests.integration.lab.recorder import RecordingUpstream, Script

if TYPE_CHECKING:
    from collections.abc import Iterator

UPSTREAM_NAMES = ("mx.upstream.test", "*.wild.upstream.test", "127.0.0.1")


class StartGateway(Protocol):
    """Starts a gateway that is closed, and judged, when the test ends."""

    def __call__(self, upstream: Upstream, setup: Setup = ...) -> Gateway: ...


class StartRecorder(Protocol):
    """Starts a recording upstream that is closed when the test ends."""

    def __call__(self, script: Script | None = None, *, issuer: trustme.CA | None = None) -> RecordingUpstream: ...


@pytest.fixture(scope="session")
def authorities() -> Authorities:
    return Authorities.make()


@pytest.fixture
def start_gateway(tmp_path_factory: pytest.TempPathFactory, authorities: Authorities) -> Iterator[StartGateway]:
    running: list[Gateway] = []

    def start(upstream: Upstream, setup: Setup = Setup()) -> Gateway:  # noqa: B008 - frozen
        running.append(Gateway(tmp_path_factory.mktemp("gateway"), setup, upstream, authorities))
        return running[-1]

    yield start
    for gateway in running:
        gateway.close()


@pytest.fixture
def start_recorder(internet_ca: trustme.CA) -> Iterator[StartRecorder]:
    running: list[RecordingUpstream] = []

    def start(script: Script | None = None, *, issuer: trustme.CA | None = None) -> RecordingUpstream:
        running.append(RecordingUpstream(_server_context(issuer or internet_ca), script))
        return running[-1]

    yield start
    for recorder in running:
        recorder.close()


@pytest.fixture
def upstream_of(internet_ca: trustme.CA) -> UpstreamOf:
    """Return a function from a running server to what the gateway needs to know of it."""
    return lambda server: Upstream(server.smtp_port, server.smtps_port, internet_ca)


class Server(Protocol):
    """Whatever has the two ports."""

    @property
    def smtp_port(self) -> int: ...

    @property
    def smtps_port(self) -> int: ...


class UpstreamOf(Protocol):
    def __call__(self, server: Server) -> Upstream: ...


@pytest.fixture
def trusting_proxy(authorities: Authorities) -> ssl.SSLContext:
    """A client that trusts the Proxy Authority and nothing else."""
    return _trusting(authorities.proxy)


@pytest.fixture
def trusting_untrusted(authorities: Authorities) -> ssl.SSLContext:
    """A client that trusts the untrusted authority alone: it sees which authority signed."""
    return _trusting(authorities.untrusted)


@pytest.fixture
def trusting_inside(authorities: Authorities) -> ssl.SSLContext:
    """A client that trusts the authority of the Proxy Server certificates."""
    return _trusting(authorities.server)


@pytest.fixture(scope="session")
def postfix_server(internet_ca: trustme.CA) -> Iterator[postfix.Postfix]:
    if reason := postfix.why_not():
        pytest.skip(reason)
    issued = internet_ca.issue_cert(postfix.NAME, "127.0.0.1", key_type=trustme.KeyType.ECDSA)
    server = postfix.Postfix(issued.cert_chain_pems[0].bytes(), issued.private_key_pem.bytes())
    yield server
    server.close()


def _trusting(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.configure_trust(context)
    return context


def _server_context(issuer: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    issuer.issue_cert(*UPSTREAM_NAMES, key_type=trustme.KeyType.ECDSA).configure_cert(context)
    return context
