from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from smtpproxy.admin.cli import commands
from smtpproxy.admin.exits import CommandError, ExitStatus
from smtpproxy.config.shipped import predefined


@pytest.fixture
def main_file(tmp_path: Path) -> Path:
    path = tmp_path / "config" / "smtpproxy.yaml"
    path.parent.mkdir()
    return path


def clone(main_file: Path, *arguments: str) -> CommandError | None:
    result = CliRunner().invoke(commands, ["clone", *arguments, "-c", str(main_file)])
    assert result.exception is None or isinstance(result.exception, CommandError), result.output
    return result.exception


@pytest.mark.parametrize(
    ("kind", "folder", "name"),
    [("proxy-action", "proxy-actions", "SMTP-Outgoing.Standard"), ("tls-profile", "tls-profiles", "TLS-Legacy")],
)
def test_a_predefined_file_is_copied(main_file: Path, kind: str, folder: str, name: str) -> None:
    assert clone(main_file, kind, name, "Mine") is None
    assert (main_file.parent / folder / "Mine.yaml").read_text() == predefined(folder)[name]


def test_a_file_of_ones_own_is_copied(main_file: Path) -> None:
    clone(main_file, "tls-profile", "TLS-Legacy", "A")
    (main_file.parent / "tls-profiles" / "A.yaml").write_text("pfs: required\n")
    assert clone(main_file, "tls-profile", "A", "B") is None
    assert (main_file.parent / "tls-profiles" / "B.yaml").read_text() == "pfs: required\n"


def test_nothing_is_overwritten(main_file: Path) -> None:
    clone(main_file, "tls-profile", "TLS-Legacy", "A")
    (main_file.parent / "tls-profiles" / "A.yaml").write_text("mine")
    error = clone(main_file, "tls-profile", "TLS-Legacy", "A")
    assert error is not None
    assert error.status is ExitStatus.DATA
    assert (main_file.parent / "tls-profiles" / "A.yaml").read_text() == "mine"


@pytest.mark.parametrize(
    ("name", "new", "message"),
    [
        ("TLS-Legasy", "A", "there is no tls-profile 'TLS-Legasy'; did you mean 'TLS-Legacy'?"),
        ("../smtpproxy", "A", "there is no tls-profile '../smtpproxy'"),
        ("TLS-Legacy", "TLS-Client.PFS", "TLS-Client.PFS is predefined and cannot be replaced"),
        ("TLS-Legacy", "../A", "NEW must be 1 to 64 letters"),
        ("TLS-Legacy", "", "NEW must be 1 to 64 letters"),
        ("TLS-Legacy", "A B", "NEW must be 1 to 64 letters"),
    ],
)
def test_names_that_cannot_be(main_file: Path, name: str, new: str, message: str) -> None:
    error = clone(main_file, "tls-profile", name, new)
    assert error is not None
    assert error.status is ExitStatus.USAGE
    assert str(error).startswith(message)
    assert list(main_file.parent.iterdir()) == []


def test_a_configuration_that_is_nowhere(tmp_path: Path) -> None:
    error = clone(tmp_path / "gone" / "smtpproxy.yaml", "tls-profile", "TLS-Legacy", "A")
    assert error is not None
    assert error.status is ExitStatus.USAGE
    assert list(tmp_path.iterdir()) == []


def test_a_copy_names_the_schema_that_is_there(main_file: Path) -> None:
    CliRunner().invoke(commands, ["schema", "--output", str(main_file.parent / "schema")])
    assert clone(main_file, "tls-profile", "TLS-Legacy", "A") is None
    assert clone(main_file, "tls-profile", "A", "B") is None
    folder = main_file.parent / "tls-profiles"
    line = "# yaml-language-server: $schema=../schema/tls-profile.json\n"
    assert (folder / "A.yaml").read_text() == line + predefined("tls-profiles")["TLS-Legacy"]
    assert (folder / "B.yaml").read_text() == (folder / "A.yaml").read_text()
    assert (folder / line.split("=")[1].strip()).is_file()
