from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.measurement import Measurement, describe_machine
from benchmarks.runs import Run
from benchmarks.tables import aims, markdown, text
from tests.benchmarks.samples import NOTHING_TAKEN, run, runs


def _measurement(*all_of_them: Run) -> Measurement:
    return Measurement("--rounds 3 --seconds 2", "", "a machine", {"smtpproxy": ("as it is", "1")}, all_of_them)


def _cells(measurement: Measurement, peer: str) -> list[str]:
    (line,) = (line for line in text(measurement).splitlines() if line.split()[:1] == [peer])
    return line.split()


def test_a_figure_stands_beside_its_ratios() -> None:
    found = _measurement(
        run("direct", "starttls"),
        run("smtpproxy", "starttls", 3.0, seconds=4.0),
        run("sslsplit", "implicit", 4.0),
        run("haproxy", "implicit", 1.5),
    )
    assert _cells(found, "smtpproxy")[:6] == ["smtpproxy", "3.00", "0.75", "2.00", "250", "0.25"]


def test_who_did_not_run_is_no_yardstick() -> None:
    assert "sslsplit" not in text(_measurement(run("smtpproxy", "clear", 3.0)))


def test_errors_are_added_up_and_the_first_is_told() -> None:
    rounds = [run("smtpproxy", "clear", 1.0, number, errors=number, first_error="no") for number in range(3)]
    assert _cells(_measurement(*rounds), "smtpproxy")[-2:] == ["3:", "no"]


def test_who_did_nothing_has_no_row_but_a_reason() -> None:
    failed = run("smtpproxy", "bdat-starttls", sessions=0, messages=0, errors=9, first_error="CHUNKING is not offered")
    assert text(_measurement(failed)).endswith("  smtpproxy: CHUNKING is not offered")
    assert "Not measured: smtpproxy: CHUNKING is not offered." in markdown(_measurement(failed))


def test_what_was_really_used_is_told() -> None:
    taken = NOTHING_TAKEN | {"handshakes": 200, "resumed": 50, "messages": 100, "grouped": 100, "chunked": 1}
    found = [
        replace(run("smtpproxy", name, 1.0, resumed=900), taken=taken)
        for name in ("resumed-implicit", "pipelined-implicit", "bdat-implicit")
    ]
    told = text(_measurement(*found))
    assert "resumed: client 90%, upstream 25%" in told
    assert "pipelined upstream 100%" in told
    assert "BDAT upstream 1%" in told


@pytest.mark.parametrize(("cpu_s", "verdict"), [(3.4, "met"), (3.5, "missed")])
def test_an_aim_stands_beside_what_was_reached(cpu_s: float, verdict: str) -> None:
    found = runs(run("smtpproxy", "starttls", cpu_s), run("sslsplit", "implicit", 4.0))
    (row,) = aims(found).rows
    assert row == (
        "starttls",
        "CPU ms a session",
        "0.85 x sslsplit's implicit",
        f"{cpu_s / 4:.2f} x",
        verdict,
    )


def test_aims_that_were_not_measured_have_no_row() -> None:
    assert aims(runs(run("smtpproxy", "starttls", 1.0))).rows == ()


def test_every_table_tells_its_command() -> None:
    found = _measurement(run("smtpproxy", "starttls", 1.0), run("sslsplit", "implicit", 1.0))
    page = markdown(found)
    assert '`make bench ARGS="--rounds 3 --seconds 2 --workloads starttls,implicit"`' in page
    assert "| sslsplit | 1.00 |" in page
    assert "| smtpproxy | as it is | 1 |" in page
    assert "a machine" in page


def test_the_command_names_the_interpreter_if_one_was_named() -> None:
    named = replace(_measurement(run("smtpproxy", "clear", 1.0)), python="/usr/bin/python3")
    assert named.command() == (
        'make bench BENCH_PYTHON=/usr/bin/python3 ARGS="--rounds 3 --seconds 2 --workloads clear"'
    )


def test_a_measurement_survives_json() -> None:
    found = _measurement(run("smtpproxy", "clear", 3.0), run("sslsplit", "implicit", 2.0, number=4, memory_kib=7))
    assert Measurement.from_json(found.to_json()) == found


def test_the_machine_is_described_in_a_line() -> None:
    assert "cores" in describe_machine()
    assert "\n" not in describe_machine()
