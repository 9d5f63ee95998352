from __future__ import annotations

from benchmarks.table import Row, table


def _row(number: int, peer: str, workload: str, cpu_ms: float, per_s: float = 100.0, errors: int = 0) -> Row:
    return Row(number, peer, workload, per_s, cpu_ms, 1.0, 2.0, errors, "refused" if errors else "", "")


def _cells(text: str, peer: str) -> list[str]:
    (line,) = (line for line in text.splitlines() if line.split()[:1] == [peer])
    return line.split()


def test_ratios_are_taken_within_each_round() -> None:
    slow_second_round = [
        _row(0, "sslsplit", "implicit", 4.0),
        _row(0, "project", "implicit", 2.0),
        _row(1, "sslsplit", "implicit", 40.0),
        _row(1, "project", "implicit", 20.0),
        _row(2, "sslsplit", "implicit", 4.0),
        _row(2, "project", "implicit", 2.0),
    ]
    assert _cells(table(slow_second_round), "project")[3:5] == ["2.00", "0.50"]


def test_starttls_is_compared_by_the_peers_implicit_tls() -> None:
    rows = [_row(0, "sslsplit", "implicit", 4.0), _row(0, "project", "starttls", 3.0)]
    assert _cells(table(rows), "project")[4] == "0.75"


def test_who_did_not_run_is_no_yardstick() -> None:
    assert _cells(table([_row(0, "project", "clear", 3.0)]), "project")[2:6] == ["-", "3.00", "-", "-"]


def test_errors_are_added_up_and_the_first_is_told() -> None:
    rows = [_row(number, "project", "clear", 1.0, errors=number) for number in range(3)]
    assert _cells(table(rows), "project")[-2:] == ["3", "refused"]
