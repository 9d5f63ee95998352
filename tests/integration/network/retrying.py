"""A sender that tries until a message is taken, and knows which ones may have arrived more than once.

Source: RFC 1047: a connection that breaks off behind the final dot leaves the sender without knowing.
"""

from __future__ import annotations

import itertools
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Self

from tests.integration.lab.postfix import DOMAIN

if TYPE_CHECKING:
    import smtplib

    from tests.integration.lab.client import Mode
    from tests.integration.network.clients import Client

_PAUSE_S: Final = 0.1
_MESSAGES: Final = 3
"""Of one connection."""


@dataclass
class Retrying:
    """Sends messages from several threads.

    Args:
        client: dials.
        host: the server.
        mark: begins the name of each message.
        ways: how each thread sends.
        patience_s: for each reply; that of a gateway which has lost the route never comes.

    Attributes:
        taken: the names of messages, each a word of its text, for which a reply said so.
        doubtful: of messages that were not answered behind their final dot, at one try or more.
        failures: why tries failed.
    """

    client: Client
    host: str
    mark: str
    ways: tuple[Mode, ...]
    patience_s: float
    taken: list[str] = field(default_factory=list)
    doubtful: set[str] = field(default_factory=set)
    failures: list[str] = field(default_factory=list)
    _ended: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Self:
        self._threads = [
            threading.Thread(target=self._work, args=(f"{self.mark}-{number}", way))
            for number, way in enumerate(self.ways)
        ]
        for each in self._threads:
            each.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        """Have each thread end when its messages are taken."""
        self._ended.set()
        for each in self._threads:
            each.join(60)

    def _work(self, prefix: str, way: Mode) -> None:
        numbers = itertools.count(1)
        while not self._ended.is_set():
            waiting = [f"{prefix}-{next(numbers)}" for _ in range(_MESSAGES)]
            while waiting:
                try:
                    self._try(way, waiting)
                except OSError as error:
                    self.failures.append(f"{waiting[0]}: {error!r}")
                    self._ended.wait(_PAUSE_S)

    def _try(self, way: Mode, waiting: list[str]) -> None:
        with self.client.connect(self.host, way, self.patience_s) as connection:
            while waiting:
                self._hand_over(connection, waiting[0])
                self.taken.append(waiting.pop(0))

    def _hand_over(self, connection: smtplib.SMTP, name: str) -> None:
        _expect(connection.mail("sender@client.test"), 250)
        _expect(connection.rcpt(f"recipient@{DOMAIN}"), 250)
        _expect(connection.docmd("DATA"), 354)
        connection.send(f"From: sender@client.test\r\nSubject: test\r\n\r\n{name}\r\n")
        is_new = name not in self.doubtful
        self.doubtful.add(name)
        connection.send(".\r\n")
        _expect(connection.getreply(), 250)
        if is_new:
            self.doubtful.discard(name)


def _expect(reply: tuple[int, bytes], code: int) -> None:
    if reply[0] != code:
        raise OSError(reply)
