"""How sessions end: deadlines, peers that vanish or stall, and a gateway that is stopped or killed."""

from __future__ import annotations

import contextlib
import signal
import smtplib
import socket
import struct
import threading
from typing import TYPE_CHECKING

import pytest

from tests.integration.lab.client import begin_content, connect, send_stuffed
from tests.integration.lab.gateway import Gateway, Setup
from tests.integration.lab.ports import HOST, listens, wait_until
from tests.integration.lab.recorder import Script

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.lab.laboratory import Lab

_MEBIBYTE = 1024 * 1024


def test_an_idle_client_is_told_and_closed(lab: Lab) -> None:
    gateway = lab.gateway(lab.recorder(), Setup(general={"idle_timeout": "1s"}))
    with socket.create_connection((HOST, gateway.smtp_port), timeout=20) as client, client.makefile("rb") as stream:
        assert stream.readline().startswith(b"220 ")
        assert stream.readline().startswith(b"421 4.4.2")
        assert stream.read() == b""


def test_a_client_that_vanishes_inside_the_content_leaves_no_message(lab: Lab) -> None:
    recorder = lab.recorder()
    gateway = lab.gateway(recorder)
    client = connect(gateway, "starttls", lab.trusting_proxy)
    begin_content(client)
    client.send(b"half a message\r\n" * 1000)
    wait_until(lambda: b"half a message" in recorder.octets, "upstream has the first half")
    assert client.sock is not None
    client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()
    wait_until(lambda: _ended(gateway) == 1, "the session has ended")
    assert recorder.messages == []
    assert b"\r\n.\r\n" not in recorder.octets


def test_a_refusal_at_the_end_of_data_is_upstreams_own(lab: Lab) -> None:
    recorder = lab.recorder(Script(end_of_data=b"452 4.3.1 Disk full, says upstream\r\n"))
    with connect(lab.gateway(recorder), "smtps", lab.trusting_proxy) as client:
        assert send_stuffed(client, b"hello\r\n") == (452, b"4.3.1 Disk full, says upstream")
        recorder.script.end_of_data = None
        assert send_stuffed(client, b"again\r\n")[0] == 250


