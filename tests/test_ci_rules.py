"""What CI relies on: with CI=true nothing may be skipped."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[1]

SKIPS_WHEN_RUN = "import pytest\ndef test_it():\n    pytest.skip('no such program')\n"
SKIPS_WHEN_COLLECTED = "import pytest\npytest.skip('no such module', allow_module_level=True)\n"
EXPECTED_TO_FAIL = "import pytest\n@pytest.mark.xfail(strict=True)\ndef test_it():\n    assert False\n"


def _status(tmp_path: Path, source: str, ci: str) -> int:
    (tmp_path / "test_sample.py").write_text(source)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "tests.conftest", "-p", "no:cacheprovider", str(tmp_path)]
    environment = {**os.environ, "CI": ci, "PYTHONPATH": str(PROJECT)}
    return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, check=False).returncode


@pytest.mark.parametrize("source", [SKIPS_WHEN_RUN, SKIPS_WHEN_COLLECTED])
def test_a_skip_fails_in_ci_and_nowhere_else(tmp_path: Path, source: str) -> None:
    assert _status(tmp_path, source, "true") not in {0, 5}
    assert _status(tmp_path, source, "") in {0, 5}  # 5: nothing was collected


def test_an_expected_failure_is_no_skip(tmp_path: Path) -> None:
    assert _status(tmp_path, EXPECTED_TO_FAIL, "true") == 0
