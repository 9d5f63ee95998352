from __future__ import annotations

import pytest

from smtpproxy.transport.routes import is_local


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1"])
def test_an_address_of_this_machine(host: str) -> None:
    assert is_local(host)


@pytest.mark.parametrize("host", ["192.0.2.77", "2001:db8::77", "no address", ""])
def test_an_address_of_another(host: str) -> None:
    assert not is_local(host)
