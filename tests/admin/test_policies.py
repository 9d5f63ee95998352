from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from smtpproxy.admin.cli import commands
from smtpproxy.admin.exits import CommandError, ExitStatus

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result

MAIN = """
interception: {ports: {smtp: [25, 587], smtps: [465]}}
policies:
  - {name: Both, direction: outbound, source: [10.0.0.0/8], upstream: {host: a.example}}
  - {name: Clear, direction: outbound, source: [10.0.0.0/8], tls_support: disabled, upstream: {host: a.example}}
  - {name: Implicit, direction: inbound, tls_support: required, upstream: {host: a.example}}
  - {name: Off, enabled: false, direction: inbound, upstream: {host: a.example}}
  - {name: "[bold]Plain", direction: outbound, proxy_action: Plain, upstream: {host: a.example}}
  - {name: Old, direction: outbound, proxy_action: Old, upstream: {host: a.example}}
"""


@pytest.fixture
def main_file(made_home: Path, tmp_path: Path) -> Path:
    (tmp_path / "certs").symlink_to(made_home / "certs")
    (tmp_path / "config" / "proxy-actions").mkdir(parents=True)
    (tmp_path / "config" / "proxy-actions" / "Plain.yaml").write_text("kind: client\nstarttls: {enabled: false}\n")
    (tmp_path / "config" / "proxy-actions" / "Old.yaml").write_text("kind: client\nesmtp: {enabled: false}\n")
    main = tmp_path / "config" / "smtpproxy.yaml"
    main.write_text(MAIN)
    return main


def policies(main_file: Path, *arguments: str) -> Result:
    return CliRunner(env={"COLUMNS": "150"}).invoke(commands, ["policies", "-c", str(main_file), *arguments])


def views(main_file: Path, *arguments: str) -> dict[str, dict[str, Any]]:
    result = policies(main_file, "--format", "json", *arguments)
    assert result.exit_code == 0
    return {view["policy"]: view for view in json.loads(result.output)}


def test_the_whole_view_of_a_policy(main_file: Path) -> None:
    assert views(main_file)["Both"] == {
        "policy": "Both",
        "enabled": True,
        "direction": "outbound",
        "proxy_action": "SMTP-Outgoing.Standard",
        "tls_support": "enabled",
        "ports": [25, 587, 465],
        "starttls": "inspected",
        "implicit_tls": "inspected",
        "exceptions": {"starttls": [], "implicit_tls": []},
        "rules": [
            "force encrypt: sender optional, recipient required, offer honest",
            "default: sender optional, recipient preferred, offer honest",
        ],
        "profiles": {"starttls": "TLS-Client.Standard", "implicit_tls": "TLS-Client.Standard"},
        "legacy": [],
    }


def test_a_legacy_profile_is_loud(main_file: Path) -> None:
    action = main_file.parent / "proxy-actions" / "Plain.yaml"
    action.write_text("kind: client\nstarttls: {profile: TLS-Legacy}\n")
    assert views(main_file)["[bold]Plain"]["legacy"] == ["TLS-Legacy"]
    assert "LEGACY" in policies(main_file).output


@pytest.mark.parametrize(
    ("policy", "ports", "starttls", "implicit_tls"),
    [
        ("Clear", [25, 587], "inspected", "not inspected, because TLS Support is disabled"),
        (
            "Implicit",
            [465],
            "not inspected, because TLS Support is required, so only implicit TLS is taken",
            "inspected",
        ),
        ("Off", [], "not inspected, because the policy is disabled", "not inspected, because the policy is disabled"),
        ("[bold]Plain", [25, 587, 465], "not inspected, because starttls.enabled is false", "inspected"),
        (
            "Old",
            [25, 587, 465],
            "not inspected, because esmtp.enabled is false: no ESMTP, no STARTTLS",
            "inspected",
        ),
    ],
)
def test_what_is_bound_and_inspected(
    main_file: Path, policy: str, ports: list[int], starttls: str, implicit_tls: str
) -> None:
    view = views(main_file)[policy]
    assert view["ports"] == ports
    assert view["starttls"] == starttls
    assert view["implicit_tls"] == implicit_tls


