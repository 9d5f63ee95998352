from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from smtpproxy.policy.model import InterceptionMode
from smtpproxy.workers.decision import Decision, read_snapshot


@dataclass(frozen=True)
class _Wanted:
    binds: tuple[()] = ()
    workers: int = 2
    drain_timeout_s: float = 1.0
    file: Path = Path("smtpproxy.yaml")
    gateway_name: str = "gateway.test"
    mode: InterceptionMode = InterceptionMode.EXPLICIT
    policies: int = 1
    authorities: tuple[str, ...] = ()


def test_a_snapshot_is_read_by_many_and_changed_by_nobody() -> None:
    octets = bytes(range(256)) * 1000
    decision = Decision(_Wanted(), octets)
    assert read_snapshot(decision.descriptor) == read_snapshot(decision.descriptor) == octets
    with pytest.raises(PermissionError):
        os.pwrite(decision.descriptor, b"x", 0)
    with pytest.raises(PermissionError):
        os.ftruncate(decision.descriptor, 0)
    assert decision.fingerprint != Decision(_Wanted(), octets[1:]).fingerprint
    decision.forget()
    decision.forget()
    with pytest.raises(OSError, match="Bad file descriptor"):
        read_snapshot(decision.descriptor)
