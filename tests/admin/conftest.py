from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from smtpproxy.admin.cli import commands
from tests.admin.online.servers import Authorities, Servers
from tests.pki import make_intermediate, make_root

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="session")
def made_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home as ``smtpproxy init --demo`` makes it; for tests that do not change it."""
    home = tmp_path_factory.mktemp("made") / "gateway"
    result = CliRunner().invoke(commands, ["init", "--demo", str(home)])
    assert result.exit_code == 0, result.output
    return home


@pytest.fixture(scope="session")
def upstream_authorities() -> Authorities:
    root = make_root()
    return Authorities(root, make_intermediate(root, "Test Intermediate"))


@pytest.fixture
def servers(tmp_path: Path, upstream_authorities: Authorities) -> Iterator[Servers]:
    made = Servers(tmp_path, upstream_authorities)
    yield made
    made.close()
