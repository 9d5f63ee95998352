from __future__ import annotations

import pytest

from smtpproxy.endpoint import Endpoint
from smtpproxy.net.loops import Loops

END = Endpoint("192.0.2.1", 40000)


def test_a_connection_is_ours_until_the_last_one_like_it_has_ended() -> None:
    loops, server = Loops(has_end=lambda _local, _remote: True), Endpoint("198.51.100.1", 25)
    assert not loops.made(END, server)
    loops.begin((END, server))
    loops.begin((END, server))
    loops.end((END, server))
    assert loops.made(END, server)
    assert not loops.made(Endpoint("192.0.2.1", 40001), server)
    assert not loops.made(END, Endpoint("198.51.100.1", 465))
    loops.end((END, server))
    assert not loops.made(END, server)


def test_what_the_kernel_knows_nothing_of_is_not_ours_whatever_is_counted() -> None:
    loops, server = Loops(), Endpoint("198.51.100.1", 25)
    loops.begin((END, server))
    assert not loops.made(END, server)


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
