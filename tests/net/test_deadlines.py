from __future__ import annotations

from twisted.internet.task import Clock

from smtpproxy.net.deadlines import Deadlines
from smtpproxy.session.timers import Timer


class Watch:
    """A clock, deadlines on it, and what was due when."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.due: list[tuple[float, Timer]] = []
        self.deadlines = Deadlines(self.clock, lambda timer: self.due.append((self.clock.seconds(), timer)))

    def pass_until(self, seconds: int) -> None:
        while self.clock.seconds() < seconds:
            self.clock.advance(1)


def test_each_timer_is_due_once_at_its_time() -> None:
    watch = Watch()
    watch.deadlines.set(Timer.AGE, 30)
    watch.deadlines.set(Timer.CLIENT, 10)
    watch.deadlines.set(Timer.UPSTREAM, 20)
    watch.pass_until(60)
    assert watch.due == [(10, Timer.CLIENT), (20, Timer.UPSTREAM), (30, Timer.AGE)]


def test_setting_again_moves_the_deadline_later_and_earlier() -> None:
    watch = Watch()
    watch.deadlines.set(Timer.CLIENT, 10)
    watch.pass_until(5)
    watch.deadlines.set(Timer.CLIENT, 10)
    watch.deadlines.set(Timer.AGE, 40)
    watch.deadlines.set(Timer.AGE, 20)
    watch.pass_until(60)
    assert watch.due == [(15, Timer.CLIENT), (25, Timer.AGE)]


def test_a_timer_that_was_taken_away_is_never_due() -> None:
    watch = Watch()
    watch.deadlines.set(Timer.CLIENT, 10)
    watch.deadlines.set(Timer.CLIENT, None)
    watch.pass_until(20)
    assert watch.due == []
    assert watch.clock.getDelayedCalls() == []


def test_moving_a_deadline_later_costs_no_call_of_the_reactor() -> None:
    watch = Watch()
    watch.deadlines.set(Timer.CLIENT, 10)
    (call,) = watch.clock.getDelayedCalls()
    for _ in range(100):
        watch.deadlines.set(Timer.CLIENT, 600)
    assert watch.clock.getDelayedCalls() == [call]


def test_stopping_leaves_nothing_behind() -> None:
    watch = Watch()
    watch.deadlines.set(Timer.CLIENT, 10)
    watch.deadlines.stop()
    assert watch.clock.getDelayedCalls() == []


def test_stopping_while_timers_are_due_ends_it() -> None:
    clock = Clock()
    due: list[Timer] = []

    def stop(timer: Timer) -> None:
        due.append(timer)
        deadlines.stop()

    deadlines = Deadlines(clock, stop)
    deadlines.set(Timer.CLIENT, 10)
    deadlines.set(Timer.UPSTREAM, 10)
    clock.advance(10)
    assert len(due) == 1
    assert clock.getDelayedCalls() == []


def test_a_late_timer_that_is_set_while_another_is_due_hides_no_earlier_one() -> None:
    clock = Clock()
    due: list[tuple[float, Timer]] = []

    def grant_grace(timer: Timer) -> None:
        due.append((clock.seconds(), timer))
        if timer is Timer.AGE and len(due) == 1:
            deadlines.set(Timer.AGE, 600)

    deadlines = Deadlines(clock, grant_grace)
    deadlines.set(Timer.AGE, 2)
    deadlines.set(Timer.CLIENT, 10)
    clock.pump([1] * 700)
    assert due == [(2, Timer.AGE), (10, Timer.CLIENT), (602, Timer.AGE)]


def test_the_timers_of_a_short_session_cost_one_call_of_the_reactor() -> None:
    watch = Watch()
    watch.deadlines.set(Timer.AGE, 3600)
    (call,) = watch.clock.getDelayedCalls()
    for timer, seconds in ((Timer.UPSTREAM, 30), (Timer.CLIENT, 600), (Timer.UPSTREAM, 300), (Timer.UPSTREAM, 10)):
        watch.deadlines.set(timer, seconds)
    assert watch.clock.getDelayedCalls() == [call]
