"""The log lines of workers: each says which worker it is of, unless it is a record's, whose session nobody else has.

Where the log is more than a stream of lines, a file that is rotated or syslog, they go through the supervisor.
"""

from __future__ import annotations

import json
from time import time
from typing import Any, Final, TextIO

from twisted.logger import ILogObserver, LogEvent, Logger, LogLevel, eventAsText
from zope.interface import implementer

MAX_LINE_CHARACTERS: Final = 64 * 1024
"""Of one event; a trace back has some thousands."""

_ENCODE = json.JSONEncoder(ensure_ascii=True, separators=(",", ":")).encode
_log = Logger(namespace="smtpproxy")


@implementer(ILogObserver)
class Labelled:
    """Names the worker in every line that is no record's.

    Args:
        observer: writes the lines.
        name: the worker's.
    """

    def __init__(self, observer: ILogObserver, name: str) -> None:
        self._observer: Any = observer
        self._name = name

    def __call__(self, event: LogEvent) -> None:
        """Hand an event on."""
        self._observer(event if "record_line" in event else {**event, "log_system": f"{_system(event)}, {self._name}"})


@implementer(ILogObserver)
class Forwarding:
    """Writes events for the supervisor, one a line.

    Args:
        file: a text file, flushed behind each line.
    """

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def __call__(self, event: LogEvent) -> None:
        """Write one event."""
        line = event.get("record_line")
        if line is None:
            text = eventAsText(event, includeTimestamp=False, includeSystem=False)
            entry = [event.get("log_level", LogLevel.info).name, _system(event), text[:MAX_LINE_CHARACTERS]]
        else:
            entry = [line]
        self._file.write(_ENCODE(entry) + "\n")
        self._file.flush()


def relay(name: str, line: bytes) -> None:
    """In the supervisor: log what a worker has forwarded; what Python or a library says in its own way is an error."""
    try:
        entry = json.loads(line)
    except ValueError:
        entry = None
    match entry:
        case [str(record_line)]:
            _observe(LogLevel.info, _log.namespace, record_line, record_line=record_line)
        case [str(level), str(system), str(text)]:
            _observe(LogLevel.lookupByName(level), f"{system}, {name}", text, log_system=f"{system}, {name}")
        case _:
            text = line.decode(errors="backslashreplace")
            _log.error("{name} says: {text}", name=name, text=text)


def _observe(level: Any, namespace: str, text: str, **more: str) -> None:  # noqa: ANN401 - constantly has no type
    event = {"log_level": level, "log_namespace": namespace, "log_format": "{text}", "log_time": time(), "text": text}
    _log.observer({**event, **more})


def _system(event: LogEvent) -> str:
    """As Twisted's text log names it."""
    system = event.get("log_system")
    if system is not None:
        return str(system)
    level = event.get("log_level")
    return f"{event.get('log_namespace', '-')}#{level.name if level is not None else '-'}"
