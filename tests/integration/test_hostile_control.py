"""The control socket of the real program in front of clients that mean ill, or do not know how."""

from __future__ import annotations

import json
import resource
import socket
from contextlib import ExitStack, closing
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from smtpproxy.admin.control.protocol import COMMANDS, MAX_REQUEST_OCTETS
from smtpproxy.admin.control.server import CONNECTIONS
from tests.integration.lab.gateway import Gateway, Setup
from tests.integration.lab.ports import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.integration.lab.laboratory import Lab

PATIENCE_S = 20
FLOOD = 20_000
MOST_GROWTH_OCTETS = 16 * 1024 * 1024
STATUS = b'{"version":1,"id":7,"command":"status"}\n'


@pytest.fixture(scope="module")
def shared(running_lab: Lab) -> Iterator[Gateway]:
    made = running_lab.doomed_gateway(running_lab.recorder(), Setup())
    yield made
    made.close()


@pytest.fixture
def gateway(shared: Gateway) -> Iterator[Gateway]:
    """Whatever was done to it, it answers the next one."""
    shared.begin()
    yield shared
    shared.judge()
    wait_until(lambda: "result" in said(shared, STATUS), "there is room again")


def dial(gateway: Gateway) -> socket.socket:
    client = socket.socket(socket.AF_UNIX)
    client.connect(str(gateway.control))  # blocking, so that it waits where many wait already
    client.settimeout(PATIENCE_S)
    return client


def said(gateway: Gateway, line: bytes) -> dict[str, Any]:
    """Return the one answer to a line."""
    with dial(gateway) as client, client.makefile("rb") as answers:
        client.sendall(line)
        answer: dict[str, Any] = json.loads(answers.readline())
        return answer


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b"\n", "malformed"),
        (b"EHLO client.test\r\n", "malformed"),
        (b"[1,2]\n", "malformed"),
        (b"null\n", "malformed"),
        (b"\xff\xfe\x00\n", "malformed"),
        (b"[" * 4000 + b"\n", "malformed"),
        (b'{"a":' * 800 + b"\n", "malformed"),
        (b'{"version":1,"id":{},"command":"status"}\n', "malformed"),
        (b'{"version":1,"id":"' + b"x" * 65 + b'","command":"status"}\n', "malformed"),
        (b'{"version":1,"id":NaN,"command":"status"}\n', "malformed"),
        (b'{"id":1,"command":"status"}\n', "version"),
        (b'{"version":2,"command":"status"}\n', "version"),
        (b'{"version":true,"command":"status"}\n', "version"),
        (b'{"version":1.0,"command":"status"}\n', "version"),
        (b'{"version":1}\n', "command"),
        (b'{"version":1,"command":"__init__"}\n', "command"),
        (b'{"version":1,"command":["status"]}\n', "command"),
        (b'{"version":1,"command":"status","path":"/etc/shadow"}\n', "argument"),
        (b'{"version":1,"command":"sessions","limit":-1}\n', "argument"),
        (b'{"version":1,"command":"sessions","limit":true}\n', "argument"),
        (b'{"version":1,"command":"sessions","limit":1e3}\n', "argument"),
        (b'{"version":1,"command":"drain","then_exit":"no"}\n', "argument"),
        (b'{"version":1,"command":"lift"}\n', "argument"),
        (b'{"version":1,"command":"lift","address":"192.0.2.1; rm"}\n', "argument"),
        (b'{"version":1,"command":"lift","address":"2001:db8::/32"}\n', "argument"),
        (b'{"version":1,"command":"block","address":"192.0.2.1","seconds":0}\n', "argument"),
        (b'{"version":1,"command":"block","address":"192.0.2.1","seconds":1e999}\n', "argument"),
        (
            b'{"version":1,"command":"block","address":"192.0.2.1","seconds":9,"reason":"a\\nb"}\n',
            "argument",
        ),
    ],
)
def test_nonsense_is_answered_and_changes_nothing(gateway: Gateway, line: bytes, code: str) -> None:
    answer = said(gateway, line)
    assert (answer["ok"], answer["error"]["code"]) == (False, code)
    status = said(gateway, STATUS)["result"]
    assert (status["state"], status["blocked"], status["generation"]["number"]) == ("running", 0, 1)


