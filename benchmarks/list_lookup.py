"""Measure what a list costs a message: the rules of both directions tried, at ten entries and at 100,000.

Run it with ``python -m benchmarks.list_lookup [ROUNDS]``. Both sizes take turns in one run, in CPU time, and the least
of the rounds counts. A message is what a session asks of the rules for it: at connect, at MAIL, at RCPT.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final

from smtpproxy.policy.entries import Entries
from smtpproxy.policy.matching import Parties, applicable
from smtpproxy.policy.rules import Audience, EncryptionRule, RecipientEncryption, SenderEncryption
from smtpproxy.smtp.addresses import Path, parse_forward_path

FEW: Final = 10
MANY: Final = 100_000
MESSAGES: Final = 1000
_KNOWN: Final = 10
"""One message in so many is for somebody in either list."""

_SHAPES: Final = (
    "d{n}.example",
    "d{n}.bank.example",
    "mail_{n}.d{n}.example",
    "*.w{n}.example",
    "joe.{n}@a{n}.example",
    "ann@b{n}.example",
    "10.1.{high}.{low}",
    "172.{high}.{low}.0/24",
    "2001:db8:{n:x}::/48",
    "2001:db9:{n:x}::1",
)
"""Of a mixed list; any number of its entries has networks of the same lengths."""


@dataclass
class Gateway:
    """The rules of an outbound and of an inbound policy that name one list, and the least cost of a message so far."""

    rules: tuple[tuple[EncryptionRule, ...], ...]
    message_us: float = float("inf")

    @classmethod
    def of(cls, count: int) -> Gateway:
        """Return a gateway whose list has ``count`` entries."""
        named = Entries.of(_entries(count))
        if named.count != count:
            raise AssertionError(f"{named.count} entries instead of {count}")
        default = EncryptionRule("default")
        to = EncryptionRule("to", recipient=RecipientEncryption.REQUIRED, audience=Audience(to=named))
        from_ = EncryptionRule("from", sender=SenderEncryption.REQUIRED, audience=Audience(from_=named))
        return cls(((to, default), (from_, default)))

    def measure(self, messages: list[Parties]) -> None:
        """Look every message up, and keep the cost if it is the least yet."""
        start = time.process_time()
        for message in messages:
            for rules in self.rules:
                applicable(rules, Parties(message.client, message.destination))
                applicable(rules, Parties(message.client, message.destination, message.sender))
                applicable(rules, message)
        self.message_us = min(self.message_us, (time.process_time() - start) / len(messages) * 1e6)

    def decided(self, messages: list[Parties]) -> list[str]:
        """Return the rules that decide, for each message and direction."""
        return [applicable(rules, message)[0].name for message in messages for rules in self.rules]


def compare(rounds: int) -> tuple[Gateway, Gateway]:
    """Measure few and many entries in turns."""
    few, many, messages = Gateway.of(FEW), Gateway.of(MANY), make_messages()
    if few.decided(messages) != many.decided(messages):
        raise AssertionError("the lists name different messages")
    for _ in range(rounds):
        few.measure(messages)
        many.measure(messages)
    return few, many


def make_messages() -> list[Parties]:
    """Return messages of different senders and recipients; some recipients are in every list, all else in none."""
    client, destination = ip_address("192.0.2.1"), ip_address("198.51.100.1")
    return [
        Parties(
            client,
            destination,
            _path(f"s{n}@from{n}.test"),
            _path("a@d0.example" if n % _KNOWN == 0 else f"r@to{n}.x.test"),
        )
        for n in range(MESSAGES)
    ]


def _path(text: str) -> Path:
    return parse_forward_path(f"<{text}>".encode())[0]


def _entries(count: int) -> list[str]:
    numbers = (divmod(place, len(_SHAPES)) for place in range(count))
    return [_SHAPES[shape].format(n=n, high=n >> 8, low=n & 255) for n, shape in numbers]


def main() -> None:
    """Print both costs and their ratio."""
    few, many = compare(int(sys.argv[1]) if len(sys.argv) > 1 else 30)
    for gateway, count in ((few, FEW), (many, MANY)):
        print(f"{count:7,} entries  {gateway.message_us:6.1f} us a message")
    print(f"ratio {many.message_us / few.message_us:.2f}")


if __name__ == "__main__":
    main()
