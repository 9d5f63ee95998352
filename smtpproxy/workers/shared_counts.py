"""Counts over all workers, in memory that they share: nobody is asked, and nobody waits.

Each worker counts in a column of its own, which no other process writes while it lives, and reads all of them; the
supervisor clears the column of one that is gone. Keys are not kept: each is counted at eight places of the column that
a hash with a random key gives, and the least of them counts. Other keys may be counted there too, so what is returned
may be too much, and never too little.

Source: Cormode and Muthukrishnan, An Improved Data Stream Summary: The Count-Min Sketch; Fan et al., Summary Cache
(counting Bloom filters); memfd_create(2).
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
from hashlib import blake2b
from threading import Lock
from typing import Final

MAX_COLUMNS: Final = 128
"""Workers at a time, also of slots that were given up: twice as many as there may be slots."""

_PLACES: Final = 1 << 18
"""Of four octets: 1 MiB a worker. With 10,000 keys a key in 40,000 counts as one more than there are."""

_ROWS: Final = struct.Struct("8I")
_MASK: Final = _PLACES - 1
_NUMBER: Final = 4

_HEAD_OCTETS: Final = 4096
"""Columns in use; the key; what each column has on disk."""

_KEY: Final = slice(16, 32)
_DISK: Final = slice(1024, 1024 + 8 * MAX_COLUMNS)
_OCTETS: Final = _HEAD_OCTETS + MAX_COLUMNS * _PLACES * _NUMBER
_SEALS: Final = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW


class NoColumn(OSError):  # noqa: N818 - it says what is wrong
    """There are as many workers as there may be."""

    def __init__(self) -> None:
        super().__init__(None, "too many workers at a time")


class _Memory:
    """The memory, as one process sees it."""

    __slots__ = ("_mapped", "disk", "head", "key", "places")

    def __init__(self, descriptor: int) -> None:
        self._mapped = mmap.mmap(descriptor, _OCTETS)
        whole = memoryview(self._mapped)
        self.head = whole[:_NUMBER].cast("I")
        self.key = whole[_KEY]
        self.disk = whole[_DISK].cast("Q")
        self.places = whole[_HEAD_OCTETS:].cast("I")

    def close(self) -> None:
        for view in (self.head, self.key, self.disk, self.places):
            view.release()
        self._mapped.close()


class Columns:
    """The supervisor's: gives each worker a column, and takes it back.

    Attributes:
        descriptor: of the memory, for workers.
    """

    def __init__(self) -> None:
        self.descriptor = os.memfd_create("smtpproxy-counts", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(self.descriptor, _OCTETS)
        fcntl.fcntl(self.descriptor, fcntl.F_ADD_SEALS, _SEALS)
        self._memory = _Memory(self.descriptor)
        self._memory.key[:] = os.urandom(_KEY.stop - _KEY.start)
        self._used: set[int] = set()

    def take(self) -> int:
        """Return a column that is nobody's, with nothing counted.

        Raises:
            NoColumn: there is none.
        """
        column = next((each for each in range(MAX_COLUMNS) if each not in self._used), None)
        if column is None:
            raise NoColumn
        self._used.add(column)
        self._tell_used()
        return column

    def give_back(self, column: int) -> None:
        """Forget all that a process counted that is gone."""
        self._memory.disk[column] = 0
        self._memory.places[column * _PLACES : (column + 1) * _PLACES] = memoryview(bytes(_PLACES * _NUMBER)).cast("I")
        self._used.discard(column)
        self._tell_used()

    def close(self) -> None:
        """Let go of the memory."""
        self._memory.close()
        os.close(self.descriptor)

    def _tell_used(self) -> None:
        self._memory.head[0] = max(self._used, default=-1) + 1


class SharedCounts:
    """A worker's.

    What is to be limited is counted first and looked at then, so that no limit is exceeded: of two workers that come
    to the last place at the same moment, both may go without.

    Args:
        descriptor: of the memory.
        column: its own.
    """

    __slots__ = ("_base", "_column", "_key", "_lock", "_memory")

    def __init__(self, descriptor: int, column: int) -> None:
        self._memory = _Memory(descriptor)
        self._key = bytes(self._memory.key)
        self._column = column
        self._base = column * _PLACES
        self._lock = Lock()

    def close(self) -> None:
        """Let go of the memory."""
        self._memory.close()

    # Counts

    def more(self, *key: str) -> int:
        """Count one more, and return how many there are now, or more."""
        places, found = self._memory.places, self._find(key)
        for place in found:
            places[self._base + place] += 1
        end = self._memory.head[0] * _PLACES
        return min(sum(places[place:end:_PLACES]) for place in found)

    def less(self, *key: str) -> None:
        """Count one less."""
        places = self._memory.places
        for place in self._find(key):
            places[self._base + place] -= 1

    def has(self, *key: str) -> bool:
        """Return whether there may be any."""
        places, end = self._memory.places, self._memory.head[0] * _PLACES
        return all(any(places[place:end:_PLACES]) for place in self._find(key))

    def _find(self, key: tuple[str, ...]) -> list[int]:
        digest = blake2b("\0".join(key).encode(), digest_size=_ROWS.size, key=self._key).digest()
        return [number & _MASK for number in _ROWS.unpack(digest)]

    # What spools have on disk; threads call

    @property
    def own_octets(self) -> int:
        """Octets that this process has taken."""
        return self._memory.disk[self._column]

    def take(self, octets: int, limit_octets: int) -> bool:
        """Take so much more, unless it would be more than the limit; return whether it was taken."""
        disk = self._memory.disk
        with self._lock:
            disk[self._column] += octets
            fits = sum(disk) <= limit_octets
            if not fits:
                disk[self._column] -= octets
        return fits

    def give_back(self, octets: int) -> None:
        """Give back what was taken."""
        with self._lock:
            self._memory.disk[self._column] -= octets
