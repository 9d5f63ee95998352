"""Sockets of socket units: what is configured is served on them, and the rest is told of."""

from __future__ import annotations

import smtplib
import socket
import subprocess
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING

import pytest

from tests.integration.lab.client import send_stuffed
from tests.integration.lab.ports import HOST, listens, wait_until
from tests.integration.lab.service_manager import ServiceManager

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.integration.lab.laboratory import Lab
    from tests.integration.lab.recorder import RecordingUpstream


def _send(port: int, content: bytes) -> int:
    with smtplib.SMTP(HOST, port, "client.test", timeout=30) as client:
        client.ehlo()
        return send_stuffed(client, content)[0]


class Unit:
    """A gateway, and what a socket unit listens on in its stead from its next start on."""

    def __init__(self, lab: Lab, recorder: RecordingUpstream, folder: Path) -> None:
        self._stack = ExitStack()
        self.sockets: dict[str, socket.socket] = {}
        self.manager = self._stack.enter_context(closing(ServiceManager(folder, self.sockets)))
        self.gateway = lab.doomed_gateway(recorder, starter=self.manager)

    def listen(self, name: str, address: tuple[str, int], *, both: bool = False) -> int:
        """Have the unit listen; return on which port."""
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        made = socket.create_server(address, family=family, dualstack_ipv6=both, backlog=128)
        self.sockets[name] = self._stack.enter_context(made)
        return int(made.getsockname()[1])

    def listen_instead(self) -> None:
        """End the gateway, and listen where it did."""
        self.gateway.stop()
        self.manager.let_go()
        for port in (self.gateway.smtp_port, self.gateway.smtps_port):
            self.listen(f"unit-{port}", (HOST, port))

    def close(self) -> None:
        self._stack.close()


@pytest.fixture
def unit(lab: Lab, recorder: RecordingUpstream, tmp_path: Path) -> Iterator[Unit]:
    made = Unit(lab, recorder, tmp_path)
    yield made
    if made.gateway.alive:
        made.gateway.close()
    made.close()


def test_the_sockets_of_a_socket_unit_are_used_and_left_to_it(unit: Unit, recorder: RecordingUpstream) -> None:
    unit.listen_instead()
    with socket.create_connection((HOST, unit.gateway.smtp_port), 30) as early:
        unit.gateway.start()
        assert early.recv(4) == b"220 "
    assert _send(unit.gateway.smtp_port, b"by activation\r\n") == 250
    assert unit.gateway.log.count("listening again on") == 2
    assert unit.manager.store == {}
    unit.gateway.stop()
    with socket.create_connection((HOST, unit.gateway.smtp_port), 30) as between:
        unit.gateway.start()
        assert between.recv(4) == b"220 "
    assert recorder.messages == [b"by activation\r\n"]


def test_what_the_unit_does_not_have_is_bound_and_kept(unit: Unit) -> None:
    unit.listen_instead()
    unit.sockets.pop(f"unit-{unit.gateway.smtps_port}").close()
    unit.gateway.start()
    assert set(unit.manager.store) == {f"kept_{HOST}_{unit.gateway.smtps_port}_0"}
    assert _send(unit.gateway.smtp_port, b"hello\r\n") == 250
    assert listens(unit.gateway.smtps_port)


def test_a_socket_that_nothing_is_configured_for_is_warned_of(unit: Unit) -> None:
    unit.gateway.stop()
    port = unit.listen("submission.socket", (HOST, 0))
    unit.gateway.start()
    where = f"submission.socket goes on listening on {HOST}:{port}"
    assert f"[smtpproxy#warn] {where}, where clients will wait in vain" in unit.gateway.log
    assert _send(unit.gateway.smtp_port, b"hello\r\n") == 250


def test_a_socket_that_takes_more_than_it_should_ends_the_start(unit: Unit) -> None:
    unit.gateway.stop()
    port = unit.listen("smtp.socket", ("::", 0), both=True)
    unit.gateway.edit(lambda main: main["interception"].update(listen=["::"], ports={"smtp": [port], "smtps": []}))
    ended = unit.manager.start(unit.gateway.command, unit.gateway.home, unit.gateway.home / "refused.log")
    assert ended.wait(30) == 78
    lines = (unit.gateway.home / "refused.log").read_text().splitlines()
    assert lines[-1] == (
        f"[::]:{port}: the socket smtp.socket takes IPv4 too; give its socket unit BindIPv6Only=ipv6-only, "
        "and a ListenStream of its own for IPv4"
    )


def test_systemds_own_program_can_activate_it(unit: Unit) -> None:
    unit.gateway.stop()
    unit.manager.let_go()
    gateway = unit.gateway
    ports = [f"--listen={HOST}:{port}" for port in (gateway.smtp_port, gateway.smtps_port)]
    activate = ["systemd-socket-activate", *ports, "--fdname=smtp:smtps", "--", *gateway.command]
    wait_until(lambda: not listens(gateway.smtp_port), "the gateway has let go")
    with (gateway.home / "activated.log").open("wb") as log:
        process = subprocess.Popen(activate, cwd=gateway.home, stdout=log, stderr=log)
    try:
        wait_until(lambda: listens(gateway.smtps_port), "systemd listens")
        assert _send(gateway.smtp_port, b"hello\r\n") == 250
    finally:
        process.terminate()
        assert process.wait(20) == 0
    text = (gateway.home / "activated.log").read_text()
    assert f"listening again on {HOST}:{gateway.smtp_port} (smtp)" in text
    assert f"listening again on {HOST}:{gateway.smtps_port} (smtps)" in text
