"""Hold one message: in memory first, then in a file without a name, within limits.

Source: open(2) (O_TMPFILE, unlinked files). A file without a name is gone with its last descriptor, so nothing is left
behind however the process ends; nothing is synchronized, for the sender keeps its message until upstream's own 250.
"""

from __future__ import annotations

import errno
import os
from io import FileIO
from pathlib import Path
from tempfile import TemporaryFile
from threading import Lock
from typing import Final, Protocol

from smtpproxy.errors import SmtpProxyError

DIRECTORY_MODE: Final = 0o700


class SpoolFull(SmtpProxyError):  # noqa: N818 - it says what is wrong
    """A message is bigger than may be held, or all messages together are."""

    reason: Final = "spool-full"

    def __init__(self) -> None:
        super().__init__(self.reason)


class SpoolError(SmtpProxyError):
    """The file could not be made, written or read.

    Args:
        error: what the system said.
    """

    reason: Final = "spool-failed"

    def __init__(self, error: OSError) -> None:
        super().__init__(f"{self.reason}: {error.strerror or error}")
        self.error = error


class Usage(Protocol):
    """What is on disk of all spools together, whatever their budget; they are at work in different threads."""

    @property
    def own_octets(self) -> int:
        """Octets that this process has taken."""

    def take(self, octets: int, limit_octets: int) -> bool:
        """Take so much more, unless it would be more than the limit; return whether it was taken."""

    def give_back(self, octets: int) -> None:
        """Give back what was taken."""


class SpoolUsage:
    """What is on disk of the spools of one process, which is alone.

    Attributes:
        own_octets: that are taken.
    """

    __slots__ = ("_lock", "own_octets")

    def __init__(self) -> None:
        self._lock = Lock()
        self.own_octets = 0

    def take(self, octets: int, limit_octets: int) -> bool:
        """Take so much more, unless it would be more than the limit; return whether it was taken."""
        with self._lock:
            fits = self.own_octets + octets <= limit_octets
            self.own_octets += octets if fits else 0
        return fits

    def give_back(self, octets: int) -> None:
        """Give back what was taken."""
        with self._lock:
            self.own_octets -= octets


class SpoolBudget:
    """What all spools may have on disk together.

    Args:
        limit_octets: the most.
        usage: what is on disk; that of this budget alone if left out.
    """

    __slots__ = ("_limit_octets", "_usage")

    def __init__(self, limit_octets: int, usage: Usage | None = None) -> None:
        self._limit_octets = limit_octets
        self._usage: Usage = usage or SpoolUsage()

    @property
    def taken_octets(self) -> int:
        """Octets that this process has taken, by whichever budget."""
        return self._usage.own_octets

    def take(self, octets: int) -> None:
        """Take a part of the budget.

        Raises:
            SpoolFull: there is not so much left.
        """
        if not self._usage.take(octets, self._limit_octets):
            raise SpoolFull

    def give_back(self, octets: int) -> None:
        """Give back what was taken."""
        self._usage.give_back(octets)


