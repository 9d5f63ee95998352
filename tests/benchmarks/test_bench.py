"""A whole measurement, if a short one: everybody starts, serves, is measured and ends."""

from __future__ import annotations

import os
import shutil
import sys
from typing import TYPE_CHECKING

import pytest

from benchmarks.bench import Bench, PeerError
from benchmarks.peers.certificates import make_certificates
from benchmarks.peers.peer import HOST, Address, Peer
from benchmarks.peers.present import NAMES, prepare
from benchmarks.peers.project import before

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.benchmarks.programs import Programs

OFFERS = "PIPELINING CHUNKING 8BITMIME SIZE"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("bench")
    make_certificates(made)
    return made


@pytest.fixture(scope="module")
def bench(folder: Path) -> Iterator[Bench]:
    if os.getuid() != 0 or shutil.which("ip") is None:
        pytest.skip("needs root and iproute2 for a network namespace: its ports are fixed")
    bench = Bench(folder, OFFERS)
    yield bench
    bench.close()


@pytest.fixture(scope="module")
def proxy(folder: Path, bench: Bench) -> Peer:
    (peer,) = prepare(folder, ["smtpproxy"])
    bench.join(peer)
    return peer


@pytest.mark.parametrize("workload", ["starttls", "implicit", "clear", "resumed-starttls"])
def test_the_proxy_is_measured(bench: Bench, proxy: Peer, workload: str) -> None:
    run = bench.run(0, proxy, workload, 0.3)
    assert run is not None
    assert (run.seen["errors"], run.seen["first_error"]) == (0, "")
    assert run.taken["messages"] == run.seen["messages"] > 0
    assert run.taken["handshakes"] == (0 if workload == "clear" else run.seen["sessions"])
    assert 0 < run.cpu_s < 10


def test_idle_sessions_are_measured_in_a_fresh_process(bench: Bench, proxy: Peer) -> None:
    run = bench.run(0, proxy, "idle-starttls", 0)
    assert run is not None
    assert (run.seen["errors"], run.seen["held"], run.taken["sessions"]) == (0, 2000, 0)
    assert 2000 * 5 < run.memory_kib < 2000 * 500


def test_two_versions_run_beside_each_other(bench: Bench, folder: Path, proxy: Peer) -> None:
    other = before(folder, sys.prefix)
    bench.join(other)
    for peer in (other, proxy):
        run = bench.run(0, peer, "starttls", 0)
        assert run is not None
        assert (run.seen["errors"], run.peer) == (0, peer.name)


def test_nobody_is_measured_in_what_it_does_not_serve(bench: Bench, folder: Path) -> None:
    (direct,) = prepare(folder, ["direct"])
    assert bench.run(0, direct, "idle-starttls", 0) is None
    assert bench.run(0, Peer("nobody", "", (), {}), "clear", 0) is None


def test_a_peer_that_does_not_serve_tells_its_log(bench: Bench) -> None:
    mute = Peer("mute", "", ("echo", "why not"), {"clear": Address(HOST, 9)})
    with pytest.raises(PeerError, match=r"(?s)mute does not serve clear: Connection refused.*why not"):
        bench.join(mute)


def test_a_peer_that_has_ended_is_started_again(bench: Bench, programs: Programs) -> None:
    address = Address(HOST, 9025)
    second = Peer("second", "", (str(programs.folder / "sink"), "--clear", str(address.port)), {"clear": address})
    bench.join(second)
    bench._running["second"].terminate()
    bench._running["second"].wait(10)
    run = bench.run(0, second, "clear", 0)
    assert run is not None
    assert (run.seen["errors"], run.taken["sessions"]) == (0, 0)
    assert run.seen["sessions"] == 50


def test_names_are_unique_and_all_prepared(folder: Path) -> None:
    assert len(set(NAMES)) == len(NAMES)
    assert [peer.name for peer in prepare(folder, ["direct"])] == ["direct"]
