"""Chunks that are taken back, broken off or overtaken by the end of the gateway, through the real program."""

from __future__ import annotations

import socket
import struct
from typing import TYPE_CHECKING

import pytest

from tests.integration.lab.client import MODES, Mode, connect
from tests.integration.lab.ports import wait_until
from tests.integration.lab.recorder import KEYWORDS, Script
from tests.integration.test_extensions import send_chunk
from tests.integration.test_message_rules import BODY, HEADERS, MARKED, RULES, spool_files

if TYPE_CHECKING:
    import smtplib

    from tests.integration.lab.gateway import Setup
    from tests.integration.lab.laboratory import Lab

CHUNKING = Script(keywords=(*KEYWORDS, b"CHUNKING"))


def begin(client: smtplib.SMTP, recipient: str = "b@upstream.test") -> None:
    client.mail("a@client.test")
    assert client.rcpt(recipient)[0] == 250


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("setup", [None, RULES])
def test_ehlo_takes_chunks_back(setup: Setup | None, mode: Mode, lab: Lab) -> None:
    recorder = lab.recorder(CHUNKING)
    gateway = lab.gateway(recorder, setup)
    with connect(gateway, mode, lab.trusting_proxy) as client:
        begin(client)
        assert send_chunk(client, HEADERS + BODY) == 250
        assert client.ehlo("client.test")[0] == 250
        begin(client, "other@upstream.test")
        assert send_chunk(client, HEADERS + b"\r\nother\r\n", last=True) == 250
    assert recorder.messages == [(MARKED if setup else HEADERS) + b"\r\nother\r\n"]
    assert setup is None or spool_files(gateway) == []


@pytest.mark.parametrize("setup", [None, RULES])
def test_a_client_that_stops_within_a_chunk_leaves_no_message(setup: Setup | None, lab: Lab) -> None:
    recorder = lab.recorder(CHUNKING)
    gateway = lab.gateway(recorder, setup)
    client = connect(gateway, "clear", lab.trusting_proxy)
    begin(client)
    client.send(b"BDAT 9000000 LAST\r\n" + HEADERS + BODY)
    assert client.sock is not None
    client.sock.shutdown(socket.SHUT_WR)
    assert client.sock.makefile("rb").read() == b""
    client.close()
    wait_until(lambda: _ended(gateway.records), "the session has ended")
    assert recorder.messages == []
    assert setup is None or spool_files(gateway) == []


@pytest.mark.parametrize("setup", [None, RULES])
def test_a_client_that_vanishes_between_chunks_leaves_no_message(setup: Setup | None, lab: Lab) -> None:
    recorder = lab.recorder(CHUNKING)
    gateway = lab.gateway(recorder, setup)
    client = connect(gateway, "starttls", lab.trusting_proxy)
    begin(client)
    assert send_chunk(client, HEADERS + BODY) == 250
    assert client.sock is not None
    client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()
    wait_until(lambda: _ended(gateway.records), "the session has ended")
    assert recorder.messages == []
    assert setup is None or spool_files(gateway) == []


@pytest.mark.parametrize("setup", [None, RULES])
def test_a_stopped_gateway_takes_the_last_chunk(setup: Setup | None, lab: Lab) -> None:
    recorder = lab.recorder(CHUNKING)
    gateway = lab.doomed_gateway(recorder, setup)
    client = connect(gateway, "starttls", lab.trusting_proxy)
    begin(client)
    assert send_chunk(client, HEADERS + BODY) == 250
    gateway.terminate()
    assert send_chunk(client, b"the rest\r\n", last=True) == 250
    assert client.getreply()[0] == 421
    client.close()
    gateway.close()
    assert recorder.messages == [(MARKED + BODY if setup else HEADERS + BODY) + b"the rest\r\n"]


def _ended(records: list[dict[str, object]]) -> bool:
    return any(record["record"] == "session" for record in records)
