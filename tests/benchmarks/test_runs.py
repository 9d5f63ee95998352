from __future__ import annotations

import pytest

from benchmarks.workloads import AIMS, MEBIBYTE, WORKLOADS, Measure
from tests.benchmarks.samples import run, runs

OURS, THEIRS = ("smtpproxy", "implicit"), ("sslsplit", "implicit")


def test_a_session_is_measured_by_its_share_of_the_time() -> None:
    assert run("smtpproxy", "implicit", 2.0).cpu_ms == 2.0


def test_a_message_is_measured_where_a_session_has_many() -> None:
    many = run("smtpproxy", "many-implicit", 2.0, sessions=10, messages=2000)
    assert (many.cpu_ms, many.per_s) == (1.0, 2000)


def test_a_mebibyte_is_measured_where_messages_are_large() -> None:
    large = run("smtpproxy", "large-implicit", 1.0, sessions=50, messages=50, octets=10 * MEBIBYTE)
    assert (large.cpu_ms, large.per_s) == (2.0, 500)


def test_memory_is_shared_out_among_those_that_were_held() -> None:
    idle = run("smtpproxy", "idle-starttls", memory_kib=10_000, held=200, sessions=0)
    assert runs(idle).figure(idle) == 50


def test_what_is_added_is_what_is_above_direct_in_the_same_round() -> None:
    quiet = [
        run("direct", "quiet-starttls", p50_ms=1.0),
        run("smtpproxy", "quiet-starttls", p50_ms=3.0),
        run("direct", "quiet-starttls", number=1, p50_ms=10.0),
        run("smtpproxy", "quiet-starttls", number=1, p50_ms=14.0),
    ]
    assert runs(*quiet).median("smtpproxy", "quiet-starttls") == 3.0


def test_nothing_done_is_no_figure() -> None:
    failed = run("smtpproxy", "bdat-starttls", 0.5, sessions=0, messages=0, errors=100)
    assert runs(failed).figure(failed) is None
    assert runs(failed).median("smtpproxy", "bdat-starttls") is None


def test_ratios_are_taken_within_each_round() -> None:
    slow_second_round = [
        run(peer, "implicit", cpu_s, number)
        for number, slow in enumerate((1, 10, 1))
        for peer, cpu_s in (("sslsplit", 4.0 * slow), ("smtpproxy", 2.0 * slow))
    ]
    found = runs(*slow_second_round)
    assert found.ratio(OURS, THEIRS) == 0.5
    assert found.median(*OURS) == 2.0


def test_a_round_without_the_yardstick_has_no_ratio() -> None:
    found = runs(run("smtpproxy", "implicit", 3.0), run("sslsplit", "implicit", 3.0, number=1))
    assert found.ratio(OURS, THEIRS) is None


def test_a_yardstick_that_costs_nothing_measures_nothing() -> None:
    assert runs(run("smtpproxy", "implicit", 3.0), run("sslsplit", "implicit", 0.0)).ratio(OURS, THEIRS) is None


def test_starttls_is_compared_by_the_peers_implicit_tls() -> None:
    found = runs(run("sslsplit", "implicit"), run("stunnel", "starttls"), run("stunnel", "implicit"))
    assert found.yardstick("sslsplit", "starttls") == "implicit"
    assert found.yardstick("stunnel", "starttls") == "starttls"
    assert found.yardstick("haproxy", "starttls") is None


@pytest.mark.parametrize("name", WORKLOADS)
def test_a_twin_does_the_same_over_implicit_tls(name: str) -> None:
    work = WORKLOADS[name]
    if work.twin is None:
        assert work.mode != "starttls"
    else:
        twin = WORKLOADS[work.twin]
        assert (work.mode, twin.mode) == ("starttls", "implicit")
        assert {**work.options(), "--mode": ""} == {**twin.options(), "--mode": ""}


@pytest.mark.parametrize("aim", AIMS)
def test_an_aim_compares_what_is_measured_alike(aim: object) -> None:
    assert isinstance(aim, type(AIMS[0]))
    measures: set[Measure] = {WORKLOADS[aim.workload].measure, WORKLOADS[aim.yardstick[1]].measure}
    assert len(measures) == 1
