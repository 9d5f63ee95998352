"""A hundred sessions at a time, while workers are killed, certificates change and the gateway is reloaded."""

from __future__ import annotations

import os
import re
import signal
import smtplib
import ssl
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Self

import pytest

from tests.integration.lab.client import MODES, Mode, send_stuffed
from tests.integration.lab.gateway import Gateway, Setup
from tests.integration.lab.laboratory import trusting
from tests.integration.lab.ports import HOST, wait_until
from tests.integration.test_workers import serving, workers

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.integration.lab.laboratory import Lab
    from tests.integration.lab.recorder import RecordingUpstream

SESSIONS = 100
SHORT_S = 8.0
LONG_S = 60.0
BEAT_S = 2.0
INBOUND = Setup(
    direction="inbound", workers=2, general={"max_sessions_per_source": 10 * SESSIONS, "max_sessions": 10 * SESSIONS}
)


@pytest.fixture
def gateway(lab: Lab, recorder: RecordingUpstream) -> Iterator[Gateway]:
    gateway = lab.doomed_gateway(recorder, INBOUND)
    try:
        wait_until(lambda: serving(gateway) == {1, 2}, "both workers serve")
        yield gateway
        assert "Traceback" not in gateway.log
    finally:
        if gateway.alive:
            gateway.close()


_BROKEN = {
    smtplib.SMTPServerDisconnected,
    ConnectionResetError,
    BrokenPipeError,
    ssl.SSLEOFError,
    ssl.SSLZeroReturnError,
}
"""A connection that ended; a reply that refuses is none of these."""


@dataclass
class Outcome:
    """What clients saw; each of them says in its EHLO which session it is."""

    accepted: list[bytes] = field(default_factory=list)
    lost: dict[str, Exception] = field(default_factory=dict)


class Senders:
    """Keeps a hundred sessions going, one message each, until it is left."""

    def __init__(self, gateway: Gateway, context: ssl.SSLContext) -> None:
        self._gateway = gateway
        self._context = context
        self._over = threading.Event()
        self._numbers = count()
        self._threads = [threading.Thread(target=self._run, args=(MODES[n % len(MODES)],)) for n in range(SESSIONS)]
        self.outcome = Outcome()

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _run(self, mode: Mode) -> None:
        while not self._over.is_set():
            name = f"session-{next(self._numbers)}.test"
            try:
                self._send(mode, name)
            except Exception as error:  # noqa: BLE001 - whatever it is, a session was lost
                self.outcome.lost[name] = error

    def _send(self, mode: Mode, name: str) -> None:
        gateway, content = self._gateway, f"{name}\r\n".encode()
        if mode == "smtps":
            client: smtplib.SMTP = smtplib.SMTP_SSL(HOST, gateway.smtps_port, name, timeout=60, context=self._context)
        else:
            client = smtplib.SMTP(HOST, gateway.smtp_port, name, timeout=60)
        with client:
            if mode == "starttls":
                client.starttls(context=self._context)
            client.ehlo()
            assert send_stuffed(client, content)[0] == 250
            self.outcome.accepted.append(content)
            with suppress(smtplib.SMTPServerDisconnected, ConnectionError):  # it has its 250
                client.quit()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")
# smtplib leaves a socket open whose handshake breaks.
def test_none_but_a_killed_workers_own_sessions_are_lost(
    lab: Lab, gateway: Gateway, recorder: RecordingUpstream, request: pytest.FixtureRequest
) -> None:
    context = trusting(lab.authorities.inside)
    context.check_hostname = False
    until_s = time.monotonic() + (LONG_S if request.config.getoption("--soak") else SHORT_S)
    kills = 0
    with Senders(gateway, context) as senders:
        while time.monotonic() < until_s:
            beat_s = time.monotonic() + BEAT_S
            gateway.renew_certificate(INBOUND.server_names[0])
            gateway.reload()
            with suppress(ProcessLookupError):  # not replaced yet
                os.kill(workers(gateway)[1 + kills % 2], signal.SIGKILL)
                kills += 1
            threading.Event().wait(max(0.0, beat_s - time.monotonic()))  # the beat is what is asked for
    outcome = senders.outcome
    wait_until(lambda: serving(gateway) == {1, 2}, "both slots are served")
    judge(gateway, recorder, outcome, kills)


def judge(gateway: Gateway, recorder: RecordingUpstream, outcome: Outcome, kills: int) -> None:
    """A worker that was killed writes no record: whoever is lost must have none."""
    on_record = {each["helo"]: each["ended"] for each in gateway.all_records if each["record"] == "session"}
    told = {name: (on_record[name], error) for name, error in outcome.lost.items() if name in on_record}
    assert not told
    assert not {type(error) for error in outcome.lost.values()} - _BROKEN
    stored = Counter(recorder.messages)
    assert [each for each in outcome.accepted if stored[each] != 1] == []
    assert [each for each, times in stored.items() if times > 1] == []
    unanswered = {f"{name}\r\n".encode() for name in outcome.lost}
    assert set(stored) - set(outcome.accepted) <= unanswered  # the window of RFC 1047
    assert len(outcome.lost) <= kills * SESSIONS
    assert len(outcome.accepted) > 5 * kills
    assert len(re.findall(r"worker \d has died: signal 9; it is replaced", gateway.log)) == kills
    print(f"{len(outcome.accepted)} accepted, {len(outcome.lost)} lost by {kills} kills")  # noqa: T201 - the figures
