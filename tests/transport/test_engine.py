from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

import pytest
from OpenSSL import SSL

from smtpproxy.transport.engine import Role, TlsEngine
from smtpproxy.transport.openssl import PLAINTEXT_OCTETS, RECORD_OCTETS, RECORDS_OCTETS, SLICE_OCTETS, session_reused
from tests.transport.streams import NAME, client_context, server_context

if TYPE_CHECKING:
    from collections.abc import Callable


def secured(highest: int = SSL.TLS1_3_VERSION) -> tuple[TlsEngine, TlsEngine]:
    context = client_context(highest=highest)
    return meet(context, server_context(), lambda tls: tls.set_tlsext_host_name(NAME.encode()))


def meet(
    ours: SSL.Context, theirs: SSL.Context, configure: Callable[[SSL.Connection], None] | None = None
) -> tuple[TlsEngine, TlsEngine]:
    client, server = TlsEngine(ours, Role.CLIENT, configure), TlsEngine(theirs, Role.SERVER)
    done = [False, False]
    while not all(done):
        for number, (mine, other) in enumerate(((client, server), (server, client))):
            done[number] = done[number] or mine.shake()
            if octets := mine.outgoing():
                other.feed(octets)
    assert client.decrypt() == b""  # takes the tickets
    return client, server


@pytest.mark.parametrize(
    "octets",
    [1, 2 * RECORD_OCTETS, SLICE_OCTETS, SLICE_OCTETS + 1, PLAINTEXT_OCTETS, PLAINTEXT_OCTETS + 1, 1_000_003],
)
def test_any_size_comes_out_as_it_went_in(octets: int) -> None:
    client, server = secured()
    content = os.urandom(octets)
    assert server.decrypt(client.encrypt(content)) == content
    assert server.decrypt(memoryview(client.encrypt(content))) == content
    assert client.outgoing() == b""


def test_records_may_be_cut_anywhere() -> None:
    client, server = secured()
    content = os.urandom(50_000)
    records = client.encrypt(content)
    pieces = [server.decrypt(records[i : i + 4999]) for i in range(0, len(records), 4999)]
    assert b"".join(pieces) == content


def test_what_was_read_before_an_error_is_kept() -> None:
    client, server = secured()
    good, bad = client.encrypt(b"good"), bytearray(client.encrypt(b"bad"))
    bad[-1] ^= 1
    assert server.decrypt(good + bytes(bad) + client.encrypt(b"behind")) == b"good"
    assert isinstance(server.failure, SSL.Error)
    assert not server.finished
    assert client.decrypt(server.close_notify()) == b""  # the alert that names the error, and no closure
    assert client.failure is not None
    assert not client.finished


def test_an_error_that_is_kept_keeps_no_frames_and_what_they_refer_to() -> None:
    client, server = secured()
    server.decrypt(memoryview(bytearray(b"\x17\x03\x03\x00\x20" + bytes(32))))
    assert server.failure is not None
    assert server.failure.__traceback__ is None
    with pytest.raises(SSL.Error):
        server.encrypt(b"too late")
    assert client.failure is None


@pytest.mark.parametrize("octets", [RECORDS_OCTETS // 2, RECORDS_OCTETS, 2 * RECORDS_OCTETS])
def test_what_still_had_to_go_out_goes_out_first_however_much_it_is(octets: int) -> None:
    client, server = secured()
    waiting = os.urandom(octets)
    for last in (b"last", os.urandom(PLAINTEXT_OCTETS)):
        for start in range(0, octets, RECORD_OCTETS):
            client.connection.sendall(waiting[start : start + RECORD_OCTETS])
        assert server.decrypt(client.encrypt(last)) == waiting + last
    assert client.outgoing() == b""


def test_an_end_is_told_apart_from_an_error() -> None:
    client, server = secured()
    assert server.decrypt(client.encrypt(b"QUIT") + client.close_notify()) == b"QUIT"
    assert server.finished
    assert server.failure is None


def test_an_end_within_the_handshake_sends_no_closure() -> None:
    engine = TlsEngine(client_context(), Role.CLIENT)
    assert not engine.shake()
    assert engine.outgoing()
    assert engine.close_notify() == b""


def test_a_server_that_wants_to_renegotiate_gets_an_alert() -> None:
    client = TlsEngine(client_context(), Role.CLIENT)
    server = SSL.Connection(server_context(highest=SSL.TLS1_2_VERSION), None)
    server.set_accept_state()
    while not client.shake():
        server.bio_write(client.outgoing())
        with contextlib.suppress(SSL.WantReadError):
            server.do_handshake()
        client.feed(server.bio_read(1 << 16))
    server.renegotiate()
    with contextlib.suppress(SSL.WantReadError):
        server.do_handshake()
    assert client.decrypt(server.bio_read(1 << 16)) == b""
    assert client.outgoing()[0] == 21  # RFC 5246 s6.2.1: an alert, where a ClientHello would be 22
    assert client.failure is None


def test_what_went_out_with_a_large_message_is_not_held_on_to() -> None:
    client, server = secured()
    before = _resident_kib()
    pairs = [(client, server), *(secured() for _ in range(40))]
    content = bytes(1 << 20)
    for sender, receiver in pairs:
        assert len(receiver.decrypt(sender.encrypt(content))) == len(content)
    assert (_resident_kib() - before) / len(pairs) < 450  # about 190; unsliced 2,160


@pytest.mark.parametrize("highest", [SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION])
@pytest.mark.parametrize(("breaks", "resumes"), [(False, True), (True, False)])
def test_a_session_outlives_a_connection_that_was_dropped_but_not_one_that_broke(
    highest: int, *, breaks: bool, resumes: bool
) -> None:
    ours, theirs = client_context(highest=highest), server_context()
    ours.set_verify(SSL.VERIFY_NONE)
    client, server = meet(ours, theirs)
    session = client.connection.get_session()
    assert session is not None
    if breaks:
        client.decrypt(b"\x17\x03\x03\x00\x20" + bytes(32))
        assert client.failure is not None
    client.release()
    del client, server
    again, _ = meet(ours, theirs, lambda connection: connection.set_session(session))
    assert session_reused(again.connection) is resumes


def _resident_kib() -> int:
    with open("/proc/self/statm") as statm:  # noqa: PTH123 - not a file
        return int(statm.read().split()[1]) * 4
