"""Write records: lines to the log, JSON documents to a file."""

from __future__ import annotations

import errno
import os
from datetime import UTC, datetime
from pathlib import Path
from time import time
from typing import Final

from twisted.logger import Logger, LogLevel

from smtpproxy.audit import Record
from smtpproxy.errors import SmtpProxyError
from smtpproxy.net.documents import document_of
from smtpproxy.net.lines import lines_of
from smtpproxy.net.suspicions import Suspicions
from smtpproxy.net.tally import Tally

_APPEND: Final = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC


class RecordFileError(SmtpProxyError):
    """A record file cannot be opened.

    Args:
        error: what the system said, with the file's name.
    """

    def __init__(self, error: OSError) -> None:
        super().__init__(f"{error.filename}: records cannot be written: {error.strerror}")


class RecordWriter:
    """Writes every record at once: what was said to a client is on record before the next event.

    Args:
        file: where JSON documents go, one a line, appended; ``None`` for nowhere.
        tally: counts with other writers what is written; one of its own if left out.
        suspicions: looks with other writers at what is written; one of its own if left out.

    Attributes:
        tally: what was written, counted.

    Raises:
        RecordFileError: the file cannot be opened.
    """

    __slots__ = ("_descriptor", "_file", "_log", "_suspicions", "_torn", "tally")

    def __init__(self, file: Path | None, tally: Tally | None = None, suspicions: Suspicions | None = None) -> None:
        self._log = Logger(namespace="smtpproxy")
        self._file = file
        self._descriptor = None if file is None else _open(file)
        self._torn = False
        self._suspicions = suspicions or Suspicions()
        self.tally = tally or Tally()

    def write(self, record: Record) -> None:
        """Write one record, and what it gives reason to suspect."""
        self._write(record)
        suspected = self._suspicions.see(record)
        if suspected is not None:
            self._write(suspected)

    def _write(self, record: Record) -> None:
        self.tally.count(record)
        for line in lines_of(record):
            self._say(line)
        if self._descriptor is not None:
            document = document_of(record, datetime.now(UTC).isoformat(timespec="milliseconds"))
            if document is not None:
                self._append(self._descriptor, document)

    def _say(self, line: str) -> None:
        """What ``Logger.info`` does at a third of its price: most of that goes into a search for the level's name."""
        log = self._log
        log.observer(
            {
                "log_logger": log,
                "log_level": LogLevel.info,
                "log_namespace": log.namespace,
                "log_source": log.source,
                "log_format": "{record_line}",
                "log_time": time(),
                "record_line": line,
            }
        )

    def _append(self, descriptor: int, document: str) -> None:
        """A full disk stops no mail: the log has the same facts; what it tore is a line of its own."""
        octets = (b"\n" if self._torn else b"") + document.encode() + b"\n"
        try:
            written = os.write(descriptor, octets)
        except OSError as error:
            self._log.error("a record could not be written: {error}", error=error.strerror)
            return
        self._torn = written < len(octets)
        if self._torn:
            self._log.error("a record was cut off: {written} of {all} octets", written=written, all=len(octets))

    def reopen(self) -> None:
        """Go on in whatever bears the file's name now: to rotate a log is to rename it.

        Another thread may write meanwhile: the descriptor keeps its number, and leads to one file or to the other.

        Raises:
            RecordFileError: the file cannot be opened; records go on where they went.
        """
        if self._file is None or self._descriptor is None:
            return
        opened = _open(self._file)
        try:
            if not os.path.sameopenfile(opened, self._descriptor):
                os.dup2(opened, self._descriptor, inheritable=False)
                self._torn = False
        finally:
            os.close(opened)

    def close(self) -> None:
        """Close the file."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _open(file: Path) -> int:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        return os.open(file, _APPEND | (os.O_NOFOLLOW if _is_anothers(file.parent) else 0), 0o640)
    except OSError as error:
        if error.errno == errno.ELOOP:
            error.strerror = "it is a link, which leads nowhere, or stands in a folder of another user than root"
        raise RecordFileError(error) from None


def _is_anothers(folder: Path) -> bool:
    """Whether root, with ``twistd --uid``, could be led anywhere by a link that the gateway's user has put there."""
    return os.geteuid() == 0 and folder.stat().st_uid != 0
