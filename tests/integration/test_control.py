"""The running gateway, asked and told over its control socket by the program itself."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import stat
import threading
from contextlib import ExitStack
from http.client import HTTPConnection
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.lab.client import MODES, begin_content, connect, send_stuffed
from tests.integration.lab.gateway import Gateway, Setup
from tests.integration.lab.ports import HOST, listens, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.integration.lab.client import Mode
    from tests.integration.lab.laboratory import Lab
    from tests.integration.lab.recorder import RecordingUpstream

LOOPS = 12


@pytest.fixture(params=[1, 2], ids=["one process", "two workers"])
def gateway(lab: Lab, recorder: RecordingUpstream, request: pytest.FixtureRequest) -> Iterator[Gateway]:
    """A gateway of the test's own, since it is told what to do."""
    made = lab.doomed_gateway(recorder, Setup(metrics=True, workers=request.param))
    wait_until(lambda: made.tell("health").returncode == 0, "every worker answers")
    yield made
    made.close()


def only(found: list[dict[str, Any]]) -> dict[str, Any]:
    (one,) = found
    return one


def test_the_socket_is_its_own_user_s_alone_and_goes_with_the_gateway(gateway: Gateway) -> None:
    found = gateway.control.lstat()
    assert (stat.S_IMODE(found.st_mode), stat.S_ISSOCK(found.st_mode)) == (0o600, True)
    assert [each.name for each in gateway.control.parent.iterdir() if each.name.startswith(".control")] == []
    gateway.terminate()
    assert gateway.wait() == 0
    assert not gateway.control.exists()


def test_a_stale_socket_is_replaced_and_a_live_one_is_not(lab: Lab, gateway: Gateway) -> None:
    ended = gateway.run_another(gateway.home / "another.pid")
    assert ended.returncode == 69
    assert gateway.ask("status")["pid"] == gateway.pid
    other = lab.doomed_gateway(lab.recorder())
    other.kill()
    assert other.control.exists()
    gone = other.tell("status")
    assert gone.returncode == 69
    assert gone.stderr.startswith(f"smtpproxy: no gateway runs here: nobody answers at {other.control}; start one with")
    assert other.tell("health").returncode == 1


def test_status_tells_what_the_metrics_count(lab: Lab, gateway: Gateway) -> None:
    with connect(gateway, "starttls", lab.trusting_proxy) as client:
        assert send_stuffed(client, b"hello\r\n")[0] == 250
    wait_until(lambda: gateway.metrics["smtpproxy_sessions_running",] == 0, "the session has ended")
    status = gateway.ask("status")
    told = dict(_flat(status["counters"]))
    metrics = {
        (key[0].removeprefix("smtpproxy_").removesuffix("_total"), *key[1:]): value
        for key, value in gateway.metrics.items()
        if key[0].startswith("smtpproxy_") and not key[0].endswith("_created") and "build" not in key[0]
    }
    assert told == metrics
    assert told["transactions", "accepted"] == 1
    assert status["configuration"] == str(gateway.configuration)
    assert (status["state"], status["mode"]) == ("running", "explicit")
    assert status["generation"]["number"] == 1
    assert {each["address"] for each in status["listening"]} == {
        f"{HOST}:{port}" for port in (gateway.smtp_port, gateway.smtps_port)
    }
    assert status["pid"] == gateway.pid
    workers = {each["pid"] for each in status["workers"]}
    assert workers == {gateway.pid} or (len(workers) == 2 and workers < gateway.children)


def _flat(counts: Any, names: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], float]]:  # noqa: ANN401
    if not isinstance(counts, dict):
        yield names, counts
        return
    for name, value in counts.items():
        yield from _flat(value, (*names, name))


def test_the_table_has_what_an_administrator_looks_for(gateway: Gateway) -> None:
    shown = gateway.tell("status").stdout
    for words in ("running", "generation", str(gateway.configuration.name), "Test policy", "none since the start"):
        assert words in shown


def test_a_live_session_is_seen_with_both_legs(lab: Lab, gateway: Gateway) -> None:
    with connect(gateway, "starttls", lab.trusting_proxy) as client:
        assert send_stuffed(client, b"the first\r\n")[0] == 250
        begin_content(client)
        wait_until(lambda: _state(gateway) == "content", "the content has begun")
        session = only(gateway.ask("sessions")["sessions"])
        assert session["policy"] == "Test policy"
        assert session["helo"] == "client.test"
        assert session["state"] == {"client": "content", "upstream": "content"}
        assert session["transactions"] == 1
        assert session["inspected"] == "yes"
        assert {session[leg]["version"] for leg in ("client_tls", "upstream_tls")} == {"TLSv1.3"}
        assert session["upstream_tls"]["verified"] == "trusted"
        assert all(count > 0 for count in session["octets"].values())
        assert session["seconds"] >= session["idle"] >= 0
        text = str(session)
        assert "a@client.test" not in text
        assert "the first" not in text
        assert session["session"] in gateway.tell("sessions").stdout
        client.send(b".\r\n")
        assert client.getreply()[0] == 250
    wait_until(lambda: gateway.ask("sessions")["sessions"] == [], "the session has ended")


