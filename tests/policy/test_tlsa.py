from __future__ import annotations

import pytest

from smtpproxy.policy.knowledge import Tlsa
from smtpproxy.policy.tlsa import MAX_RECORDS, usable

SHA256, SHA512 = b"a" * 32, b"b" * 64


@pytest.mark.parametrize("usage", [2, 3])
@pytest.mark.parametrize("selector", [0, 1])
@pytest.mark.parametrize(("matching", "data"), [(0, b"anything"), (1, SHA256), (2, SHA512)])
def test_records_of_both_usages_selectors_and_all_matchings_are_usable(
    usage: int, selector: int, matching: int, data: bytes
) -> None:
    record = Tlsa(usage, selector, matching, data)
    assert usable((record,)) == (record,)


@pytest.mark.parametrize(
    "record",
    [
        Tlsa(0, 0, 1, SHA256),  # PKIX-TA
        Tlsa(1, 0, 1, SHA256),  # PKIX-EE
        Tlsa(4, 0, 1, SHA256),
        Tlsa(255, 255, 255, SHA256),
        Tlsa(3, 2, 1, SHA256),
        Tlsa(3, 1, 3, SHA256),
        Tlsa(3, 1, 1, SHA512),
        Tlsa(3, 1, 2, SHA256),
        Tlsa(3, 1, 1, b""),
        Tlsa(3, 0, 0, b""),
        Tlsa(3, 0, 0, b"x" * 20000),
    ],
)
def test_other_records_are_not(record: Tlsa) -> None:
    assert usable((record,)) == ()


def test_of_two_digests_only_the_stronger_counts_in_each_usage_and_selector() -> None:
    weaker, stronger, full = Tlsa(3, 1, 1, SHA256), Tlsa(3, 1, 2, SHA512), Tlsa(3, 1, 0, b"key")
    other = Tlsa(3, 0, 1, SHA256)
    anchor = Tlsa(2, 1, 1, SHA256)
    assert usable((weaker, stronger, full, other, anchor)) == (stronger, full, other, anchor)


def test_a_stronger_digest_that_is_malformed_silences_no_weaker_one() -> None:
    weaker = Tlsa(3, 1, 1, SHA256)
    assert usable((weaker, Tlsa(3, 1, 2, b"short"))) == (weaker,)


def test_no_more_than_so_many_records_are_looked_at() -> None:
    records = tuple(Tlsa(3, 1, 1, bytes([number]) * 32) for number in range(MAX_RECORDS + 5))
    assert usable(records) == records[:MAX_RECORDS]
