from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from benchmarks.measurement import Measurement
from benchmarks.tables import markdown, text
from tests.benchmarks.samples import run

if TYPE_CHECKING:
    from pathlib import Path

FOUND = Measurement("--rounds 1 --seconds 1", "", "a machine", {}, (run("smtpproxy", "clear", 1.0),))


def _compare(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks.compare", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_an_earlier_measurement_is_shown_in_every_shape(tmp_path: Path) -> None:
    earlier = tmp_path / "runs.json"
    earlier.write_text(FOUND.to_json())
    for shape, shown in (("", text(FOUND)), ("--markdown", markdown(FOUND)), ("--json", FOUND.to_json())):
        done = _compare("--from", str(earlier), *filter(None, [shape]))
        assert (done.returncode, done.stdout) == (0, shown + "\n")


def test_unknown_names_are_refused_before_anything_starts() -> None:
    for option, names in (("--workloads", "starttls,clean"), ("--peers", "haproxy,exim")):
        done = _compare(option, names)
        assert done.returncode == 2
        assert f"unknown: {names.rpartition(',')[2]}; known are" in done.stderr


@pytest.mark.skipif(os.getuid() != 0, reason="needs root for a network namespace")
def test_what_was_started_ends_with_it() -> None:
    command = [sys.executable, "-m", "benchmarks.compare", "--peers", "direct", "--workloads", "clear"]
    with subprocess.Popen([*command, "--rounds", "1000", "--seconds", "0.1"], stderr=subprocess.PIPE) as measuring:
        assert measuring.stderr is not None
        assert measuring.stderr.read(1) == b"."
        namespace = f"smtpproxy-bench-{measuring.pid}"
        assert namespace in _namespaces()
        measuring.terminate()
        measuring.communicate(timeout=20)
        assert namespace not in _namespaces()


def _namespaces() -> str:
    return subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout
