"""The network of namespaces, its servers and its gateways."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from tests.firewall import namespaces
from tests.integration.lab import postfix
from tests.integration.lab.laboratory import trusting
from tests.integration.network import topology
from tests.integration.network.clients import Client
from tests.integration.network.machines import Box, Internet, mail_server
from tests.integration.network.passing import Mail

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.integration.lab.laboratory import Authorities


@pytest.fixture(scope="session")
def _internet(authorities: Authorities, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Internet]:
    if reason := namespaces.why_not() or postfix.why_not():
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("network")
    with ExitStack() as stack:
        network = topology.make()
        stack.callback(topology.remove, network)
        one = mail_server(authorities.internet, network.one, topology.ONE)
        stack.callback(one.close)
        two = mail_server(authorities.internet, network.two, topology.TWO)
        stack.callback(two.close)
        active = Box(network.active, folder / "active", authorities)
        stack.callback(active.clear)
        standby = Box(network.standby, folder / "standby", authorities)
        stack.callback(standby.clear)
        yield Internet(network, one, two, active, standby)


@pytest.fixture
def internet(_internet: Internet) -> Iterator[Internet]:
    """The network, with all traffic by the active gateway; what a test leaves running there may serve the next."""
    yield _internet
    _internet.network.route_by("active")
    _internet.standby.clear()


@pytest.fixture
def bare(internet: Internet) -> Iterator[Internet]:
    """The network with no proxy in it, before and after."""
    internet.active.clear()
    yield internet
    internet.active.clear()


@pytest.fixture
def client(internet: Internet, authorities: Authorities) -> Client:
    """A client that trusts the Proxy Authority alone."""
    return Client(internet.network.client, trusting(authorities.proxy))


@pytest.fixture
def stranger(internet: Internet, authorities: Authorities) -> Client:
    """A client that trusts servers' own certificates alone."""
    return Client(internet.network.client, trusting(authorities.internet))


@pytest.fixture
def mail(internet: Internet, client: Client, stranger: Client) -> Mail:
    """What the client sends to server one."""
    return Mail(internet, client, stranger)


@pytest.fixture(scope="session")
def inside(_internet: Internet, authorities: Authorities) -> Iterator[postfix.Postfix]:
    """A mail server of the client network."""
    server = mail_server(authorities.internet, _internet.network.client, topology.CLIENT)
    yield server
    server.close()
