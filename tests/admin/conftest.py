from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from smtpproxy.admin.cli import commands

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="session")
def made_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home as ``smtpproxy init --demo`` makes it; for tests that do not change it."""
    home = tmp_path_factory.mktemp("made") / "gateway"
    result = CliRunner().invoke(commands, ["init", "--demo", str(home)])
    assert result.exit_code == 0, result.output
    return home
