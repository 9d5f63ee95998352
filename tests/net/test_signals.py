from __future__ import annotations

import os
import signal

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from smtpproxy.net.signals import Signals


class SignalsTests(TestCase):
    def setUp(self) -> None:
        for number in (signal.SIGHUP, signal.SIGTERM):
            self.addCleanup(signal.signal, number, signal.getsignal(number))

    async def test_each_signal_has_its_wish_done_on_the_reactors_turn(self) -> None:
        done: list[str] = []
        over: Deferred[None] = Deferred()
        wishes = {signal.SIGHUP: lambda: done.append("reload"), signal.SIGTERM: lambda: over.callback(None)}
        service = Signals(reactor, wishes)
        service.privilegedStartService()
        os.kill(os.getpid(), signal.SIGHUP)
        assert done == []
        os.kill(os.getpid(), signal.SIGTERM)
        await over
        assert done == ["reload"]

    def test_what_the_reactor_takes_is_taken_back_and_never_given_up(self) -> None:
        clock = _Starting()
        service = Signals(clock, {signal.SIGTERM: lambda: None})
        service.privilegedStartService()
        ours = signal.getsignal(signal.SIGTERM)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        clock.run()
        assert signal.getsignal(signal.SIGTERM) == ours
        service.stopService()  # type: ignore[no-untyped-call]
        assert signal.getsignal(signal.SIGTERM) == ours


class _Starting(Clock):
    """A reactor that is about to run."""

    def callWhenRunning(self, function: object) -> None:  # noqa: N802
        self.function = function

    def run(self) -> None:
        assert callable(self.function)
        self.function()
