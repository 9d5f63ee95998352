from __future__ import annotations

from pathlib import Path

import pytest

from smtpproxy.workers.cores import count_cores, count_workers


def test_a_number_is_a_number_and_auto_is_at_least_one() -> None:
    assert count_workers(7) == 7
    assert count_workers(None) >= 1


@pytest.mark.parametrize(
    ("groups", "expected"),
    [
        ({}, 8),
        ({"a/b": "max 100000"}, 8),
        ({"a/b": "150000 100000"}, 2),
        ({"a/b": "1000 100000"}, 1),
        ({"a": "300000 100000", "a/b": "max 100000"}, 3),
        ({"a": "300000 100000", "a/b": "50000 25000"}, 2),
        ({".": "400000 100000"}, 4),
        ({"a/b": "1600000 100000"}, 8),
        ({"a/b": "nonsense", "a": "100000 0"}, 8),
        ({"other": "100000 100000"}, 8),
    ],
)
def test_a_quota_of_processor_time_counts(tmp_path: Path, groups: dict[str, str], expected: int) -> None:
    (tmp_path / "own").write_text("12:cpu,cpuacct:/old\n0::/a/b\n")
    for name, limit in groups.items():
        folder = tmp_path / "groups" / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "cpu.max").write_text(f"{limit}\n")
    assert count_cores(8, tmp_path / "own", tmp_path / "groups") == expected


def test_where_nothing_is_known_of_groups_processors_count(tmp_path: Path) -> None:
    assert count_cores(3, tmp_path / "none", tmp_path) == 3


def test_a_big_machine_has_as_many_as_a_file_may_ask_for(tmp_path: Path) -> None:
    assert count_cores(256, tmp_path / "none", tmp_path) == 64
