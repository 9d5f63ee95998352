"""What a process that was handed descriptors makes of them, in a process of its own."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from smtpproxy.transport.activation import activated

HANDING_OVER = Path(__file__).parents[1] / "integration" / "lab" / "handing_over.py"
LISTED = """
import json, os, sys
from twisted.logger import globalLogPublisher
import twisted.internet.endpoints  # which takes the variables
from smtpproxy.transport.activation import activated
lines = []
globalLogPublisher.addObserver(lambda event: lines.append(event["log_format"].format(**event)))
found = activated()
print(json.dumps({
    "found": [[each.name, *each.address, each.takes_both_families] for each in found],
    "inheritable": [each.socket.get_inheritable() for each in found],
    "blocks": [each.socket.getblocking() for each in found],
    "lines": lines[:],
    "environment": [name for name in os.environ if name.startswith("LISTEN_")],
    "again": len(activated()),
    "open": [number for number in range(3, 3 + int(sys.argv[1])) if os.path.exists(f"/proc/self/fd/{number}")],
}))
"""


def _handed(*pairs: tuple[str, int]) -> dict[str, Any]:
    named = [f"{name}={number}" for name, number in pairs]
    program = [sys.executable, "-c", LISTED, str(len(pairs))]
    command = [sys.executable, str(HANDING_OVER), *named, "--", *program]
    numbers = [number for _, number in pairs]
    done = subprocess.run(command, pass_fds=numbers, capture_output=True, text=True, timeout=60, check=True)
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def test_listening_sockets_are_found_by_their_names_and_made_fit() -> None:
    with socket.create_server(("127.0.0.1", 0)) as first, socket.create_server(("127.0.0.1", 0)) as second:
        answer = _handed(("one", second.fileno()), ("smtpproxy.socket", first.fileno()))
        ports = second.getsockname()[1], first.getsockname()[1]
    assert answer["found"] == [
        ["one", "127.0.0.1", ports[0], False],
        ["smtpproxy.socket", "127.0.0.1", ports[1], False],
    ]
    assert answer["inheritable"] == answer["blocks"] == [False, False]
    assert answer["lines"] == []


def test_nobody_after_us_is_told_and_they_are_taken_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        answer = _handed(("one", listener.fileno()))
    assert (answer["environment"], answer["again"]) == ([], 0)


def test_an_ipv6_socket_that_takes_ipv4_too_is_known() -> None:
    with (
        socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as both,
        socket.create_server(("::1", 0), family=socket.AF_INET6) as single,
    ):
        answer = _handed(("both", both.fileno()), ("single", single.fileno()))
    assert [each[3] for each in answer["found"]] == [True, False]


def test_what_is_of_no_use_is_told_and_closed() -> None:
    reading, writing = os.pipe()
    one, other = socket.socketpair()
    with (
        one,
        other,
        socket.socket() as silent,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams,
        socket.create_server(("127.0.0.1", 0)) as listener,
    ):
        sockets = {"pair": one, "silent": silent, "udp": datagrams, "good": listener}
        answer = _handed(("pipe", reading), *((name, each.fileno()) for name, each in sockets.items()))
    os.close(reading)
    os.close(writing)
    assert answer["lines"] == [
        "descriptor 3 (pipe) is of no use: it is no socket",
        "descriptor 4 (pair) is of no use: it is no TCP socket",
        "descriptor 5 (silent) is of no use: it does not listen (a socket unit needs Accept=no)",
        "descriptor 6 (udp) is of no use: it is no TCP socket",
    ]
    assert [each[0] for each in answer["found"]] == ["good"]
    assert answer["open"] == [7]


def test_what_was_meant_for_another_process_is_left_alone() -> None:
    assert activated({"LISTEN_PID": str(os.getpid() + 1), "LISTEN_FDS": "1", "LISTEN_FDNAMES": "one"}) == []


def test_a_count_that_is_none_is_none() -> None:
    for count in ("", "-1", "many", "0"):
        assert activated({"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": count}) == []
