"""What a fault may do to mail, and what it may not.

Source: RFC 5321 s4.2.5 (the 250 passes responsibility); RFC 1047 (the one window in which a cut doubles a message).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tests.faults.receiver import Accepted


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of the messages of one case.

    Args:
        sent: each message's content by its sender's address.
        confirmed: those whose 250 the sender got before or in spite of the fault.
        first: what upstream took of the sender's first session.
        second: what it took when the sender had sent again whatever was not confirmed.
        ambiguous: those whose delivery the proxy has on record as ambiguous; ``None`` if it could not write any more.
        unheard: those whose 250 may have been on its way when the sender reset the connection.
    """

    sent: Mapping[bytes, bytes]
    confirmed: frozenset[bytes]
    first: Sequence[Accepted]
    second: Sequence[Accepted]
    ambiguous: frozenset[bytes] | None
    unheard: frozenset[bytes] = frozenset()


def violations(outcome: Outcome) -> Iterator[str]:
    """Yield each rule that is broken, in words."""
    yield from _damaged(outcome)
    taken = Counter(each.sender for each in outcome.first)
    in_all = taken + Counter(each.sender for each in outcome.second)
    for sender in outcome.sent:
        name = sender.decode()
        if not in_all[sender]:
            yield f"{name} is lost"
        if taken[sender] > 1:
            yield f"{name} is doubled within one session"
        if sender in outcome.confirmed:
            yield from _confirmed(name, taken[sender], in_all[sender])
        elif in_all[sender] > 1 + taken[sender]:
            yield f"{name} is doubled by the retry alone"
        yield from _on_record(outcome, sender, taken[sender])


def _damaged(outcome: Outcome) -> Iterator[str]:
    for each in (*outcome.first, *outcome.second):
        if outcome.sent.get(each.sender) != each.content:
            yield f"upstream took what nobody sent: {each.sender!r} {each.content!r}"


def _confirmed(name: str, taken: int, in_all: int) -> Iterator[str]:
    if not taken:
        yield f"{name} was confirmed, and upstream never took it"
    if in_all > 1:
        yield f"{name} was confirmed, and is doubled"


def _on_record(outcome: Outcome, sender: bytes, taken: int) -> Iterator[str]:
    """A message that upstream took and the sender knows nothing of is in the window, and on record as such."""
    if outcome.ambiguous is None:
        return
    ambiguous = sender in outcome.ambiguous
    if sender in outcome.confirmed and ambiguous:
        yield f"{sender.decode()} was confirmed, and is on record as ambiguous"
    if taken and not ambiguous and sender not in outcome.confirmed | outcome.unheard:
        yield f"{sender.decode()} may be doubled, and no record says so"
