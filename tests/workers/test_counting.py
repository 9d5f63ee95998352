from __future__ import annotations

from smtpproxy.workers.counting import FleetFigures, Numbers, total


def figures(begun: int, running: int) -> Numbers:
    return {
        "counters": {
            "begun": begun,
            "pauses": 1,
            "handshakes": {"client full": begun, "client resumed": 0},
            "turned_away": {"no-policy": 1},
            "hits": {"leaves": begun},
            "misses": {"leaves": 1},
        },
        "levels": {"running": running, "spooled": 10, "sizes": {"leaves": 1}, "limits": {"leaves": 100}},
    }


def test_numbers_are_added_name_by_name() -> None:
    assert total([]) == {}
    assert total([{"a": 1, "b": {"c": 2}}, {"b": {"c": 3, "d": 4}}]) == {"a": 1, "b": {"c": 5, "d": 4}}


def test_all_workers_are_one() -> None:
    fleet = FleetFigures(lambda: [figures(3, 1), figures(4, 2)])
    assert (fleet.sessions_begun, fleet.sessions_running, fleet.spooled_octets) == (7, 3, 20)
    assert fleet.tally.handshakes == {("client", "full"): 7, ("client", "resumed"): 0}
    assert fleet.turned_away == {"no-policy": 2}
    assert fleet.accept_pauses == 2
    leaves = fleet.caches["leaves"]
    assert (leaves.size, leaves.limit, leaves.hits, leaves.misses) == (2, 200, 7, 2)


def test_what_is_gone_counts_on_and_is_no_level_any_more() -> None:
    there = [figures(3, 1), figures(4, 2)]
    fleet = FleetFigures(lambda: there)
    fleet.depart(there.pop())
    assert (fleet.sessions_begun, fleet.sessions_running) == (7, 1)
    there.append(figures(0, 0))
    assert (fleet.sessions_begun, fleet.sessions_running) == (7, 1)
    assert fleet.caches["leaves"].hits == 7


def test_nothing_is_there_before_a_worker_is() -> None:
    fleet = FleetFigures(list)
    assert (fleet.sessions_begun, fleet.caches, fleet.tally.sessions) == (0, {}, {False: 0, True: 0})