def _state(gateway: Gateway) -> str:
    return str(only(gateway.ask("sessions")["sessions"])["state"]["client"])


def test_what_is_left_out_is_counted(lab: Lab, gateway: Gateway) -> None:
    with ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(connect(gateway, "clear", lab.trusting_proxy))
        every = gateway.ask("sessions")
        some = gateway.ask("sessions", "--limit", "1")
        assert len(every["sessions"]) == 3
        assert some == {"sessions": [some["sessions"][0]], "left_out": 2}
        assert some["sessions"][0]["session"] == min(every["sessions"], key=lambda each: each["since"])["session"]


def test_a_reload_answers_with_its_mistakes(gateway: Gateway) -> None:
    done = gateway.tell("reload")
    assert (done.returncode, done.stdout) == (0, "reloaded: generation 2\n")
    gateway.edit(lambda main: main["policies"][0].update(direction="sideways"))
    refused = gateway.tell("reload")
    assert refused.returncode == 78
    mistake, conclusion = refused.stderr.splitlines()
    assert re.match(rf"{gateway.configuration}:\d+:\d+: policies\[0\]\.direction: 'sideways' is not allowed", mistake)
    assert conclusion == "smtpproxy: reload refused, generation 2 goes on"
    assert gateway.ask("status")["last_reload"]["mistakes"] == [mistake]
    assert gateway.ask("status")["generation"]["number"] == 2


def test_the_socket_moves_on_reload_and_the_answer_still_comes(gateway: Gateway) -> None:
    before, after = gateway.control, gateway.home / "elsewhere" / "control.sock"
    gateway.edit(lambda main: main["admin"].update(control="elsewhere/control.sock"))
    done = gateway.tell("reload", "--socket", str(before))
    assert (done.returncode, done.stdout) == (0, "reloaded: generation 2\n")
    assert after.exists()
    assert not before.exists()
    assert gateway.ask("status")["generation"]["number"] == 2


@pytest.mark.parametrize("mode", MODES)
def test_draining_loses_no_session_and_can_be_taken_back(
    lab: Lab, gateway: Gateway, recorder: RecordingUpstream, mode: Mode
) -> None:
    with connect(gateway, mode, lab.trusting_proxy) as client:
        begin_content(client)
        assert gateway.tell("drain").returncode == 0
        wait_until(lambda: not listens(gateway.smtp_port) and not listens(gateway.smtps_port), "nobody listens")
        assert gateway.tell("health").stdout == "the gateway is draining\n"
        assert _get(gateway, "/readyz") == (503, "the gateway is draining\n")
        assert _get(gateway, "/healthz") == (200, "ok\n")
        assert gateway.tell("health").returncode == 1
        client.send(b"hello\r\n.\r\n")
        assert client.getreply()[0] == 250
        assert send_stuffed(client, b"and one more\r\n")[0] == 250
        assert gateway.tell("drain", "--cancel").returncode == 0
        assert gateway.tell("health").stdout == "ok\n"
        assert _get(gateway, "/readyz") == (200, "ok\n")
        with connect(gateway, mode, lab.trusting_proxy) as another:
            assert send_stuffed(another, b"a third\r\n")[0] == 250
    assert len(recorder.messages) == 3


def _get(gateway: Gateway, path: str) -> tuple[int, str]:
    connection = HTTPConnection(HOST, gateway.metrics_port, timeout=20)
    with contextlib.closing(connection):
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()


def test_a_drained_gateway_exits_behind_its_last_session(lab: Lab, gateway: Gateway) -> None:
    with connect(gateway, "starttls", lab.trusting_proxy) as client:
        assert gateway.tell("drain", "--exit").returncode == 0
        assert gateway.ask("status")["exits_when_drained"] is True
        assert send_stuffed(client, b"hello\r\n")[0] == 250
        assert gateway.alive
    assert gateway.wait() == 0


def test_draining_an_idle_gateway_waits_for_nothing(gateway: Gateway) -> None:
    done = gateway.tell("drain", "--exit", "--wait")
    assert done.returncode == 0
    assert done.stdout.splitlines()[-1] in {"drained: every session has ended", "the gateway has ended"}
    assert gateway.wait() == 0


