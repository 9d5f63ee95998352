from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from smtpproxy.admin.cli import commands
from smtpproxy.config.problems import ConfigurationErrors

if TYPE_CHECKING:
    from pathlib import Path


def test_notices_then_a_summary(made_home: Path) -> None:
    main = made_home / "config" / "smtpproxy.yaml"
    result = CliRunner().invoke(commands, ["check", "-c", str(main)])
    *lines, summary = result.output.splitlines()
    notices = [line for line in lines if "the hard limit is" not in line]  # of the machine that the test runs on
    assert summary == "ok: 2 policies, 2 proxy actions, 1 Proxy Server certificate, 2 lists"
    assert all(notice.startswith(f"notice: {main}:") for notice in notices)
    assert [notice.split(": ")[2] for notice in notices] == ["policies[1].source_address"]


def test_mistakes_are_the_errors_of_the_load(made_home: Path, tmp_path: Path) -> None:
    (tmp_path / "certs").symlink_to(made_home / "certs")
    (tmp_path / "config").mkdir()
    main = tmp_path / "config" / "smtpproxy.yaml"
    main.write_text("policies: []\ngatway: {}\n")
    with pytest.raises(ConfigurationErrors) as caught:
        CliRunner().invoke(commands, ["check", "-c", str(main)], catch_exceptions=False)
    assert [problem.key for problem in caught.value.problems] == ["policies", "gatway"]


def test_the_default_is_the_example_below_the_working_directory(
    made_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(made_home)
    assert "notice: config/smtpproxy.yaml:" in CliRunner().invoke(commands, ["check"]).output
