"""Mail under way from two senders of the client network: a real queue, and threads that try again at once."""

from __future__ import annotations

import re
import uuid
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from tests.integration.lab.ports import wait_until
from tests.integration.lab.postfix import DOMAIN, NAME
from tests.integration.lab.postfix_instance import Place
from tests.integration.lab.postfix_sender import PostfixSender, Relay
from tests.integration.network.retrying import Retrying
from tests.integration.network.topology import ONE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.integration.lab.postfix import Postfix
    from tests.integration.network.clients import Client

BATCH: Final = 15
_LIMIT_S: Final = 40.0
_QUEUE: Final = """\
maximal_backoff_time = 2s
queue_run_delay = 1s
default_destination_concurrency_limit = 4
"""
_STEPS: Final = ("connect", "starttls", "helo", "mail", "rcpt", "data_init", "data_xfer", "data_done", "quit")
"""Whatever Postfix has a time limit for."""

_DOUBTFUL: Final = re.compile(r" (\w+): .*while sending end of data -- message may be sent more than once")


@dataclass
class Load:
    """Both senders.

    Args:
        server: where their mail is to arrive.
        queue: the real one.
        small: the other one.
        mark: begins the name of each message, which is its text.
    """

    server: Postfix
    queue: PostfixSender
    small: Retrying
    mark: str
    _queued: dict[str, str] = field(default_factory=dict)

    def go_on(self) -> None:
        """Give the queue a batch, and return when a few messages of either sender have been taken since."""
        sent, taken = self._sent, len(self.small.taken)
        for _ in range(BATCH):
            name = f"{self.mark}-queue-{len(self._queued)}"
            text = f"From: sender@client.test\r\nSubject: test\r\n\r\n{name}\r\n"
            self._queued[self.queue.send([f"recipient@{DOMAIN}"], text.encode())] = name
        wait_until(lambda: self._sent > sent and len(self.small.taken) > taken + 3, "both are at work", _LIMIT_S)

    @property
    def _sent(self) -> int:
        return self.queue.log.count("status=sent")

    def end(self) -> None:
        """Return when all mail has been sent and has arrived."""
        self.small.end()
        wait_until(lambda: all(f"{each}: removed" in self.queue.log for each in self._queued), "it is empty", _LIMIT_S)
        wait_until(self._is_delivered, "the server has delivered", _LIMIT_S)

    def _is_delivered(self) -> bool:
        log = self.server.log
        return log.count("(queue active)") == log.count(": removed")

    @property
    def sent(self) -> set[str]:
        """The messages that the senders got rid of."""
        return {*self._queued.values(), *self.small.taken}

    @property
    def doubtful(self) -> set[str]:
        """Those of which a sender has said that they may arrive more than once."""
        return {*(self._queued[each] for each in _DOUBTFUL.findall(self.queue.log)), *self.small.doubtful}

    @property
    def failures(self) -> tuple[int, int]:
        """How often either sender had to try again."""
        return self.queue.log.count("status=deferred"), len(self.small.failures)

    @property
    def arrived(self) -> Counter[str]:
        """How often each message has come to the server."""
        files = (self.server.root / "mail" / "inbox" / "new").iterdir()
        texts = (each.read_text().rpartition("\n\n")[2].strip() for each in files)
        return Counter(text for text in texts if text.startswith(self.mark))


@contextmanager
def under_load(server: Postfix, client: Client, trusted: bytes, patience_s: int) -> Iterator[Load]:
    """Have mail go from a client's machine to a server, by IPv4 and IPv6, by senders that wait so long for a reply."""
    limits = "".join(f"smtp_{step}_timeout = {patience_s}s\n" for step in _STEPS)
    mark = uuid.uuid4().hex
    relay = Relay(25, "starttls", trusted, NAME, host=ONE[4], backoff_s=1)
    queue = PostfixSender(relay, Place(entered=client.machine.entered, main=_QUEUE + limits))
    try:
        with Retrying(client, ONE[6], mark, ("starttls", "smtps", "clear"), patience_s) as small:
            yield Load(server, queue, small, mark)
    finally:
        queue.close()
