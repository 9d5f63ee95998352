"""docs/commands.md is made from the commands, and has every one with every option."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest

from smtpproxy.admin.cli import commands
from smtpproxy.admin.exits import ExitStatus

if TYPE_CHECKING:
    from collections.abc import Iterator

CHECKOUT = Path(__file__).parents[2]
PAGE = CHECKOUT / "docs" / "commands.md"
PRINT = "import commands_reference as made; print(made.reference(), end='')"


def leaves(group: click.Group, path: str = "smtpproxy") -> Iterator[tuple[str, click.Command]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from leaves(command, f"{path} {name}")
        else:
            yield f"{path} {name}", command


def test_the_page_is_current() -> None:
    made = subprocess.run(
        [sys.executable, "-c", PRINT],
        env={"PYTHONPATH": f"{CHECKOUT}:{CHECKOUT / 'docs'}"},
        capture_output=True,
        check=True,
        text=True,
    )
    assert made.stdout == PAGE.read_text(), "run: python docs/commands_reference.py"


@pytest.mark.parametrize(("name", "command"), list(leaves(commands)), ids=lambda value: getattr(value, "name", value))
def test_every_command_and_option_has_its_place(name: str, command: click.Command) -> None:
    _, _, section = PAGE.read_text().partition(f"## `{name}`\n")
    section = section.partition("\n## ")[0]
    assert section
    for param in command.params:
        if isinstance(param, click.Option):
            assert param.help
            assert param.help in section
            assert all(option in section for option in param.opts)


def test_every_exit_status_is_told() -> None:
    page = PAGE.read_text()
    assert all(f"| {status.value} | " in page for status in ExitStatus)


def test_the_shell_completes_as_the_page_says() -> None:
    program = Path(sys.executable).with_name("smtpproxy")
    words = {
        "COMP_WORDS": "smtpproxy ca export --authority ",
        "COMP_CWORD": "4",
        "_SMTPPROXY_COMPLETE": "bash_complete",
    }
    done = subprocess.run([program], env=words, capture_output=True, check=True, text=True)
    assert done.stdout == "plain,proxy\nplain,untrusted\n"