def test_every_command_is_cut_at_every_octet_and_none_is_carried_out(gateway: Gateway) -> None:
    line = b'{"version":1,"id":1,"command":"drain","then_exit":true}'
    assert "drain" in COMMANDS
    for end in range(len(line) + 1):
        with dial(gateway) as client:
            client.sendall(line[:end])
    wait_until(lambda: "result" in said(gateway, STATUS), "there is room")
    assert said(gateway, STATUS)["result"]["state"] == "running"


def test_a_line_without_end_is_told_so_and_left(gateway: Gateway) -> None:
    with dial(gateway) as client, client.makefile("rb") as answers:
        client.sendall(b"x" * MAX_REQUEST_OCTETS)
        assert json.loads(answers.readline())["error"]["code"] == "malformed"
        assert answers.readline() == b""


def test_more_connections_than_there_may_be_are_told_so(gateway: Gateway) -> None:
    with ExitStack() as stack:
        held = [stack.enter_context(dial(gateway)) for _ in range(CONNECTIONS)]
        for client in held:
            client.sendall(STATUS[:10])
        for _ in range(3):
            with dial(gateway) as client, client.makefile("rb") as answers:
                assert json.loads(answers.readline())["error"]["code"] == "busy"
                assert answers.readline() == b""
        held[0].sendall(STATUS[10:])
        assert held[0].recv(1) == b"{"


def test_who_asks_on_and_reads_nothing_is_asked_no_further(gateway: Gateway) -> None:
    said(gateway, STATUS)
    before = gateway.rss_octets
    with dial(gateway) as client:
        client.settimeout(1)
        with pytest.raises(TimeoutError):
            client.sendall(STATUS * FLOOD)
        assert "result" in said(gateway, STATUS)
        assert gateway.rss_octets - before < MOST_GROWTH_OCTETS


def test_requests_in_one_go_are_answered_in_their_order(gateway: Gateway) -> None:
    count = 50
    with dial(gateway) as client, client.makefile("rb") as answers:
        client.sendall(b"".join(b'{"version":1,"id":%d,"command":"blocked"}\n' % each for each in range(count)))
        assert [json.loads(answers.readline())["id"] for _ in range(count)] == list(range(count))


def test_who_hangs_up_before_the_answer_hurts_nobody(gateway: Gateway) -> None:
    for _ in range(2 * CONNECTIONS):
        with dial(gateway) as client:
            client.sendall(STATUS + b'{"version":1,"command":"reload"}\n'[:-1])


def leave_one_descriptor(gateway: Gateway) -> tuple[int, int]:
    """Let the gateway have one descriptor more than it has; return the limits before."""
    taken = {int(entry.name) for entry in Path(f"/proc/{gateway.pid}/fd").iterdir()}
    lowest = next(number for number in count() if number not in taken)
    limits = resource.prlimit(gateway.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(gateway.pid, resource.RLIMIT_NOFILE, (lowest + 1, limits[1]))
    return limits


def test_the_last_descriptor_costs_one_connection_and_not_the_socket(running_lab: Lab) -> None:
    gateway = running_lab.doomed_gateway(running_lab.recorder(), Setup())
    with closing(gateway):
        limits = leave_one_descriptor(gateway)
        with dial(gateway) as client, client.makefile("rb") as answers:
            assert json.loads(answers.readline())["error"]["code"] == "busy"
        resource.prlimit(gateway.pid, resource.RLIMIT_NOFILE, limits)
        assert said(gateway, STATUS)["ok"] is True
