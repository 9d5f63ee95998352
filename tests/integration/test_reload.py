"""SIGHUP: the configuration is taken up whole or not at all, and no session notices."""

from __future__ import annotations

import re
import smtplib
import socket
import ssl
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.lab.client import MODES, Mode, begin_content, connect, send_stuffed
from tests.integration.lab.gateway import Gateway, Setup
from tests.integration.lab.laboratory import trusting
from tests.integration.lab.ports import HOST, free_ports, listens, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.integration.lab.laboratory import Lab
    from tests.integration.lab.recorder import RecordingUpstream

INBOUND = Setup(direction="inbound")
NAME = INBOUND.server_names[0]
STORM_S = 6.0
LOOPS = 20


@pytest.fixture
def gateway(lab: Lab, recorder: RecordingUpstream) -> Iterator[Gateway]:
    """A gateway of the test's own, since it changes what the gateway runs by."""
    made = lab.doomed_gateway(recorder, INBOUND)
    yield made
    made.judge()
    made.close()


def _server_serial(gateway: Gateway, lab: Lab) -> str:
    with (
        socket.create_connection((HOST, gateway.smtps_port), timeout=20) as plain,
        trusting(lab.authorities.inside).wrap_socket(plain, server_hostname=NAME) as client,
    ):
        assert client.recv(4) == b"220 "
        certificate = client.getpeercert()
        assert certificate is not None
        return str(certificate["serialNumber"])


def _send(gateway: Gateway, content: bytes = b"hello\r\n") -> tuple[int, bytes]:
    with connect(gateway, "clear", ssl.create_default_context()) as client:
        return send_stuffed(client, content)


@pytest.mark.parametrize("mode", MODES)
def test_a_new_certificate_is_shown_to_the_next_client_and_disturbs_no_other(
    lab: Lab, gateway: Gateway, recorder: RecordingUpstream, mode: Mode
) -> None:
    before = _server_serial(gateway, lab)
    with _begun(gateway, lab, mode) as client:
        begin_content(client)
        client.send(b"half a message\r\n")
        gateway.renew_certificate(NAME)
        assert "reloaded: 1 policies, generation 2, 1 sessions of earlier generations go on" in gateway.reload()
        assert _server_serial(gateway, lab) != before
        client.send(b"the other half\r\n.\r\n")
        assert client.getreply()[0] == 250
        assert "generation 1 has ended" not in gateway.log
        assert send_stuffed(client, b"a second one\r\n")[0] == 250
    assert recorder.messages == [b"half a message\r\nthe other half\r\n", b"a second one\r\n"]
    wait_until(lambda: "generation 1 has ended" in gateway.log, "the first generation has ended")


def _begun(gateway: Gateway, lab: Lab, mode: Mode) -> smtplib.SMTP:
    context = trusting(lab.authorities.inside)
    context.check_hostname = False
    return connect(gateway, mode, context)


def test_a_client_in_clear_before_the_reload_may_still_start_tls(lab: Lab, gateway: Gateway) -> None:
    with smtplib.SMTP(HOST, gateway.smtp_port, "client.test", timeout=20) as client:
        client.ehlo()
        gateway.reload()
        context = trusting(lab.authorities.inside)
        context.check_hostname = False
        client.starttls(context=context)
        client.ehlo()
        assert send_stuffed(client, b"hello\r\n")[0] == 250


def test_every_mistake_is_told_with_its_place_and_the_old_goes_on(gateway: Gateway) -> None:
    gateway.edit(lambda main: main["policies"][0].update(direction="sideways"))
    (gateway.home / "config" / "tls-profiles" / "Profile.yaml").write_text("minimum_protocol: tls0.9\n")
    main = (gateway.home / "config" / "smtpproxy.yaml").read_text()
    line = main[: main.index("sideways")].count("\n") + 1
    policy, profile, end = _errors(gateway.reload())
    folder = gateway.home / "config"
    assert policy.startswith(
        f"{folder}/smtpproxy.yaml:{line}:14: policies[0].direction: 'sideways' is not allowed here"
    )
    assert profile.startswith(f"{folder}/tls-profiles/Profile.yaml:1:19: minimum_protocol: 'tls0.9' is not allowed")
    assert end == "reload refused, generation 1 goes on"
    assert _send(gateway)[0] == 250


def _errors(log: str) -> list[str]:
    return re.findall(r"\[smtpproxy#error\] (.*)", log)


