"""One bad session never touches another, and nothing ends the process."""

from __future__ import annotations

import contextlib
import smtplib
import socket
import struct
from typing import TYPE_CHECKING

import pytest

from tests.integration.lab.client import connect, send_stuffed
from tests.integration.lab.ports import HOST

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.integration.lab.gateway import Gateway
    from tests.integration.lab.laboratory import Lab
    from tests.integration.lab.recorder import RecordingUpstream

SMUGGLED = b"smuggled-octets"


@contextlib.contextmanager
def _dial(port: int) -> Iterator[socket.socket]:
    with socket.create_connection((HOST, port), timeout=30) as client:
        yield client


def _read_all(client: socket.socket) -> bytes:
    pieces = []
    with contextlib.suppress(ConnectionResetError):
        while data := client.recv(1 << 16):
            pieces.append(data)
    return b"".join(pieces)


def _greeted(client: socket.socket) -> None:
    while not client.recv(4096).endswith(b"\r\n"):
        pass


def _early_talk(gateway: Gateway) -> None:
    """On a busy machine upstream's greeting may come first: then nothing was early, and it is tried again."""
    for _ in range(50):
        with _dial(gateway.smtp_port) as client:
            client.sendall(b"NOOP " + SMUGGLED + b"\r\nQUIT\r\n")
            if _read_all(client).startswith(b"554 5.5.1"):
                return
    raise AssertionError("always greeted first")


def _http(gateway: Gateway) -> None:
    with _dial(gateway.smtp_port) as client:
        client.sendall(b"POST /" + SMUGGLED + b" HTTP/1.1\r\nHost: x\r\n\r\nMAIL FROM:<a@" + SMUGGLED + b">\r\n")
        assert SMUGGLED not in _read_all(client)


def _tls_on_the_plaintext_port(gateway: Gateway) -> None:
    with _dial(gateway.smtp_port) as client:
        client.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + SMUGGLED + b"\r\n" * 200)
        assert SMUGGLED not in _read_all(client)


def _pipelined_behind_starttls(gateway: Gateway) -> None:
    with _dial(gateway.smtp_port) as client:
        _greeted(client)
        client.sendall(b"EHLO client.test\r\n")
        _greeted(client)
        client.sendall(b"STARTTLS\r\nMAIL FROM:<" + SMUGGLED + b"@a.test>\r\n")
        answer = _read_all(client)
    assert answer.startswith(b"554 5.5.1")
    assert answer.count(b"\r\n") == 1


def _plaintext_on_the_tls_port(gateway: Gateway) -> None:
    with _dial(gateway.smtps_port) as client:
        client.sendall(b"EHLO " + SMUGGLED + b"\r\nQUIT\r\n")
        assert b"220" not in _read_all(client)


def _garbage_hello(gateway: Gateway) -> None:
    with _dial(gateway.smtps_port) as client:
        client.sendall(b"\x16\x03\x01\x40\x00" + b"\xff" * 0x4000 + SMUGGLED)
        _read_all(client)


def _endless_line(gateway: Gateway) -> None:
    with _dial(gateway.smtp_port) as client:
        _greeted(client)
        with contextlib.suppress(ConnectionError):
            for _ in range(64):
                client.sendall(SMUGGLED * 10_000)
            client.sendall(b"\r\n")
        answer = _read_all_after_quit(client)
    assert answer == b"" or answer.startswith((b"500 5.5.2", b"421 ", b"554 "))


def _read_all_after_quit(client: socket.socket) -> bytes:
    with contextlib.suppress(OSError):
        client.sendall(b"QUIT\r\n")
        client.shutdown(socket.SHUT_WR)
    return _read_all(client)


def _control_characters(gateway: Gateway) -> None:
    with _dial(gateway.smtp_port) as client:
        _greeted(client)
        client.sendall(b"EHLO a\0b\r\nMAIL FROM:<a\0" + SMUGGLED + b"@a.test>\r\n")
        assert b"250 " not in _read_all_after_quit(client)


def _ten_thousand_noops(gateway: Gateway) -> None:
    with _dial(gateway.smtp_port) as client:
        _greeted(client)
        with contextlib.suppress(ConnectionError):
            client.sendall(b"NOOP\r\n" * 10_000)
        assert b"421 " in _read_all(client)[-200:]


