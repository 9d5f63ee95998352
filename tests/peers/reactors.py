"""Tests that wait for Deferreds, written as coroutines."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any

from twisted.internet.defer import Deferred


def on_reactor(test: Callable[[Any], Coroutine[Any, Any, None]]) -> Callable[[Any], Deferred[None]]:
    """Run a coroutine as a test method of trial's."""

    @wraps(test)
    def run(self: object) -> Deferred[None]:
        return Deferred.fromCoroutine(test(self))

    return run