def test_a_key_of_another_certificate_refuses_the_reload(lab: Lab, gateway: Gateway) -> None:
    before = _server_serial(gateway, lab)
    key = gateway.home / "certs" / f"{NAME}.key"
    kept = key.read_bytes()
    gateway.renew_certificate(NAME)
    key.write_bytes(kept)
    log = gateway.reload()
    assert "certificates.proxy_server[0].key: certs/mail.inside.test.key: the key does not belong to" in log
    assert "reload refused, generation 1 goes on" in log
    assert _server_serial(gateway, lab) == before


def test_a_list_is_read_anew(gateway: Gateway) -> None:
    lists = gateway.home / "config" / "lists"
    (lists / "partners.txt").write_text("partner.example\nno domain at all\n")
    assert "/config/lists/partners.txt:2:1: @partners: 'no domain at all' is no entry" in gateway.reload()
    (lists / "partners.txt").write_text("partner.example\n")
    assert "reloaded: 1 policies, generation 2, 0 sessions" in gateway.reload()


def test_a_policy_and_its_action_are_taken_up_by_the_next_session_alone(gateway: Gateway) -> None:
    with connect(gateway, "clear", ssl.create_default_context()) as before:
        gateway.edit(lambda action: action["general"].update(max_message_size="100kB"), "proxy-actions/Action.yaml")
        gateway.edit(lambda main: main["policies"][0].update(name="Renamed policy"))
        assert "reloaded: " in gateway.reload()
        with connect(gateway, "clear", ssl.create_default_context()) as after:
            assert after.docmd("MAIL", "FROM:<a@client.test> SIZE=200000")[0] == 552
        assert before.docmd("MAIL", "FROM:<a@client.test> SIZE=200000")[0] == 250
    wait_until(lambda: len(_sessions(gateway)) == 2, "both sessions have ended")
    assert [each["policy"] for each in _sessions(gateway)] == ["Renamed policy", "Test policy"]


def _sessions(gateway: Gateway) -> list[dict[str, Any]]:
    return [each for each in gateway.records if each["record"] == "session"]


def test_a_port_comes_and_another_goes(gateway: Gateway) -> None:
    (added,) = free_ports(1)
    old = gateway.smtp_port
    gateway.edit(lambda main: main["interception"]["ports"].update(smtp=[old, added]))
    log = gateway.reload()
    assert f"listening on {HOST}:{added} (smtp)" in log
    for port in (old, added):
        with smtplib.SMTP(HOST, port, "client.test", timeout=20) as client:
            assert client.noop()[0] == 250
    with smtplib.SMTP(HOST, old, "client.test", timeout=20) as client:
        gateway.edit(lambda main: main["interception"]["ports"].update(smtp=[added]))
        assert f"no longer listening on {HOST}:{old} (smtp)" in gateway.reload()
        wait_until(lambda: not listens(old), "the old port is closed")
        client.ehlo()
        assert send_stuffed(client, b"hello\r\n")[0] == 250


def test_a_port_that_is_taken_refuses_the_reload(gateway: Gateway) -> None:
    (free,) = free_ports(1)
    with socket.create_server((HOST, 0)) as other:
        taken = other.getsockname()[1]
        gateway.edit(lambda main: main["interception"]["ports"].update(smtp=[free, taken]))
        log = gateway.reload()
    assert f"[smtpproxy#error] {HOST}:{taken}: cannot listen: Address already in use\n" in log
    assert log.rstrip().endswith("reload refused, generation 1 goes on")
    wait_until(lambda: not listens(free), "what was bound is closed again")
    assert _send(gateway)[0] == 250


@pytest.mark.parametrize("broken", [False, True], ids=["configuration", "broken-configuration"])
def test_the_record_file_is_reopened(gateway: Gateway, broken: bool) -> None:  # noqa: FBT001 - a case
    records, rotated = (gateway.home / "var" / name for name in ("records.jsonl", "records.jsonl.1"))
    with connect(gateway, "clear", ssl.create_default_context()) as client:
        assert send_stuffed(client, b"before\r\n")[0] == 250
        wait_until(lambda: records.read_bytes().count(b"\n") == 1, "the first record")
        records.rename(rotated)
        assert send_stuffed(client, b"between\r\n")[0] == 250
        wait_until(lambda: rotated.read_bytes().count(b"\n") == 2, "the second record")
        if broken:
            gateway.edit(lambda main: main.update(nonsense=True))
        assert ("reload refused" in gateway.reload()) == broken
        assert send_stuffed(client, b"after\r\n")[0] == 250
    wait_until(lambda: records.read_bytes().count(b"\n") == 2, "a transaction and the session in the new file")
    assert rotated.read_bytes().count(b"\n") == 2


