"""The judge itself: each rule has a case that breaks it, and a fair outcome breaks none."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.faults.judge import Outcome, violations
from tests.faults.receiver import Accepted

ONE, TWO = b"one@client.test", b"two@client.test"
TAKEN_ONE, TAKEN_TWO = Accepted(ONE, b"1\r\n"), Accepted(TWO, b"2\r\n")
UNDISTURBED = Outcome(
    sent={ONE: b"1\r\n", TWO: b"2\r\n"},
    confirmed=frozenset({ONE, TWO}),
    first=[TAKEN_ONE, TAKEN_TWO],
    second=[],
    ambiguous=frozenset(),
)
SENT_AGAIN = replace(UNDISTURBED, confirmed=frozenset({ONE}), first=[TAKEN_ONE], second=[TAKEN_TWO])
IN_THE_WINDOW = replace(SENT_AGAIN, first=[TAKEN_ONE, TAKEN_TWO], ambiguous=frozenset({TWO}))


@pytest.mark.parametrize(
    "outcome",
    [
        UNDISTURBED,
        SENT_AGAIN,
        IN_THE_WINDOW,
        replace(IN_THE_WINDOW, ambiguous=None),  # killed: nobody could write
        replace(IN_THE_WINDOW, ambiguous=frozenset(), unheard=frozenset({TWO})),
        replace(SENT_AGAIN, ambiguous=frozenset({TWO})),  # the dot left and did not arrive
    ],
)
def test_what_may_be(outcome: Outcome) -> None:
    assert list(violations(outcome)) == []


@pytest.mark.parametrize(
    ("outcome", "words"),
    [
        (replace(UNDISTURBED, first=[TAKEN_ONE]), "never took it"),
        (replace(SENT_AGAIN, second=[]), "is lost"),
        (replace(UNDISTURBED, first=[TAKEN_ONE, TAKEN_ONE, TAKEN_TWO]), "doubled within one session"),
        (replace(UNDISTURBED, second=[TAKEN_ONE]), "was confirmed, and is doubled"),
        (replace(SENT_AGAIN, second=[TAKEN_TWO, TAKEN_TWO]), "doubled by the retry alone"),
        (replace(UNDISTURBED, first=[Accepted(ONE, b"1"), TAKEN_TWO]), "what nobody sent"),
        (replace(UNDISTURBED, first=[TAKEN_ONE, TAKEN_TWO, Accepted(b"", b"x")]), "what nobody sent"),
        (replace(IN_THE_WINDOW, ambiguous=frozenset()), "no record says so"),
        (replace(IN_THE_WINDOW, ambiguous=frozenset(), unheard=frozenset({ONE})), "no record says so"),
        (replace(UNDISTURBED, ambiguous=frozenset({ONE})), "is on record as ambiguous"),
    ],
)
def test_what_may_not_be(outcome: Outcome, words: str) -> None:
    assert any(words in broken for broken in violations(outcome))
