from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from smtpproxy.net.merging import MAX_SUSPECTED, merge_sessions, merge_workers, silent_worker

TIMES = st.sampled_from([f"2026-05-01T12:00:0{second}.000+00:00" for second in range(6)])
NUMBERS = st.integers(0, 50)
POLICIES = st.lists(
    st.builds(lambda name, count: {"name": name, "enabled": True, "sessions": count}, st.sampled_from("abc"), NUMBERS),
    max_size=3,
    unique_by=lambda each: str(each["name"]),
)
SUSPECTED = st.lists(
    st.builds(
        lambda time, client, upstream, number: {
            "time": time,
            "client": f"{client}:{number}",
            "upstream": upstream,
            "session": f"s{number}",
        },
        TIMES,
        st.sampled_from(["192.0.2.1", "192.0.2.2"]),
        st.sampled_from([f"mx-{number}.test:25" for number in range(9)]),
        st.integers(1, 10_000),
    ),
    max_size=9,
)
LISTENING = st.lists(
    st.sampled_from([{"address": f"[::]:{port}", "kind": "smtp"} for port in (25, 587)]), unique_by=str
)
STATUSES = st.builds(
    lambda **fields: merge_workers([fields]),
    listening=LISTENING,
    policies=POLICIES,
    suspected=SUSPECTED,
    workers=st.builds(lambda pid: [{"pid": pid, "answers": True}], NUMBERS),
) | st.builds(lambda pid: merge_workers([silent_worker(pid, "no answer")]), NUMBERS)
SESSIONS = st.lists(
    st.builds(lambda time, number: {"since": time, "session": f"s{number}"}, TIMES, st.integers(1, 10_000)), max_size=6
)
ANSWERS = st.builds(
    lambda found, left_out: merge_sessions([{"sessions": found, "left_out": left_out}], 4), SESSIONS, NUMBERS
)


@given(STATUSES, STATUSES, STATUSES)
def test_statuses_may_be_merged_in_any_grouping(one: Any, two: Any, three: Any) -> None:  # noqa: ANN401
    whole = merge_workers([one, two, three])
    assert merge_workers([merge_workers([one, two]), three]) == whole
    assert merge_workers([one, merge_workers([two, three])]) == whole
    assert merge_workers([one]) == one


@given(ANSWERS, ANSWERS, ANSWERS)
def test_sessions_may_be_merged_in_any_grouping(one: Any, two: Any, three: Any) -> None:  # noqa: ANN401
    whole = merge_sessions([one, two, three], 4)
    assert merge_sessions([merge_sessions([one, two], 4), three], 4) == whole
    assert merge_sessions([one, merge_sessions([two, three], 4)], 4) == whole
    assert merge_sessions([one], 4) == one
    count = sum(len(each["sessions"]) + each["left_out"] for each in (one, two, three))
    assert len(whole["sessions"]) + whole["left_out"] == count


def worker(pid: int, **fields: object) -> dict[str, Any]:
    usual = {
        "pid": pid,
        "authorities": [{"authority": "proxy", "sha256": "aa"}],
        "listening": [{"address": "[::]:25", "kind": "smtp"}],
        "policies": [{"name": "Out", "enabled": True, "sessions": pid}],
        "suspected": [],
        "workers": [{"pid": pid, "answers": True}],
    }
    return {**usual, **fields}


def test_the_gateway_is_what_its_workers_are_together() -> None:
    assert merge_workers([worker(2), worker(1), silent_worker(3, "no answer for 10 s")]) == {
        "authorities": [{"authority": "proxy", "sha256": "aa"}],
        "listening": [{"address": "[::]:25", "kind": "smtp"}],
        "policies": [{"name": "Out", "enabled": True, "sessions": 3}],
        "suspected": [],
        "workers": [
            {"pid": 2, "answers": True},
            {"pid": 1, "answers": True},
            {"pid": 3, "answers": False, "because": "no answer for 10 s"},
        ],
    }


def test_a_gateway_without_workers_listens_nowhere() -> None:
    assert merge_workers([]) == {"authorities": [], "listening": [], "policies": [], "suspected": [], "workers": []}


def test_of_each_client_and_destination_the_latest_suspicion_is_told() -> None:
    def suspected(second: int, port: int, upstream: str = "mx.test:25") -> dict[str, str]:
        return {"time": f"t{second:02}", "client": f"192.0.2.1:{port}", "upstream": upstream, "session": str(port)}

    found = merge_workers([worker(1, suspected=[suspected(1, 1)]), worker(2, suspected=[suspected(2, 2)])])
    assert found["suspected"] == [suspected(2, 2)]
    many = [suspected(number, 1, f"mx-{number}.test:25") for number in range(MAX_SUSPECTED + 5)]
    told = merge_workers([worker(1, suspected=many)])["suspected"]
    assert [each["time"] for each in told] == [f"t{second:02}" for second in range(14, 4, -1)]


def test_the_oldest_sessions_are_kept() -> None:
    def answer(*seconds: int) -> dict[str, Any]:
        return {"sessions": [{"since": f"t{each}", "session": "s"} for each in seconds], "left_out": 1}

    found = merge_sessions([answer(1, 4), answer(2, 3)], 3)
    assert [each["since"] for each in found["sessions"]] == ["t1", "t2", "t3"]
    assert found["left_out"] == 3
