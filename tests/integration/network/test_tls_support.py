"""TLS Support: which ports meet the gateway, and which it leaves untouched from end to end."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import pytest

from tests.integration.lab.client import MODES, Mode
from tests.integration.network.machines import intercepting
from tests.integration.network.topology import VERSIONS

if TYPE_CHECKING:
    from tests.integration.network.machines import Internet
    from tests.integration.network.passing import Mail

INSPECTED: Final[dict[str, frozenset[Mode]]] = {
    "disabled": frozenset({"clear", "starttls"}),
    "enabled": frozenset(MODES),
    "required": frozenset({"smtps"}),
}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("support", INSPECTED)
@pytest.mark.parametrize("mode", ["tproxy", "redirect"])
def test_what_is_not_taken_meets_the_server_alone(
    internet: Internet, mail: Mail, mode: str, support: str, version: int
) -> None:
    gateway = internet.active.serve(replace(intercepting(mode, "gateway"), tls_support=support))
    for way in MODES:
        if way in INSPECTED[support]:
            mail.is_inspected(gateway, way, version)
        else:
            mail.goes_straight(gateway, way, version)
    gateway.judge()
