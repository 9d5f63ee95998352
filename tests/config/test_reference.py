"""docs/configuration.md is made from the models, and lists every key."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from smtpproxy.config.action_file import ActionFile
from smtpproxy.config.gateway_file import MainFile
from smtpproxy.config.profile_file import ProfileFile
from smtpproxy.config.section import Section, key_of

CHECKOUT = Path(__file__).parents[2]
PAGE = CHECKOUT / "docs" / "configuration.md"
PRINT = "import configuration_reference as made; print(made.reference(), end='')"


def test_the_page_is_current() -> None:
    made = subprocess.run(
        [sys.executable, "-c", PRINT],
        env={"PYTHONPATH": f"{CHECKOUT}:{CHECKOUT / 'docs'}"},
        capture_output=True,
        check=True,
        text=True,
    )
    assert made.stdout == PAGE.read_text(), "run: python docs/configuration_reference.py"


def sections() -> list[type[Section]]:
    found: list[type[Section]] = [MainFile, ActionFile, ProfileFile]
    return [*found, *(each for each in Section.__subclasses__() if each not in found)]


@pytest.mark.parametrize("section", sections(), ids=lambda section: section.__name__)
def test_every_key_has_a_line(section: type[Section]) -> None:
    page = PAGE.read_text()
    for name, info in section.model_fields.items():
        (line,) = {
            line
            for line in page.splitlines()
            if line.startswith(f"| `{key_of(name, info)}` |") and str(info.description) in line
        }
        assert line.count("|") == 5
        assert info.description
        assert info.description[-1] == "."
    for name in section.later:
        assert f"`{name}`" in page
