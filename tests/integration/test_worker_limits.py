"""Limits and alarms of a gateway with several workers are the gateway's, whichever worker has the connection."""

from __future__ import annotations

import os
import signal
import socket
from collections import Counter
from contextlib import ExitStack

import pytest

from tests.integration.lab.gateway import Gateway, Setup
from tests.integration.lab.ports import wait_until
from tests.integration.test_workers import dial, gateway, workers

__all__ = ["gateway"]

LIMIT = 12


def first_words(stack: ExitStack, gateway: Gateway, count: int) -> dict[socket.socket, bytes]:
    clients = [dial(stack, gateway.smtp_port) for _ in range(count)]
    return {client: client.recv(4096)[:4] for client in clients}


@pytest.mark.parametrize("limit", ["max_sessions", "max_sessions_per_source"])
@pytest.mark.parametrize("gateway", [Setup(workers=2)], indirect=True)
def test_a_limit_holds_over_all_workers(gateway: Gateway, limit: str) -> None:
    gateway.edit(lambda action: action["general"].update({limit: LIMIT}), "proxy-actions/Action.yaml")
    assert "reloaded" in gateway.reload()
    with ExitStack() as stack:
        words = first_words(stack, gateway, 2 * LIMIT)
        assert Counter(words.values()) == {b"220 ": LIMIT, b"421 ": LIMIT}
        for client in [each for each, said in words.items() if said == b"220 "][:3]:
            client.sendall(b"QUIT\r\n")
            assert client.recv(4096).startswith(b"221 ")
            assert client.recv(4096) == b""
        again = first_words(stack, gateway, 6)
        assert Counter(again.values()) == {b"220 ": 3, b"421 ": 3}


@pytest.mark.parametrize("gateway", [Setup(workers=2, general={"max_sessions": LIMIT})], indirect=True)
def test_a_killed_worker_leaves_the_room_that_it_took(gateway: Gateway) -> None:
    with ExitStack() as stack:
        clients = list(first_words(stack, gateway, LIMIT))
        assert first_words(stack, gateway, 1).popitem()[1] == b"421 "
        before = workers(gateway)[1]
        os.kill(before, signal.SIGKILL)
        wait_until(lambda: workers(gateway)[1] != before, "it is replaced")
        lost = sum(is_cut_off(client) for client in clients)
        assert 0 < lost < LIMIT
        words = Counter(first_words(stack, gateway, LIMIT).values())
        assert words == {b"220 ": lost, b"421 ": LIMIT - lost}


def is_cut_off(client: socket.socket) -> bool:
    try:
        client.sendall(b"NOOP\r\n")
        return client.recv(4096) == b""
    except ConnectionError:
        return True


def test_a_loop_is_noticed_whichever_worker_takes_it(gateway: Gateway) -> None:
    itself = {"host": "localhost", "smtp": gateway.smtp_port, "smtps": gateway.smtps_port}
    gateway.edit(lambda main: main["policies"][0].update(upstream=itself))
    assert "reloaded" in gateway.reload()
    with ExitStack() as stack:
        words = first_words(stack, gateway, 20)
        assert set(words.values()) == {b"421 "}
    wait_until(lambda: sessions(gateway) >= 20, "all are on record")
    assert sessions(gateway) == 20


def sessions(gateway: Gateway) -> int:
    return sum(each["record"] == "session" for each in gateway.records)
