"""The laboratory: real programs on real sockets, each on free ports and in a folder of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trustme

from tests.integration.lab import exim, postfix, unbound
from tests.integration.lab.laboratory import Authorities, Lab
from tests.integration.lab.senders import Senders
from tests.integration.lab.service_manager import ServiceManager

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.integration.lab.recorder import RecordingUpstream


@pytest.fixture(scope="session")
def authorities(internet_ca: trustme.CA) -> Authorities:
    return Authorities.make(internet_ca)


@pytest.fixture(scope="session")
def running_lab(tmp_path_factory: pytest.TempPathFactory, authorities: Authorities) -> Iterator[Lab]:
    laboratory = Lab(tmp_path_factory.mktemp("lab"), authorities)
    yield laboratory
    laboratory.close()


@pytest.fixture
def lab(running_lab: Lab) -> Iterator[Lab]:
    yield running_lab
    running_lab.judge()


@pytest.fixture
def recorder(lab: Lab) -> RecordingUpstream:
    return lab.recorder()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[ServiceManager]:
    made = ServiceManager(tmp_path)
    yield made
    made.close()


@pytest.fixture(scope="session")
def senders(authorities: Authorities) -> Iterator[Senders]:
    made = Senders(authorities)
    yield made
    made.close()


@pytest.fixture(scope="session")
def exim_server(internet_ca: trustme.CA) -> Iterator[exim.Exim]:
    if reason := exim.why_not():
        pytest.skip(reason)
    server = exim.make(internet_ca)
    yield server
    server.close()


@pytest.fixture(scope="session")
def postfix_server(internet_ca: trustme.CA) -> Iterator[postfix.Postfix]:
    if reason := postfix.why_not():
        pytest.skip(reason)
    server = postfix.make(internet_ca)
    yield server
    server.close()


@pytest.fixture(scope="session")
def resolver() -> Iterator[unbound.Unbound]:
    if reason := unbound.why_not():
        pytest.skip(reason)
    with unbound.Unbound() as server:
        yield server
