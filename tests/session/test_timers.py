"""Every wait has its bound, and what is owed by nobody is waited for without one."""

from __future__ import annotations

from smtpproxy.session.events import TimedOut
from smtpproxy.session.timers import Timer
from tests.session.playbook import greeted


def test_upstream_owes_nothing_between_its_greeting_and_the_first_command() -> None:
    book = greeted(timers=True)
    (book >> TimedOut(Timer.UPSTREAM)).done()