class Spool:
    """Holds the octets of one message; they are written behind one another and read anywhere.

    Its methods may block; no two of them may run at a time.

    Args:
        directory: where the file is made.
        memory_octets: how much is held in memory; a longer message is in the file as a whole.
        limit_octets: how long the message may be.
        budget: what all spools share.
    """

    __slots__ = (
        "_budget",
        "_directory",
        "_file",
        "_limit_octets",
        "_memory",
        "_memory_octets",
        "_size",
        "_taken_octets",
    )

    def __init__(self, directory: Path, memory_octets: int, limit_octets: int, budget: SpoolBudget) -> None:
        self._directory = directory
        self._memory_octets = memory_octets
        self._limit_octets = limit_octets
        self._budget = budget
        self._memory = bytearray()
        self._file: FileIO | None = None
        self._size = 0
        self._taken_octets = 0

    @property
    def size(self) -> int:
        """Octets held."""
        return self._size

    @property
    def in_memory(self) -> bool:
        """Whether nothing of it is on disk, so that reading does not block."""
        return self._file is None

    def keeps_in_memory(self, octets: int) -> bool:
        """Return whether so much more would still be held in memory, so that writing it does not block."""
        return self.in_memory and self._size + octets <= self._memory_octets

    def write(self, data: bytes) -> None:
        """Hold more octets.

        Raises:
            SpoolFull: a limit is reached.
            SpoolError: the file could not be made or written; what is held is of no use any more.
        """
        if self._size + len(data) > self._limit_octets:
            raise SpoolFull
        if self.keeps_in_memory(len(data)):
            self._memory += data
        else:
            self._write_to_file(data)
        self._size += len(data)

    def read(self, offset: int, octets: int) -> bytes:
        """Return octets from ``offset`` on, fewer only at the end.

        Raises:
            SpoolError: the file could not be read.
        """
        if self._file is None:
            return bytes(self._memory[offset : offset + octets])
        try:
            data = os.pread(self._file.fileno(), octets, offset)
        except OSError as error:
            raise SpoolError(error) from error
        if len(data) < min(octets, self._size - offset):
            raise SpoolError(OSError(errno.EIO, "the file is too short"))
        return data

    def close(self) -> None:
        """Hold nothing any more, and give back what was taken; does nothing the second time."""
        self._memory.clear()
        self._size = 0
        if self._file is not None:
            self._file.close()
            self._file = None
        self._budget.give_back(self._taken_octets)
        self._taken_octets = 0

    def _write_to_file(self, data: bytes) -> None:
        wanted = len(data) + len(self._memory)
        self._budget.take(wanted)
        self._taken_octets += wanted
        try:
            if self._file is None:
                # Unbuffered, so it is the descriptor itself; where the file system has no O_TMPFILE, it is unlinked.
                self._file = TemporaryFile(buffering=0, dir=self._directory)  # noqa: SIM115 - `close` closes it
                _write_all(self._file, self._memory)
                self._memory.clear()
            _write_all(self._file, data)
        except OSError as error:
            raise SpoolError(error) from error


def _write_all(file: FileIO, octets: bytes | bytearray) -> None:
    """A disk that becomes full takes a part first, and refuses the rest."""
    with memoryview(octets) as left:
        written = 0
        while written < len(left):
            written += file.write(left[written:])


class Spools:
    """Makes the spools of a configuration.

    Args:
        directory: where files are made.
        memory_octets: how much of each message is held in memory.
        limit_octets: what may be on disk, for one message as for all together.
        usage: what is on disk, by other configurations too; nothing if left out.
    """

    __slots__ = ("_directory", "_limit_octets", "_memory_octets", "budget")

    def __init__(self, directory: Path, memory_octets: int, limit_octets: int, usage: Usage | None = None) -> None:
        self.budget = SpoolBudget(limit_octets, usage)
        self._directory = directory
        self._memory_octets = memory_octets
        self._limit_octets = limit_octets

    def open(self) -> Spool:
        """Return a new spool; nothing is on disk yet."""
        return Spool(self._directory, self._memory_octets, self._limit_octets, self.budget)

    def prepare(self) -> None:
        """Make the directory, unless it is there.

        Raises:
            OSError: it cannot be made.
        """
        self._directory.mkdir(DIRECTORY_MODE, parents=True, exist_ok=True)


def directory_problem(directory: Path) -> str | None:
    """Return why files cannot be made in ``directory``, which ``Spools.prepare`` may have to make first."""
    existing = next(each for each in (directory, *directory.parents) if os.path.exists(each))  # noqa: PTH110 - raises nothing
    if not existing.is_dir():
        return f"{existing} is no directory"
    if not os.access(existing, os.W_OK | os.X_OK):
        return f"{existing} cannot be written by this user"
    return None
