from __future__ import annotations

import io
import re

from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure

from smtpproxy.net.console import Console


def logged(write: str, **event: object) -> str:
    file = io.StringIO()
    logger = Logger(namespace="smtpproxy", observer=Console(file))
    getattr(logger, write)(**event)
    return file.getvalue()


def test_a_record_line_reads_like_every_other_line() -> None:
    line = logged("info", format="{record_line}", record_line="s1: {braces} stay")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4} \[smtpproxy#info\] s1: \{braces\} stay\n", line)
    other = logged("info", format="s1: {what}", what="{braces} stay")
    assert re.sub(r"^\S+", "", line) == re.sub(r"^\S+", "", other)


def test_warnings_and_failures_are_written_as_twisted_does() -> None:
    assert " [smtpproxy#warn] look\n" in logged("warn", format="look")
    text = logged("failure", format="it broke", failure=Failure(KeyError("gone")))
    assert "[smtpproxy#critical] it broke" in text
    assert "KeyError" in text


def test_an_event_without_text_leaves_no_line() -> None:
    file = io.StringIO()
    Console(file)({"log_level": LogLevel.info, "log_namespace": "x", "log_time": 1.0})
    assert file.getvalue() == ""
