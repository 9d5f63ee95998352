from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from jsonschema import Draft202012Validator

from smtpproxy.admin.cli import commands, run
from smtpproxy.admin.exits import CommandError, ExitStatus
from smtpproxy.config.document import parse_document

PROGRAM = Path(sys.executable).with_name("smtpproxy")
KINDS = ("main", "proxy-action", "tls-profile")


def schema(*arguments: str) -> str:
    result = CliRunner().invoke(commands, ["schema", *arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_is_printed(kind: str) -> None:
    assert json.loads(schema(kind))["title"] == f"smtpproxy: {kind}"


def test_the_main_file_is_the_default() -> None:
    assert schema() == schema("main")


def test_the_installed_program_judges_a_file(made_home: Path) -> None:
    printed = subprocess.run([PROGRAM, "schema", "main"], capture_output=True, check=True, text=True)
    validator = Draft202012Validator(json.loads(printed.stdout))
    text = (made_home / "config" / "demo.yaml").read_text()
    assert validator.is_valid(parse_document(text, "demo.yaml").value)
    for old, new in (("records:", "engines:"), ("mode: explicit", "mode: balanced"), ("smtp: 2526", "smtp: 0")):
        assert not validator.is_valid(parse_document(text.replace(old, new), "demo.yaml").value)


def test_all_are_written_and_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "schema"
    assert schema("--output", str(folder)) == "".join(f"made {folder}/{kind}.json\n" for kind in KINDS)
    assert schema("--output", str(folder)) == ""
    (folder / "main.json").write_text("old")
    assert schema("--output", str(folder)) == f"made {folder}/main.json\n"
    assert (folder / "main.json").read_text() == schema("main")
    assert sorted(path.name for path in folder.iterdir()) == [f"{kind}.json" for kind in KINDS]


def test_one_is_written(tmp_path: Path) -> None:
    schema("tls-profile", "--output", str(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["tls-profile.json"]


def test_a_kind_that_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["schema", "list"]) == ExitStatus.USAGE
    assert "'main', 'proxy-action', 'tls-profile'" in capsys.readouterr().err


def test_a_folder_that_cannot_be(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a").write_text("")
    assert run(["schema", "--output", str(tmp_path / "a" / "b")]) == ExitStatus.UNAVAILABLE
    assert capsys.readouterr().err == f"smtpproxy: {tmp_path}/a/b: Not a directory\n"
    (tmp_path / "main.json").mkdir()
    result = CliRunner().invoke(commands, ["schema", "--output", str(tmp_path)])
    assert isinstance(result.exception, CommandError)
    assert str(result.exception) == f"{tmp_path}/main.json: Is a directory"
