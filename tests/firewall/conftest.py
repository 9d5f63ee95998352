from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from smtpproxy.firewall.kernel import NOTHING, Kernel
from tests.firewall import namespaces

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def _row() -> Iterator[namespaces.Row]:
    if reason := namespaces.why_not():
        pytest.skip(reason)
    made = namespaces.make()
    yield made
    namespaces.remove(made)


@pytest.fixture
def row(_row: namespaces.Row) -> Iterator[namespaces.Row]:
    """A client, a gateway and a server; nothing of ours is in the gateway."""
    yield _row
    with _row.gateway.entered():
        Kernel().apply(NOTHING)
