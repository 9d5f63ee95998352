from __future__ import annotations

import shutil
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from smtpproxy.admin.cli import commands
from smtpproxy.authority.create import create_authority
from smtpproxy.authority.credentials import save_credential
from smtpproxy.config.problems import ConfigurationErrors
from tests.pki import NOW


@pytest.fixture
def home(made_home: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made_home, tmp_path / "home"))


def run(home: Path, *words: str) -> Result:
    return CliRunner().invoke(commands, [*words, "-c", f"{home}/config/smtpproxy.yaml"])


@pytest.mark.parametrize("name", ["proxy-authority", "untrusted-authority"])
@pytest.mark.parametrize("days", [-5000, 5000], ids=["ended", "not begun, or a clock that is not set"])
def test_what_is_taken_does_not_depend_on_the_time(home: Path, name: str, days: int) -> None:
    before = run(home, "firewall", "print")
    assert before.exit_code == 0
    authority = create_authority("Of another time", NOW + timedelta(days=days), days=10)
    save_credential(authority, home / "certs" / f"{name}.pem", home / "certs" / f"{name}.key", replace=True)
    assert isinstance(run(home, "check").exception, ConfigurationErrors)
    after = run(home, "firewall", "print")
    assert (after.exit_code, after.output) == (0, before.output)


def test_a_certificate_of_no_authority_is_a_mistake_all_the_same(home: Path) -> None:
    shutil.copy(home / "certs" / "proxy-server.pem", home / "certs" / "proxy-authority.pem")
    assert isinstance(run(home, "firewall", "print").exception, ConfigurationErrors)