def test_a_kind_without_ports(main_file: Path) -> None:
    main_file.write_text(MAIN.replace("smtps: [465]", "smtps: []"))
    assert views(main_file)["Both"]["implicit_tls"] == "not inspected, because interception.ports.smtps is empty"


def test_only_the_policies_of_an_action(main_file: Path) -> None:
    assert set(views(main_file, "--action", "SMTP-Incoming.Standard")) == {"Implicit", "Off"}


def test_an_action_that_nobody_uses(main_file: Path) -> None:
    result = policies(main_file, "--action", "plain")
    assert isinstance(result.exception, CommandError)
    assert result.exception.status is ExitStatus.USAGE
    assert "did you mean 'Plain'?" in str(result.exception)


def test_the_table_shows_names_as_they_are(main_file: Path) -> None:
    output = policies(main_file).output
    assert "[bold]Plain" in output
    assert "Off (disabled)" in output
    assert "ports: 25, 587, 465" in output


def test_rules_that_do_not_decide_are_marked(main_file: Path) -> None:
    rules = "[{name: off, to: [a.example], enabled: false}, {name: watched, to: [b.example], mode: monitor}]"
    action = main_file.parent / "proxy-actions" / "Plain.yaml"
    action.write_text(f"kind: client\nstarttls: {{rules: {rules}}}\n")
    assert views(main_file)["[bold]Plain"]["rules"] == [
        "off (disabled): sender optional, recipient preferred, offer honest",
        "watched (monitor): sender optional, recipient preferred, offer honest",
        "(default): sender optional, recipient preferred, offer honest",
    ]


def written(main_file: Path, text: str) -> dict[str, Any]:
    (main_file.parent / "proxy-actions" / "Plain.yaml").write_text(f"kind: client\n{text}\n")
    found: dict[str, Any] = views(main_file)["[bold]Plain"]
    return found


@pytest.mark.parametrize(
    ("action", "why"),
    [
        ("allow", "it passes in a tunnel"),
        ("deny", "it is told 554 5.7.1 inside TLS"),
        ("drop", "it is reset"),
        ("block", "it is reset, and its source blocked"),
    ],
)
def test_what_happens_to_implicit_tls_instead_of_inspection(main_file: Path, action: str, why: str) -> None:
    view = written(main_file, f"tls: {{action: {action}}}")
    assert view["implicit_tls"] == f"not inspected, because tls.action is {action}: {why}"
    assert view["starttls"] == "inspected"


def test_exceptions_stand_beside_what_is_inspected(main_file: Path) -> None:
    view = written(
        main_file,
        """\
tls:
  exceptions:
    - {match: ["*.bank.example", 192.0.2.0/24, a.example, b.example], action: allow}
    - {match: [c.example], action: inspect}
    - {match: ["*"], action: inspect}
    - {match: [never.example], action: deny}
starttls: {exceptions: [{match: ["2001:db8::/32"], action: block}]}""",
    )
    assert view["implicit_tls"] == view["starttls"] == "inspected, but for exceptions"
    assert view["exceptions"] == {
        "starttls": ["1 (block) for 2001:db8::/32"],
        "implicit_tls": [
            "1 (allow) for *.bank.example, 192.0.2.0/24, a.example and 1 more",
            "2 (inspect) for c.example",
            "3 (inspect) for all",
        ],
    }
    assert "exception 1 (block) for" in policies(main_file).output


def test_an_exception_for_all_is_why_nothing_is_inspected(main_file: Path) -> None:
    view = written(main_file, 'starttls: {enabled: false, exceptions: [{match: ["*"], action: allow}]}')
    assert view["starttls"] == (
        "not inspected, because exception 1 says allow: the client's own STARTTLS passes in a tunnel"
    )
    assert view["implicit_tls"] == "inspected"


def test_exceptions_of_a_port_that_is_not_taken_are_none(main_file: Path) -> None:
    main_file.write_text(MAIN.replace("smtps: [465]", "smtps: []"))
    view = written(main_file, 'tls: {action: allow, exceptions: [{match: ["*"], action: allow}]}')
    assert view["implicit_tls"] == "not inspected, because interception.ports.smtps is empty"
    assert view["exceptions"]["implicit_tls"] == []
