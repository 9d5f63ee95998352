"""Read a connection's PROXY header, of either version, and nothing behind it.

Source: HAProxy's doc/proxy-protocol.txt s2 (the header comes first), s2.2 (how versions are told apart).
"""

from __future__ import annotations

from smtpproxy.proxy_header import version_1, version_2
from smtpproxy.proxy_header.header import Header, HeaderError


class HeaderReader:
    """Takes a connection's first octets, cut anywhere, until the header is whole.

    Attributes:
        wanted: how many octets of the header are still to come at least; no more than these may be fed, so that
            nothing that stands behind the header is ever taken for a part of it.
    """

    __slots__ = ("_octets", "wanted")

    def __init__(self) -> None:
        self._octets = bytearray()
        self.wanted = len(b"PROXY UNKNOWN\r\n")  # the shortest header there is

    @property
    def has_begun(self) -> bool:
        """Whether any octet has come."""
        return bool(self._octets)

    def feed(self, data: bytes) -> Header | None:
        """Take the next octets; return the header once it is whole, ``None`` before.

        Raises:
            HeaderError: this is no header, told as soon as that shows.
            ValueError: these are more than were wanted.
        """
        if len(data) > self.wanted:
            raise ValueError("more octets than were wanted")
        self._octets += data
        octets = bytes(self._octets)
        if version_2.SIGNATURE.startswith(octets[: len(version_2.SIGNATURE)]):
            return self._read_binary(octets)
        if version_1.PREFIX.startswith(octets[: len(version_1.PREFIX)]):
            return self._read_line(octets)
        raise HeaderError("proxy-header-missing")

    def _read_binary(self, octets: bytes) -> Header | None:
        length = version_2.FIXED_OCTETS
        if len(octets) >= length:
            length = version_2.length_of(octets[:length])
        self.wanted = length - len(octets)
        return None if self.wanted else version_2.parse_binary(octets)

    def _read_line(self, octets: bytes) -> Header | None:
        if octets.endswith(b"\r\n"):
            self.wanted = 0
            return version_1.parse_line(octets)
        self.wanted = version_1.octets_to_come(octets)
        return None
