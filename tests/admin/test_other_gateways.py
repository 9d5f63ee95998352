"""Commands that ask a gateway which is not of their own version, or which does not stay as they left it."""

from __future__ import annotations

import json
import socket
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from smtpproxy.admin.cli import run
from smtpproxy.admin.exits import ExitStatus

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def answering(path: Path, *results: object) -> Iterator[None]:
    """A gateway whose answers are these, and which is gone behind the last of them."""

    def serve() -> None:
        connection, _ = listening.accept()
        with connection, connection.makefile("rb") as requests:
            for result, line in zip(results, requests, strict=False):
                answer = {"version": 1, "id": json.loads(line)["id"], "ok": True, "result": result}
                connection.sendall(json.dumps(answer).encode() + b"\n")

    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()
        serving = threading.Thread(target=serve)
        serving.start()
        yield
        serving.join()


def status(state: str, sessions: int) -> dict[str, Any]:
    return {"state": state, "counters": {"sessions_running": sessions}}


@pytest.mark.parametrize(
    "words",
    [("status",), ("sessions",), ("top",), ("health",), ("reload",), ("blocked", "list"), ("blocked", "lift", "::1")],
    ids=" ".join,
)
def test_an_answer_that_lacks_something_is_of_another_version(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    path = tmp_path / "control.sock"
    with answering(path, {}, {}):
        ended = run([*words, "--socket", str(path)])
    told = capsys.readouterr()
    assert ended == (1 if words == ("health",) else ExitStatus.PROTOCOL)
    assert f"{path}: the gateway is of another version, its answer lacks '" in told.out + told.err


def test_who_waits_is_told_that_somebody_else_ended_the_draining(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "control.sock"
    with answering(path, {}, status("draining", 1), status("running", 1)):
        assert run(["drain", "--wait", "--socket", str(path)]) == ExitStatus.TEMPORARY
    assert "the gateway does not drain any more; somebody has had it listen again" in capsys.readouterr().err


@pytest.mark.parametrize(("sessions", "said"), [(0, "drained: every session has ended"), (7, "the gateway has ended")])
def test_what_is_said_of_the_end_is_what_was_seen(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], sessions: int, said: str
) -> None:
    path = tmp_path / "control.sock"
    with answering(path, {}, status("draining", sessions)):
        assert run(["drain", "--wait", "--exit", "--socket", str(path)]) == ExitStatus.OK
    assert capsys.readouterr().out.splitlines()[-1] == said
