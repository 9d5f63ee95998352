"""What docs/firewall.md says that is printed, is."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from click.testing import CliRunner

from smtpproxy.admin.cli import commands

PAGE: Final = Path(__file__).resolve().parents[2] / "docs" / "firewall.md"


def test_the_page_shows_the_table_of_the_configuration_that_it_names(tmp_path: Path) -> None:
    page = PAGE.read_text("utf-8")
    named = re.search(r"`smtpproxy (init [^`]+)`", page)
    shown = re.search(r"^```sh\nsmtpproxy (firewall print)\n```\n```text\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert named
    assert shown
    made = CliRunner().invoke(commands, [*named[1].split(), str(tmp_path)])
    assert made.exit_code == 0, made.output
    configuration = str(tmp_path / "config" / "smtpproxy.yaml")
    printed = CliRunner().invoke(commands, [*shown[1].split(), "-c", configuration])
    assert printed.stdout == shown[2]
