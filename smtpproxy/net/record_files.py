"""The record files that are open: generations that name the same one share its writer, so that no line is torn."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from threading import Lock

from twisted.application.service import Service

from smtpproxy.net.records import RecordFileError, RecordWriter
from smtpproxy.net.suspicions import Suspicions
from smtpproxy.net.tally import Tally


class RecordFiles:
    """Opens record files, and closes each when nobody uses it any more; any thread may call.

    Attributes:
        tally: what was written into all of them, counted.
        suspicions: what it gives reason to suspect.
    """

    __slots__ = ("_lock", "_users", "_writers", "suspicions", "tally")

    def __init__(self) -> None:
        self.tally = Tally()
        self.suspicions = Suspicions()
        self._writers: dict[Path | None, RecordWriter] = {}
        self._users: Counter[Path | None] = Counter()
        self._lock = Lock()

    def lease(self, file: Path | None) -> RecordLease:
        """Return the use of a record file until the lease is stopped.

        Raises:
            RecordFileError: the file cannot be opened.
        """
        with self._lock:
            writer = self._writers.get(file)
            if writer is None:
                writer = self._writers[file] = RecordWriter(file, self.tally, self.suspicions)
            self._users[file] += 1
            return RecordLease(self, file, writer)

    def reopen(self) -> None:
        """Have every file opened anew under its name.

        Raises:
            RecordFileError: of the first that cannot be opened, when all have been tried.
        """
        failed: list[RecordFileError] = []
        with self._lock:
            for writer in self._writers.values():
                try:
                    writer.reopen()
                except RecordFileError as error:
                    failed.append(error)
        if failed:
            raise failed[0]

    def release(self, file: Path | None) -> None:
        """Count one user less."""
        with self._lock:
            self._users[file] -= 1
            if not self._users[file]:
                del self._users[file]
                self._writers.pop(file).close()


class RecordLease(Service):
    """A generation's use of a record file.

    Attributes:
        writer: writes into it.
    """

    def __init__(self, files: RecordFiles, file: Path | None, writer: RecordWriter) -> None:
        self._files = files
        self._file = file
        self.writer = writer

    def stopService(self) -> None:  # noqa: N802 - Twisted's name
        """Give the file back."""
        super().stopService()  # type: ignore[no-untyped-call]
        self._files.release(self._file)