def test_another_record_file_takes_the_records_of_later_sessions(gateway: Gateway) -> None:
    old, new = (gateway.home / "var" / name for name in ("records.jsonl", "other.jsonl"))
    with connect(gateway, "clear", ssl.create_default_context()) as client:
        gateway.edit(lambda main: main["records"].update(file="var/other.jsonl"))
        assert "reloaded: " in gateway.reload()
        assert _send(gateway)[0] == 250
        assert send_stuffed(client, b"by the old one\r\n")[0] == 250
    wait_until(lambda: [path.read_bytes().count(b"\n") for path in (old, new)] == [2, 2], "records in both files")
    wait_until(lambda: str(old) not in gateway.open_files, "the old file is closed")
    assert str(new) in gateway.open_files


def test_metrics_move_and_go_on_counting(lab: Lab, recorder: RecordingUpstream) -> None:
    gateway = lab.doomed_gateway(recorder, Setup(metrics=True))
    assert _send(gateway)[0] == 250
    wait_until(lambda: gateway.metrics["smtpproxy_sessions_running",] == 0, "the session has ended")
    (elsewhere,) = free_ports(1)
    before = gateway.metrics_port
    gateway.edit(lambda main: main["admin"].update(metrics=f"{HOST}:{elsewhere}"))
    assert "reloaded: " in gateway.reload()
    wait_until(lambda: not listens(before), "the old address is closed")
    gateway.metrics_port = elsewhere
    with connect(gateway, "clear", ssl.create_default_context()):
        assert "reloaded: " in gateway.reload()
        assert _send(gateway)[0] == 250
        wait_until(lambda: gateway.metrics["smtpproxy_sessions_running",] == 1, "the earlier generation's is left")
    assert gateway.metrics["smtpproxy_sessions_begun_total",] == 3
    assert gateway.metrics["smtpproxy_transactions_total", "accepted"] == 2
    gateway.close()


def test_the_embedded_upstream_comes_moves_and_goes(gateway: Gateway, lab: Lab) -> None:
    smtp, smtps, elsewhere = free_ports(3)
    lab.authorities.internet.cert_pem.write_to_path(str(gateway.home / "certs" / "trusted" / "internet.pem"))
    files = {"certificate": f"certs/{NAME}.pem", "key": f"certs/{NAME}.key"}
    main: dict[str, Any] = {"smtp": smtp, "smtps": smtps, "maildir": "var/first", **files}
    gateway.edit(lambda top: top.update(embedded=main))
    gateway.edit(lambda top: top["policies"][0].update(upstream="embedded"))
    assert "reloaded: " in gateway.reload()
    with connect(gateway, "clear", ssl.create_default_context()) as client:
        gateway.edit(lambda top: top["embedded"].update(smtps=elsewhere, maildir="var/second"))
        assert "reloaded: " in gateway.reload()
        assert send_stuffed(client, b"to the first\r\n")[0] == 250
        assert _send(gateway, b"to the second\r\n")[0] == 250
        assert listens(smtps)
        assert listens(elsewhere)
    assert [_stored(gateway.home / "var" / name) for name in ("first", "second")] == [
        [b"to the first\r\n"],
        [b"to the second\r\n"],
    ]
    wait_until(lambda: not listens(smtps), "the first embedded upstream is gone with its generation")
    assert listens(smtp)


def _stored(maildir: Path) -> list[bytes]:
    return [entry.read_bytes() for entry in (maildir / "new").iterdir()]


def test_no_session_is_lost_while_reload_follows_reload(
    lab: Lab, gateway: Gateway, recorder: RecordingUpstream
) -> None:
    over = threading.Event()
    sent: list[int] = []
    failures: list[Exception] = []

    def send_on(mode: Mode) -> None:
        while not over.is_set():
            try:
                with _begun(gateway, lab, mode) as client:
                    sent.append(send_stuffed(client, b"hello\r\n")[0])
            except Exception as error:  # noqa: BLE001 - whatever it is, a session was lost
                failures.append(error)

    threads = [threading.Thread(target=send_on, args=(MODES[number % 3],)) for number in range(LOOPS)]
    with ExitStack() as stack:
        for thread in threads:
            thread.start()
            stack.callback(thread.join)
        stack.callback(over.set)
        ends = time.monotonic() + STORM_S
        while time.monotonic() < ends:
            gateway.hang_up()
            over.wait(0.2)
    assert failures == []
    assert set(sent) == {250}
    assert len(recorder.messages) == len(sent) > LOOPS
    wait_until(lambda: len(_sessions(gateway)) == len(sent), "every session is on record")
    assert {each["ended"] for each in _sessions(gateway)} == {"quit"}
    wait_until(lambda: gateway.log.count("has ended") == gateway.log.count("reloaded: "), "every earlier one has ended")
    assert gateway.log.count("reloaded: ") > STORM_S
    assert "refused" not in gateway.log
