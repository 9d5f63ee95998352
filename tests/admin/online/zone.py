"""A name server in a thread of its own, for commands that run as programs."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import TYPE_CHECKING

import dns.flags
import dns.message
import dns.rcode
import dns.rrset

from tests.integration.lab.ports import HOST

if TYPE_CHECKING:
    from collections.abc import Mapping

_SOA = "ns.test. hostmaster.test. 1 3600 600 86400 120"


class Zone:
    """Answers from a table over UDP, securely; what does not stand there is securely absent.

    Args:
        table: records by name and type.
        silent: whether nothing at all is answered.
    """

    def __init__(self, table: Mapping[tuple[str, str], tuple[str, ...]], *, silent: bool = False) -> None:
        self._table = dict(table)
        self._silent = silent
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((HOST, 0))
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    @property
    def port(self) -> int:
        return int(self._socket.getsockname()[1])

    def says(self, name: str, kind: str, *records: str) -> None:
        """Answer so from now on."""
        self._table[name, kind] = records

    def close(self) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last, contextlib.suppress(OSError):
            last.sendto(b"", self._socket.getsockname())
        self._thread.join()
        self._socket.close()

    def _serve(self) -> None:
        while True:
            datagram, client = self._socket.recvfrom(65535)
            if not datagram:
                return
            if not self._silent:
                self._socket.sendto(self._answer(dns.message.from_wire(datagram)), client)

    def _answer(self, query: dns.message.Message) -> bytes:
        response = dns.message.make_response(query)
        response.flags |= dns.flags.RA | dns.flags.AD
        question = query.question[0]
        name, kind = question.name.to_text(omit_final_dot=True).lower(), dns.rdatatype.to_text(question.rdtype)
        records = self._table.get((name, kind), ())
        if records:
            response.answer.append(dns.rrset.from_text(question.name, 300, "IN", kind, *records))
        else:
            response.authority.append(dns.rrset.from_text(question.name.parent(), 120, "IN", "SOA", _SOA))
            if all(known != name for known, _ in self._table):
                response.set_rcode(dns.rcode.NXDOMAIN)
        return response.to_wire()
