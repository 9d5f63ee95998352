from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing

import pytest

from smtpproxy.endpoint import Endpoint
from smtpproxy.net.admission import Admission
from smtpproxy.net.loops import Loops
from smtpproxy.spool import SpoolBudget, SpoolFull
from smtpproxy.workers.shared_counts import MAX_COLUMNS, Columns, NoColumn, SharedCounts
from tests.net.test_admission import action


class Fleet:
    """Workers' counts, as each would have them in its own process."""

    def __init__(self) -> None:
        self.columns = Columns()
        self._stack = ExitStack()
        self._stack.callback(self.columns.close)

    def worker(self) -> SharedCounts:
        counts = SharedCounts(self.columns.descriptor, self.columns.take())
        return self._stack.enter_context(closing(counts))

    def close(self) -> None:
        self._stack.close()


@pytest.fixture
def fleet() -> Iterator[Fleet]:
    with closing(Fleet()) as fleet:
        yield fleet


def test_what_one_counts_the_others_see(fleet: Fleet) -> None:
    one, two = fleet.worker(), fleet.worker()
    assert [one.more("a"), two.more("a"), one.more("a"), two.more("b")] == [1, 2, 3, 1]
    assert two.has("a")
    one.less("a")
    one.less("a")
    assert two.has("a")
    two.less("a")
    assert not one.has("a")
    assert one.has("b")


def test_words_of_a_key_are_kept_apart(fleet: Fleet) -> None:
    counts = fleet.worker()
    counts.more("ab", "c")
    assert not counts.has("a", "bc")
    assert not counts.has("abc")


def test_one_that_is_gone_leaves_nothing_behind(fleet: Fleet) -> None:
    one, two = fleet.worker(), fleet.worker()
    for counts in (one, two):
        counts.more("a")
        assert counts.take(10, 100)
    fleet.columns.give_back(0)
    assert two.more("a") == 2
    assert two.take(80, 90)
    third = fleet.worker()
    assert third.own_octets == 0
    assert third.more("a") == 3


def test_a_process_that_is_killed_leaves_its_counts_to_be_cleared(fleet: Fleet) -> None:
    ours, column, memory = fleet.worker(), fleet.columns.take(), fleet.columns.descriptor
    program = (
        "import os, signal\n"
        "from smtpproxy.workers.shared_counts import SharedCounts\n"
        f"counts = SharedCounts({memory}, {column})\n"
        "counts.more('a'), counts.more('a'), counts.take(7, 100)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], pass_fds=[memory], check=False, timeout=60)
    assert ended.returncode == -9
    assert ours.more("a") == 3
    fleet.columns.give_back(column)
    assert ours.more("a") == 2
    assert ours.take(100, 100)


def test_there_are_only_so_many(fleet: Fleet) -> None:
    taken = [fleet.columns.take() for _ in range(MAX_COLUMNS)]
    assert taken == list(range(MAX_COLUMNS))
    with pytest.raises(NoColumn) as raised:
        fleet.columns.take()
    assert raised.value.strerror == "too many workers at a time"
    fleet.columns.give_back(77)
    assert fleet.columns.take() == 77


def test_the_last_column_counts_as_the_first_does(fleet: Fleet) -> None:
    for _ in range(MAX_COLUMNS - 1):
        fleet.columns.take()
    last = fleet.worker()
    assert [last.more("a"), last.more("a")] == [1, 2]
    assert last.take(5, 10)
    assert not last.take(6, 10)


def test_many_keys_seem_more_only_now_and_then(fleet: Fleet) -> None:
    one, two = fleet.worker(), fleet.worker()
    seen = [(one, two)[number % 2].more(str(number)) for number in range(10_000)]
    assert min(seen) == 1
    assert sum(each > 1 for each in seen) <= 5  # one is to be expected in ten tries
    for number in range(10_000):
        (one, two)[number % 2].less(str(number))
    assert not any(one.has(str(number)) for number in range(1000))


def test_whoever_does_not_know_the_gateway_does_not_know_where_a_key_is(fleet: Fleet) -> None:
    with closing(Fleet()) as other:
        ours, theirs = fleet.worker(), other.worker()
        assert ours._find(("a",)) != theirs._find(("a",))
        assert ours._find(("a",)) == fleet.worker()._find(("a",))


def test_the_memory_keeps_its_size(fleet: Fleet) -> None:
    with pytest.raises(PermissionError):
        os.ftruncate(fleet.columns.descriptor, 10)


def test_a_limit_of_sessions_is_one_for_all(fleet: Fleet) -> None:
    workers = [Admission(fleet.worker()) for _ in range(3)]
    outcomes = [workers[number % 3].admit(action(sessions=7), f"192.0.2.{number}") for number in range(8)]
    assert outcomes == [None] * 7 + ["too-many-sessions"]
    workers[1].release(action(), "192.0.2.1")
    assert workers[2].admit(action(sessions=7), "192.0.2.8") is None


def test_a_limit_of_a_source_is_one_for_all(fleet: Fleet) -> None:
    one, two = Admission(fleet.worker()), Admission(fleet.worker())
    source = "2001:db8::1"
    assert [each.admit(action(per_source=2), source) for each in (one, two, one, two)] == [
        None,
        None,
        "too-many-sessions-of-source",
        "too-many-sessions-of-source",
    ]
    assert one.admit(action(per_source=2, sessions=3), "2001:db8::2") is None
    two.release(action(), source)
    assert one.admit(action(per_source=2, sessions=3), source) is None


def test_what_one_dials_is_a_loop_where_another_accepts_it(fleet: Fleet) -> None:
    one, two = (Loops(fleet.worker(), lambda _local, _remote: True) for _ in range(2))
    made = Endpoint("192.0.2.1", 40000), Endpoint("198.51.100.1", 25)
    one.begin(made)
    assert two.made(*made)
    assert not two.made(made[0], Endpoint("198.51.100.1", 465))
    one.end(made)
    assert not two.made(*made)


def test_what_one_is_about_to_dial_may_be_a_loop_where_another_accepts_it(fleet: Fleet) -> None:
    one, two = Loops(fleet.worker()), Loops(fleet.worker())
    server = Endpoint("198.51.100.1", 25)
    with one.beginning(server):
        assert two.is_unsure(server)
        assert not two.is_unsure(Endpoint("198.51.100.1", 465))
    assert not two.is_unsure(server)


def test_what_spools_may_have_on_disk_is_one_for_all(fleet: Fleet) -> None:
    one, two = (SpoolBudget(100, fleet.worker()) for _ in range(2))
    one.take(60)
    with pytest.raises(SpoolFull):
        two.take(41)
    two.take(40)
    assert (one.taken_octets, two.taken_octets) == (60, 40)
    one.give_back(60)
    two.take(60)
