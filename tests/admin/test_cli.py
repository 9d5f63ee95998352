from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from smtpproxy.admin.cli import commands, run
from smtpproxy.admin.exits import ExitStatus

CHECKOUT = Path(__file__).parents[2]


def smtpproxy(*arguments: str, directory: Path) -> subprocess.CompletedProcess[str]:
    """Run the program itself, as a process."""
    return subprocess.run(
        [sys.executable, "-m", "smtpproxy.admin.cli", *arguments],
        cwd=directory,
        env={"PYTHONPATH": str(CHECKOUT), "PATH": "/usr/bin:/bin", "LANG": "C"},
        capture_output=True,
        check=False,
        text=True,
    )


def test_from_nothing_to_a_checked_gateway(tmp_path: Path) -> None:
    made = smtpproxy("init", "gw", directory=tmp_path)
    assert (made.returncode, made.stderr) == (0, "")
    checked = smtpproxy("check", directory=tmp_path / "gw")
    assert (checked.returncode, checked.stderr) == (0, "")
    assert checked.stdout.endswith("ok: 2 policies, 2 proxy actions, 1 Proxy Server certificate, 2 lists\n")
    (tmp_path / "gw" / "config" / "smtpproxy.yaml").write_text("policies: [\n")
    broken = smtpproxy("check", directory=tmp_path / "gw")
    assert (broken.returncode, broken.stdout) == (78, "")
    assert broken.stderr.startswith("config/smtpproxy.yaml:2:1: not valid YAML")


def test_a_reader_that_leaves_early_is_no_error(made_home: Path) -> None:
    command = f"{sys.executable} -m smtpproxy.admin.cli policies --format json | true; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=made_home,
        env={"PYTHONPATH": str(CHECKOUT), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        check=False,
        text=True,
    )
    assert (done.stdout, done.stderr) == ("0\n", "")


def test_no_command_needs_twisted() -> None:
    program = "import sys, smtpproxy.admin.cli; print('twisted' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], cwd=CHECKOUT, capture_output=True, check=True, text=True)
    assert done.stdout == "False\n"


def status(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    code = run(arguments)
    return code, capsys.readouterr().err


def test_usage_errors_are_64(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["chek"], ["check", "--colour"], ["clone", "list", "a", "b"], ["policies", "--format", "xml"]):
        code, message = status(capsys, *arguments)
        assert code == ExitStatus.USAGE
        assert "Usage:" in message


def test_configuration_errors_are_78(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for command in ("check", "policies"):
        code, message = status(capsys, command, "-c", str(tmp_path / "gone.yaml"))
        assert code == 78
        assert message == f"{tmp_path}/gone.yaml:1:1: the file does not exist; make an example with 'smtpproxy init'\n"


def test_notices_stand_before_the_mistakes(capsys: pytest.CaptureFixture[str], made_home: Path, tmp_path: Path) -> None:
    (tmp_path / "certs").symlink_to(made_home / "certs")
    (tmp_path / "config").mkdir()
    main = tmp_path / "config" / "smtpproxy.yaml"
    main.write_text("policies:\n  - {name: A, direction: outbound, upstream: {host: a.example, smtp: 0}}\n")
    (tmp_path / "config" / "proxy-actions").mkdir()
    (tmp_path / "config" / "proxy-actions" / "Mine.yaml").write_text("kind: server\nesmtp: {enabled: false}\n")
    code, message = status(capsys, "check", "-c", str(main))
    first, second = message.splitlines()
    assert code == 78
    assert first.startswith("notice: ")
    assert second.endswith("policies[0].upstream.smtp: 0 is out of range; give 1 to 65535")


def test_commands_that_cannot_say_why(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("")
    assert status(capsys, "init", str(tmp_path)) == (
        64,
        f"smtpproxy: {tmp_path} is neither empty nor a gateway's home; name a folder that is new\n",
    )


def test_what_the_system_refuses_is_69(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "lists").write_text("")
    code, message = status(capsys, "init", str(tmp_path))
    assert code == ExitStatus.UNAVAILABLE
    assert message == f"smtpproxy: {tmp_path}/config/lists: File exists\n"


def test_help_and_version_end_well(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    assert "check" in capsys.readouterr().out
    assert run(["--version"]) == 0


@pytest.mark.parametrize("name", sorted(commands.commands))
def test_every_command_explains_itself(name: str) -> None:
    assert commands.commands[name].help
