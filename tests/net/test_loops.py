from __future__ import annotations

import pytest

from smtpproxy.endpoint import Endpoint
from smtpproxy.net.loops import Loops

END = Endpoint("192.0.2.1", 40000)


def test_an_end_is_ours_until_the_last_connection_from_it_has_ended() -> None:
    loops = Loops()
    assert not loops.made(END)
    loops.begin(END)
    loops.begin(END)
    loops.end(END)
    assert loops.made(END)
    assert not loops.made(Endpoint("192.0.2.1", 40001))
    loops.end(END)
    assert not loops.made(END)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1"])
def test_an_address_of_this_machine(host: str) -> None:
    assert Loops().is_here(host)


@pytest.mark.parametrize("host", ["192.0.2.77", "2001:db8::77", "no address"])
def test_an_address_of_another(host: str) -> None:
    assert not Loops().is_here(host)


def test_one_alarm_a_destination() -> None:
    loops = Loops()
    assert loops.is_news(END)
    assert not loops.is_news(END)
    assert loops.is_news(Endpoint("192.0.2.1", 465))
