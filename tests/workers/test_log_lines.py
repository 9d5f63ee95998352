from __future__ import annotations

from io import StringIO
from typing import TYPE_CHECKING, Any

import pytest
from twisted.logger import Logger, LogLevel, globalLogPublisher
from twisted.python.failure import Failure

from smtpproxy.net.console import Console
from smtpproxy.workers.log_lines import Forwarding, Labelled, relay

if TYPE_CHECKING:
    from collections.abc import Iterator

    from twisted.logger import LogEvent


@pytest.fixture
def heard() -> Iterator[list[LogEvent]]:
    """What the supervisor's own log gets."""
    events: list[LogEvent] = []
    observer: Any = events.append
    globalLogPublisher.addObserver(observer)
    yield events
    globalLogPublisher.removeObserver(observer)


def text_of(event: LogEvent) -> str:
    written = StringIO()
    Console(written)(event)
    return written.getvalue().partition(" ")[2]


def through(observe: Any, *, record: bool = False) -> None:  # noqa: ANN401
    log = Logger(namespace="smtpproxy", observer=observe)
    if record:
        observe({"log_time": 0.0, "log_level": LogLevel.info, "log_format": "{record_line}", "record_line": "a: ended"})
    else:
        log.error("no policy takes {who}", who="192.0.2.1")


def test_a_worker_is_named_unless_the_line_is_a_records() -> None:
    written = StringIO()
    through(Labelled(Console(written), "worker 2"))
    through(Labelled(Console(written), "worker 2"), record=True)
    lines = [line.partition(" ")[2] for line in written.getvalue().splitlines()]
    assert lines == ["[smtpproxy#error, worker 2] no policy takes 192.0.2.1", "[smtpproxy#info] a: ended"]


def test_forwarded_lines_read_the_same(heard: list[LogEvent]) -> None:
    written = StringIO()
    through(Forwarding(written))
    through(Forwarding(written), record=True)
    for line in written.getvalue().splitlines():
        relay("worker 2", line.encode())
    assert list(map(text_of, heard)) == [
        "[smtpproxy#error, worker 2] no policy takes 192.0.2.1\n",
        "[smtpproxy#info] a: ended\n",
    ]
    assert heard[0]["log_level"] is LogLevel.error


def test_a_trace_back_is_one_event(heard: list[LogEvent]) -> None:
    written = StringIO()
    log = Logger(namespace="smtpproxy", observer=Forwarding(written))
    log.failure("it broke", Failure(KeyError("gone")))
    (line,) = written.getvalue().splitlines()
    relay("worker 1", line.encode())
    (event,) = heard
    assert "it broke" in text_of(event)
    assert "KeyError" in text_of(event)


@pytest.mark.parametrize("line", [b"Fatal Python error: Aborted", b"[1, 2]", b"\xff"])
def test_what_python_says_itself_is_told_as_an_error(heard: list[LogEvent], line: bytes) -> None:
    relay("worker 1", line)
    (event,) = heard
    assert event["log_level"] is LogLevel.error
    assert "worker 1 says: " in text_of(event)