def _many_errors(gateway: Gateway) -> None:
    with _dial(gateway.smtp_port) as client:
        _greeted(client)
        with contextlib.suppress(ConnectionError):
            client.sendall(b"NONSENSE\r\n" * 1000)
        assert b"421 " in _read_all(client)[-200:]


def _reset_in_every_state(gateway: Gateway) -> None:
    commands = (b"EHLO c.test\r\n", b"MAIL FROM:<a@b.test>\r\n", b"RCPT TO:<c@d.test>\r\n", b"DATA\r\n", b"half a line")
    for count in range(len(commands) + 1):
        with _dial(gateway.smtp_port) as client:
            _greeted(client)
            for command in commands[:count]:
                client.sendall(command)
                if command.endswith(b"\r\n"):
                    _greeted(client)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def _gone_before_the_hello(gateway: Gateway) -> None:
    for _ in range(50):
        with _dial(gateway.smtps_port) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


ABUSES: tuple[Callable[[Gateway], None], ...] = (
    _early_talk,
    _http,
    _tls_on_the_plaintext_port,
    _pipelined_behind_starttls,
    _plaintext_on_the_tls_port,
    _garbage_hello,
    _endless_line,
    _control_characters,
    _ten_thousand_noops,
    _many_errors,
    _reset_in_every_state,
    _gone_before_the_hello,
)


@pytest.mark.parametrize("abuse", ABUSES, ids=lambda abuse: abuse.__name__.strip("_"))
def test_a_session_beside_it_goes_on_and_nothing_reaches_upstream(lab: Lab, abuse: Callable[[Gateway], None]) -> None:
    recorder = lab.recorder()
    gateway = lab.gateway(recorder)
    with connect(gateway, "starttls", lab.trusting_proxy) as beside:
        abuse(gateway)
        assert send_stuffed(beside, b"undisturbed\r\n")[0] == 250
    assert gateway.alive
    assert recorder.messages == [b"undisturbed\r\n"]
    assert SMUGGLED not in recorder.octets
    assert SMUGGLED.decode() not in gateway.log or abuse in {_early_talk, _control_characters}


def _odd_upstreams() -> dict[str, bytes]:
    return {
        "no digits": b"hello there\r\n",
        "a megabyte of greeting": b"220-" + b"x" * 1_000_000 + b"\r\n220 ok\r\n",
        "ten thousand lines": b"220-still here\r\n" * 10_000 + b"220 ok\r\n",
        "control characters": b"220 a\0b\x1b[2J\r\n",
        "two codes": b"220-mx\r\n250 ok\r\n",
        "a refusal": b"554 5.7.1 Go away\r\n",
    }


@pytest.mark.parametrize("case", _odd_upstreams())
def test_an_odd_greeting_of_upstream_costs_one_session(lab: Lab, case: str) -> None:
    recorder = lab.recorder()
    gateway = lab.gateway(recorder)
    usual = recorder.script.greeting
    recorder.script.greeting = _odd_upstreams()[case]
    with _dial(gateway.smtp_port) as client:
        client_saw = _read_all_after_quit(client)
    assert len(client_saw) < 4096
    assert b"\0" not in client_saw
    assert not client_saw.startswith(b"220")
    recorder.script.greeting = usual
    _send_one(gateway, recorder)


@pytest.mark.parametrize("verb", [b"MAIL", b"RCPT", b"DATA"])
def test_upstream_that_says_too_much_costs_one_session(lab: Lab, verb: bytes) -> None:
    recorder = lab.recorder()
    gateway = lab.gateway(recorder)
    recorder.script.replies[verb] = b"250 ok\r\n250 and one more\r\n"
    with connect(gateway, "clear", lab.trusting_proxy) as client, contextlib.suppress(smtplib.SMTPException):
        client.sendmail("a@client.test", ["b@upstream.test"], b"never delivered\r\n")
    assert recorder.messages == []
    recorder.script.replies.clear()
    _send_one(gateway, recorder)


def _send_one(gateway: Gateway, recorder: RecordingUpstream) -> None:
    with smtplib.SMTP(HOST, gateway.smtp_port, "client.test", timeout=10) as client:
        client.ehlo()
        assert send_stuffed(client, b"afterwards\r\n")[0] == 250
    assert recorder.messages[-1] == b"afterwards\r\n"
