"""What a page says is printed is compared word for word, or following the page proves nothing."""

from __future__ import annotations

import pytest

from tests.integration.lab.pages import Step, steps
from tests.integration.lab.systemd import PROJECT

SHOWN = "gateway  gw1, process 12\nsince 2026-11-28T18:00:19.847+00:00 (2 s)\n...\nblocked  0\n"


@pytest.mark.parametrize(
    ("printed", "agrees"),
    [
        (SHOWN.replace("...\n", ""), True),
        ("gateway  gw1, process 7\nsince 2027-01-01T00:00:00.000+00:00 (3 min)\nmore\nand more\nblocked  0\n", True),
        (SHOWN.replace("gw1", "gw2"), False),
        (SHOWN.replace("blocked  0", "blocked  1"), False),
        (SHOWN + "more\n", False),
        ("", False),
    ],
)
def test_only_what_is_another_each_time_may_differ(printed: str, agrees: bool) -> None:  # noqa: FBT001
    assert Step("gateway", "true", SHOWN).agrees_with(printed) is agrees


def test_a_command_of_which_nothing_is_said_may_print_anything() -> None:
    assert Step("gateway", "true", None).agrees_with("anything\n")


def test_the_page_has_commands_for_both_ends() -> None:
    found = steps(PROJECT / "docs" / "gateway.md")
    assert {step.where for section in found.values() for step in section} == {"gateway", "client"}
