from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from smtpproxy.net.merging import MAX_SUSPECTED, merge_sessions, merge_status, silent_worker

TIMES = st.sampled_from([f"2026-05-01T12:00:0{second}.000+00:00" for second in range(6)])
NUMBERS = st.integers(0, 50)
COUNTERS = st.fixed_dictionaries(
    {"begun": NUMBERS, "handshakes": st.dictionaries(st.sampled_from(["client", "upstream"]), NUMBERS)}
)
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
RELOADS = st.none() | st.builds(
    lambda time, mistakes: {"time": time, "mistakes": mistakes, "left_out": 0},
    TIMES,
    st.lists(st.sampled_from(["one", "two"]), max_size=2),
)
LISTENING = st.lists(
    st.sampled_from([{"address": f"[::]:{port}", "kind": "smtp"} for port in (25, 587)]), unique_by=str
)
STATUSES = st.builds(
    lambda **fields: merge_status([fields]),
    version=st.sampled_from(["1", "2"]),
    pid=NUMBERS,
    state=st.sampled_from(["running", "draining", "stopping"]),
    exits_when_drained=st.booleans(),
    since=TIMES,
    uptime=NUMBERS,
    generation=st.builds(lambda number, time: {"number": number, "loaded": time}, NUMBERS, TIMES),
    last_reload=RELOADS,
    listening=LISTENING,
    policies=POLICIES,
    counters=COUNTERS,
    blocked=NUMBERS,
    suspected=SUSPECTED,
    workers=st.builds(lambda pid: [{"pid": pid, "answers": True}], NUMBERS),
) | st.builds(silent_worker, NUMBERS, st.just("no answer"))
SESSIONS = st.lists(
    st.builds(lambda time, number: {"since": time, "session": f"s{number}"}, TIMES, st.integers(1, 10_000)), max_size=6
)
ANSWERS = st.builds(
    lambda found, left_out: merge_sessions([{"sessions": found, "left_out": left_out}], 4), SESSIONS, NUMBERS
)


@given(STATUSES, STATUSES, STATUSES)
def test_statuses_may_be_merged_in_any_grouping(one: Any, two: Any, three: Any) -> None:  # noqa: ANN401
    whole = merge_status([one, two, three])
    assert merge_status([merge_status([one, two]), three]) == whole
    assert merge_status([one, merge_status([two, three])]) == whole
    assert merge_status([one]) == one


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
        "state": "running",
        "since": f"2026-05-01T12:00:{pid:02}.000+00:00",
        "counters": {"sessions_begun": pid, "tls_handshakes": {"client": {"full": pid}}},
        "policies": [{"name": "Out", "enabled": True, "sessions": pid}],
        "workers": [{"pid": pid, "answers": True}],
    }
    return {**usual, **fields}


def test_the_gateway_is_what_its_workers_are_together() -> None:
    merged = merge_status([worker(2), worker(1), silent_worker(3, "no answer for 10 s")])
    assert merged["counters"] == {"sessions_begun": 3, "tls_handshakes": {"client": {"full": 3}}}
    assert merged["policies"] == [{"name": "Out", "enabled": True, "sessions": 3}]
    assert merged["since"].endswith("12:00:01.000+00:00")
    assert merged["workers"][2] == {"pid": 3, "answers": False, "because": "no answer for 10 s"}


def test_one_worker_that_goes_further_counts_for_all() -> None:
    assert merge_status([worker(1), worker(2, state="draining")])["state"] == "draining"
    assert merge_status([worker(1, state="stopping"), worker(2, state="draining")])["state"] == "stopping"


def test_the_generation_is_the_one_that_is_in_force_everywhere() -> None:
    found = merge_status([worker(n, generation={"number": number, "loaded": "t"}) for n, number in ((1, 7), (2, 6))])
    assert found["generation"]["number"] == 6


def test_a_refused_reload_is_not_hidden_by_one_that_was_done_at_the_same_time() -> None:
    reloads = [{"time": "t", "mistakes": mistakes, "left_out": 0} for mistakes in ([], ["wrong"])]
    found = merge_status([worker(number, last_reload=reload) for number, reload in enumerate(reloads)])
    assert found["last_reload"]["mistakes"] == ["wrong"]


def test_of_each_client_and_destination_the_latest_suspicion_is_told() -> None:
    def suspected(second: int, port: int, upstream: str = "mx.test:25") -> dict[str, str]:
        return {"time": f"t{second:02}", "client": f"192.0.2.1:{port}", "upstream": upstream, "session": str(port)}

    found = merge_status([worker(1, suspected=[suspected(1, 1)]), worker(2, suspected=[suspected(2, 2)])])
    assert found["suspected"] == [suspected(2, 2)]
    many = [suspected(number, 1, f"mx-{number}.test:25") for number in range(MAX_SUSPECTED + 5)]
    told = merge_status([worker(1, suspected=many)])["suspected"]
    assert [each["time"] for each in told] == [f"t{second:02}" for second in range(14, 4, -1)]


def test_the_oldest_sessions_are_kept() -> None:
    def answer(*seconds: int) -> dict[str, Any]:
        return {"sessions": [{"since": f"t{each}", "session": "s"} for each in seconds], "left_out": 1}

    found = merge_sessions([answer(1, 4), answer(2, 3)], 3)
    assert [each["since"] for each in found["sessions"]] == ["t1", "t2", "t3"]
    assert found["left_out"] == 3