def test_an_upstream_that_stops_reading_stops_the_client_and_not_the_memory(lab: Lab) -> None:
    reads = threading.Event()
    recorder = lab.recorder(Script(reads_content=reads))
    gateway = lab.gateway(recorder)
    content = (b"x" * 998 + b"\r\n") * (40 * _MEBIBYTE // 1000)
    with connect(gateway, "starttls", lab.trusting_proxy) as client:
        begin_content(client)
        before = gateway.rss_octets
        sender = threading.Thread(target=client.send, args=(content + b".\r\n",))
        sender.start()
        sender.join(3)
        assert sender.is_alive()
        assert gateway.rss_octets - before < 16 * _MEBIBYTE
        reads.set()
        sender.join()
        assert client.getreply()[0] == 250
    assert recorder.messages == [content]


def test_a_stopped_gateway_says_so_and_ends(lab: Lab) -> None:
    gateway = lab.doomed_gateway(lab.recorder())
    with socket.create_connection((HOST, gateway.smtp_port), timeout=20) as client, client.makefile("rb") as stream:
        assert stream.readline().startswith(b"220 ")
        gateway.terminate()
        assert stream.readline().startswith(b"421 4.3.2")
        assert stream.read() == b""
    gateway.close()


def test_a_message_under_way_ends_before_the_gateway_does_and_is_on_record(lab: Lab) -> None:
    recorder = lab.recorder()
    gateway = lab.doomed_gateway(recorder)
    client = connect(gateway, "clear", lab.trusting_proxy)
    begin_content(client)
    client.send(b"half a message\r\n")
    wait_until(lambda: b"half a message" in recorder.octets, "upstream has the first half")
    gateway.terminate()
    client.send(b"the other half\r\n.\r\n")
    assert client.getreply()[0] == 250
    assert client.getreply()[0] == 421
    client.close()
    wait_until(lambda: len(gateway.records) == 2, "transaction and session are on record")
    transaction, session = gateway.records
    gateway.close()
    assert str(transaction["reply"]).startswith("250 ")
    assert session["ended"] == "shutting-down"


def test_a_killed_gateway_leaves_the_message_with_the_sender(lab: Lab) -> None:
    recorder = lab.recorder()
    gateway = lab.doomed_gateway(recorder)
    client = connect(gateway, "clear", lab.trusting_proxy)
    begin_content(client)
    client.send(b"half a message\r\n" * 1000)
    wait_until(lambda: b"half a message" in recorder.octets, "upstream has the first half")
    gateway.kill()
    with contextlib.suppress(smtplib.SMTPException, OSError):
        client.send(b".\r\n")
        client.getreply()
        raise AssertionError("a reply from the dead")
    client.close()
    assert recorder.messages == []


def test_a_port_that_is_taken_is_one_line_and_an_exit_status(lab: Lab, tmp_path: Path) -> None:
    gateway = lab.doomed_gateway(lab.recorder())
    gateway.edit(lambda main: main.setdefault("admin", {}).update(control=None))  # else that is what is told
    pid_file = tmp_path / "another.pid"
    ended = gateway.run_another(pid_file)
    gateway.close()
    line = f"127.0.0.1:{gateway.smtp_port}: cannot listen: Address already in use"
    assert (ended.returncode, ended.stderr) == (69, line + "\n")
    assert ended.stdout.count(line) == 1
    assert "Traceback" not in ended.stdout
    assert not pid_file.exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_ends_idle_sessions_of_every_generation_and_lets_messages_end(lab: Lab, number: signal.Signals) -> None:
    recorder = lab.recorder()
    gateway = lab.doomed_gateway(recorder)
    busy, idle = (connect(gateway, "clear", lab.trusting_proxy) for _ in range(2))
    begin_content(busy)
    busy.send(b"half a message\r\n")
    gateway.reload()
    late = connect(gateway, "starttls", lab.trusting_proxy)
    wait_until(lambda: b"half a message" in recorder.octets, "upstream has the first half")
    gateway.terminate(number)
    for client in (idle, late):
        assert client.getreply() == (421, b"4.3.2 Service shutting down, closing connection")
        client.close()
    wait_until(lambda: not listens(gateway.smtp_port), "nobody is let in any more")
    busy.send(b"the other half\r\n.\r\n")
    assert [busy.getreply()[0] for _ in range(2)] == [250, 421]
    busy.close()
    gateway.close()
    assert recorder.messages == [b"half a message\r\nthe other half\r\n"]
    assert [each["ended"] for each in gateway.all_records if each["record"] == "session"] == ["shutting-down"] * 3


def test_a_client_that_stalls_is_ended_at_the_deadline(lab: Lab) -> None:
    gateway = lab.doomed_gateway(lab.recorder(), Setup(drain_timeout="1s"))
    client = connect(gateway, "starttls", lab.trusting_proxy)
    begin_content(client)
    client.send(b"half a message\r\n")
    gateway.terminate()
    gateway.close()
    client.close()
    _judge_cut_off(gateway)


def test_a_second_stop_waits_for_nothing(lab: Lab) -> None:
    gateway = lab.doomed_gateway(lab.recorder(), Setup(drain_timeout="10m"))
    client = connect(gateway, "clear", lab.trusting_proxy)
    begin_content(client)
    gateway.terminate()
    wait_until(lambda: "stopping: 1 sessions have 600 s to end" in gateway.log, "the gateway waits")
    gateway.hang_up()
    wait_until(lambda: "reload not begun, the gateway is stopping" in gateway.log, "and does not reload")
    gateway.terminate()
    gateway.close()
    client.close()
    _judge_cut_off(gateway)


def _judge_cut_off(gateway: Gateway) -> None:
    transaction, session = gateway.all_records
    assert [each["status"] for each in transaction["recipients"]] == ["abandoned"]
    assert session["ended"] == "drain-deadline"


def test_sessions_leave_no_descriptor_behind(lab: Lab) -> None:
    gateway = lab.gateway(lab.recorder())
    with connect(gateway, "smtps", lab.trusting_proxy) as client:
        send_stuffed(client, b"warm\r\n")
    wait_until(lambda: _ended(gateway) == 1, "the first session has ended")
    wait_until(lambda: len(gateway.sockets) <= 3, "the two listeners and the control socket alone are open")
    before = gateway.sockets
    for _ in range(10):
        for mode in ("clear", "starttls", "smtps"):
            with connect(gateway, mode, lab.trusting_proxy) as client:
                client.noop()
        socket.create_connection((HOST, gateway.smtps_port)).close()
    wait_until(lambda: _ended(gateway) == 41, "every session has ended")
    wait_until(lambda: gateway.sockets <= before, f"no socket is open but {before}")


def _ended(gateway: Gateway) -> int:
    return sum(document["record"] == "session" for document in gateway.records)
