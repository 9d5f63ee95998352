"""The recipe "Relay with TLS encryption" of docs/encryption.md, typed as it stands there beside a gateway that runs."""

from __future__ import annotations

import re
import shlex
import subprocess
from typing import TYPE_CHECKING

from tests.integration.lab.gateway import PROGRAMS, Setup
from tests.integration.lab.recipes import PAGE
from tests.integration.lab.recorder import Script
from tests.integration.test_recipes import NOT_OFFERED, answers

if TYPE_CHECKING:
    from tests.integration.lab.gateway import Gateway
    from tests.integration.lab.laboratory import Lab

TAKEN = b"250 2.0.0"
RECIPIENTS = ("a@lawyers.example", "ceo@firm.example", "a@firm.example")


def type_in(gateway: Gateway, line: str) -> str:
    """Run a command where an administrator would, and have the gateway reload; return what it printed."""
    program, *words = shlex.split(line)
    done = subprocess.run([PROGRAMS / program, *words], cwd=gateway.home, capture_output=True, check=True, text=True)
    assert "reload refused" not in gateway.reload()
    return done.stdout


def test_a_rule_is_made_disabled_and_switched_on(lab: Lab) -> None:
    clone, add, enable = re.findall(r"^smtpproxy (?:clone|rules) .+$", PAGE.read_text(), re.MULTILINE)
    gateway = lab.gateway(lab.recorder(Script(starttls=False)), Setup())
    type_in(gateway, clone)
    gateway.edit(lambda main: main["policies"][0].update(proxy_action="SMTP-Outgoing"))
    made = type_in(gateway, add).splitlines()
    assert made[0].endswith("SMTP-Outgoing.yaml: number 2 of 3, before 'default'")
    assert made[1] == f"made disabled; switch it on with: {shlex.join(shlex.split(enable))}"
    assert answers(gateway, *RECIPIENTS) == [TAKEN, TAKEN, TAKEN]
    type_in(gateway, enable)
    assert answers(gateway, *RECIPIENTS) == [NOT_OFFERED, NOT_OFFERED, TAKEN]
    told = type_in(gateway, "smtpproxy rules move 'Relay to lawyers' --last --action SMTP-Outgoing")
    assert "never matches, since 'default' before it takes all of its mail" in told
    assert answers(gateway, *RECIPIENTS) == [TAKEN, TAKEN, TAKEN]
    type_in(gateway, "smtpproxy rules move 'Relay to lawyers' --first --action SMTP-Outgoing")
    assert answers(gateway, *RECIPIENTS) == [NOT_OFFERED, NOT_OFFERED, TAKEN]
    type_in(gateway, "smtpproxy rules disable 'Relay to lawyers' --action SMTP-Outgoing")
    assert answers(gateway, *RECIPIENTS) == [TAKEN, TAKEN, TAKEN]
