"""A list of a hundred thousand entries costs a message what one of ten does."""

from __future__ import annotations

from benchmarks.list_lookup import MESSAGES, Gateway, compare, make_messages


def test_the_size_of_a_list_costs_a_message_nothing() -> None:
    few, many = compare(rounds=10)
    assert many.message_us < 1.5 * few.message_us  # 1.03 on a quiet machine; a walk through it would be 10,000


def test_what_is_measured_is_decided_by_the_list() -> None:
    decided = Gateway.of(20).decided(make_messages())
    assert decided.count("to") == MESSAGES // 10
    assert decided.count("default") == 2 * MESSAGES - MESSAGES // 10