def test_draining_under_load_loses_no_session(lab: Lab, gateway: Gateway, recorder: RecordingUpstream) -> None:
    """Whoever was let in is served to its end; whoever was not is refused by the kernel, before anything was said."""
    sent: list[int] = []
    failures: list[BaseException] = []
    under_way = threading.Semaphore(0)

    def send_on(mode: Mode) -> None:
        while True:
            try:
                client = connect(gateway, mode, lab.trusting_proxy)
            except ConnectionRefusedError:
                return
            except Exception as error:  # noqa: BLE001 - whatever it is, a session was lost
                failures.append(error)
                return
            try:
                with client:
                    sent.append(send_stuffed(client, b"hello\r\n")[0])
                under_way.release()
            except Exception as error:  # noqa: BLE001 - the same
                failures.append(error)

    threads = [threading.Thread(target=send_on, args=(MODES[number % 3],)) for number in range(LOOPS)]
    for thread in threads:
        thread.start()
    for _ in range(3 * LOOPS):
        assert under_way.acquire(timeout=20)
    done = gateway.tell("drain", "--wait")
    for thread in threads:
        thread.join(30)
    assert done.returncode == 0, done.stderr
    assert failures == []
    assert set(sent) == {250}
    assert len(recorder.messages) == len(sent)
    wait_until(lambda: len(_ends(gateway)) == len(sent), "every session is on record")
    assert set(_ends(gateway)) == {"quit"}


def _ends(gateway: Gateway) -> list[str]:
    return [each["ended"] for each in gateway.records if each["record"] == "session"]


def test_a_reload_while_draining_does_not_listen_again(gateway: Gateway) -> None:
    gateway.tell("drain")
    assert gateway.tell("reload").returncode == 0
    assert not listens(gateway.smtp_port)
    assert gateway.ask("status")["state"] == "draining"
    gateway.tell("drain", "--cancel")
    assert listens(gateway.smtp_port)


def test_sources_are_blocked_listed_and_lifted(gateway: Gateway) -> None:
    assert gateway.tell("blocked", "add", HOST, "--seconds", "60", "--reason", "noise").returncode == 0
    with contextlib.suppress(ConnectionResetError), socket.create_connection((HOST, gateway.smtp_port), 20) as client:
        assert client.recv(1) == b""
    entry = only(gateway.ask("blocked", "list")["blocked"])
    assert (entry["address"], entry["reason"]) == (HOST, "noise")
    assert 50 <= entry["seconds"] <= 60
    assert gateway.ask("status")["blocked"] == 1
    assert "noise" in gateway.tell("blocked", "list").stdout
    assert gateway.tell("blocked", "lift", HOST).returncode == 0
    assert gateway.tell("blocked", "lift", HOST).returncode == 65
    assert gateway.tell("blocked", "add", "nobody").returncode == 64
    with socket.create_connection((HOST, gateway.smtp_port), 20) as client:
        assert client.recv(3) == b"220"


def test_a_gateway_without_a_socket_says_so(lab: Lab, recorder: RecordingUpstream) -> None:
    gateway = lab.doomed_gateway(recorder, Setup(main={"admin": {"control": None}}))
    gateway.edit(lambda main: main["admin"].update(control=None))
    gateway.tell("reload")
    asked = gateway.tell("status")
    assert asked.returncode == 78
    assert "admin.control is null" in asked.stderr
    gateway.close()


def test_no_socket_is_made_where_anybody_could_exchange_it(gateway: Gateway) -> None:
    folder = gateway.home / "open"
    folder.mkdir()
    folder.chmod(0o777)
    gateway.edit(lambda main: main.setdefault("admin", {}).update(control="open/control.sock"))
    refused = gateway.tell("reload", "--socket", str(gateway.control))
    assert refused.returncode == 78
    assert f"anybody may write to the folder and exchange the socket; chmod o-w it: {folder}/control.sock" in (
        refused.stderr
    )
    assert gateway.tell("status", "--socket", str(gateway.control)).returncode == 0


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
def test_a_stranger_who_listens_in_a_folder_of_anybody_s_is_not_believed(gateway: Gateway, tmp_path: Path) -> None:
    tmp_path.chmod(0o1777)
    path = tmp_path / "control.sock"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        os.seteuid(65534)  # whoever called listen(2) is who listens
        try:
            listening.listen()
        finally:
            os.seteuid(0)
        told = gateway.tell("status", "--socket", str(path))
    assert told.returncode == 69
    assert told.stderr == (
        f"smtpproxy: {path}: user 65534 listens here, and anybody may write to the folder; "
        "it may be no gateway of yours\n"
    )


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
def test_somebody_else_is_refused(gateway: Gateway) -> None:
    for folder in (*gateway.control.parents,):
        if folder.owner() == "root" and str(folder).startswith("/tmp/"):  # noqa: S108 - pytest's own
            folder.chmod(folder.stat().st_mode | 0o011)
    gateway.control.chmod(0o666)
    answer = _ask_as(65534, gateway)
    assert b'"code":"permission"' in answer
    gateway.control.chmod(0o600)
    assert _ask_as(65534, gateway) == b"PermissionError"


def _ask_as(user: int, gateway: Gateway) -> bytes:
    """Return what another user's process hears."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgid(user)
            os.setuid(user)
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(str(gateway.control))
                os.write(writing, client.recv(4096))
        except OSError as error:
            os.write(writing, type(error).__name__.encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as told:
        answer = told.read()
    os.waitpid(child, 0)
    return answer
