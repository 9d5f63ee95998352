"""Whether TLS is inspected at all, and by which exception it is not, as ``explain`` tells it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from smtpproxy.admin.cli import commands
from smtpproxy.admin.exits import CommandError, ExitStatus

ACTION = {
    "kind": "client",
    "tls": {
        "exceptions": [
            {"match": ["*.bank.example", "192.0.2.0/24"], "action": "allow"},
            {"match": ["evil.example", "198.51.100.0/24"], "action": "deny"},
        ]
    },
    "starttls": {
        "rules": [
            {"name": "strict", "to": ["strict.example"], "recipient": "required"},
            {"name": "default", "to": ["*"], "recipient": "preferred"},
        ],
        "exceptions": [
            {"match": ["192.0.2.0/24"], "action": "allow"},
            {"match": ["198.51.100.0/24"], "action": "drop"},
        ],
    },
    "message_rules": [{"name": "big", "when": {"size": {"over": "20MB"}}, "final": "deny"}],
}
NAME, DESTINATION = "server_name", "destination"


@pytest.fixture
def home(made_home: Path, tmp_path: Path) -> Path:
    home = Path(shutil.copytree(made_home, tmp_path / "home"))
    (home / "config" / "proxy-actions").mkdir(exist_ok=True)
    (home / "config" / "proxy-actions" / "Out.yaml").write_text(json.dumps(ACTION))
    main = home / "config" / "smtpproxy.yaml"
    content = yaml.safe_load(main.read_text())
    upstream = {"host": "mx.example", "smtp": 25, "smtps": 465}
    content["policies"] = [{**content["policies"][0], "proxy_action": "Out", "upstream": upstream}]
    main.write_text(json.dumps(content))
    return home


def run(home: Path, *arguments: str, to: str = "b@x.test") -> Result:
    main = str(home / "config" / "smtpproxy.yaml")
    asked = ("--from", "a@inside.test", "--to", to, *arguments)
    return CliRunner(env={"COLUMNS": "160"}).invoke(commands, ["explain", "-c", main, *asked])


def explained(home: Path, *arguments: str, to: str = "b@x.test") -> dict[str, Any]:
    result = run(home, "--format", "json", *arguments, to=to)
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def cases(document: dict[str, Any]) -> list[tuple[int | None, str, list[str]]]:
    return [(each["exception"], each["action"], each["depends_on"]) for each in document["tls"]]


def test_on_465_it_depends_on_what_the_client_asks_for_and_dials(home: Path) -> None:
    document = explained(home, "--port", "465")
    both = [DESTINATION, NAME]
    assert cases(document) == [(1, "allow", both), (2, "deny", both), (None, "inspect", [])]
    assert document["recipients"]  # as it is if nothing else comes of it
    told = run(home, "--port", "465").stdout
    assert (
        "TLS: exception 1 says allow: it passes in a tunnel, if the client's SNI or the destination is of "
        "*.bank.example and 192.0.2.0/24" in told
    )
    assert "else exception 2 says deny: it is told 554 5.7.1 inside TLS, if" in told
    assert "else tls.action is inspect" in told


def test_a_destination_leaves_the_name_open(home: Path) -> None:
    document = explained(home, "--port", "465", "--destination", "198.51.100.9")
    assert cases(document) == [(1, "allow", [NAME]), (2, "deny", [])]


@pytest.mark.parametrize(
    ("sni", "decisive"),
    [("mx.bank.example", (1, "allow")), ("evil.example", (2, "deny")), ("x.test", (None, "inspect"))],
)
def test_a_name_and_a_destination_settle_it(home: Path, sni: str, decisive: tuple[int | None, str]) -> None:
    document = explained(home, "--port", "465", "--destination", "203.0.113.1", "--sni", sni)
    assert cases(document) == [(*decisive, [])]


def test_what_passes_is_judged_by_nothing(home: Path) -> None:
    arguments = ("--port", "465", "--destination", "192.0.2.9")
    document = explained(home, *arguments, "--online")
    assert cases(document) == [(1, "allow", [])]
    assert (document["recipients"], document["message_rules"], document["online"]) == ([], [], None)
    told = run(home, *arguments).stdout
    assert "what passes inside is seen by no encryption rule and no message rule" in told
    assert "the sender is told" not in told


def test_who_is_not_let_in_has_no_mail_to_judge(home: Path) -> None:
    document = explained(home, "--destination", "198.51.100.9")
    assert cases(document) == [(2, "drop", [])]
    assert document["recipients"] == []
    told = run(home, "--destination", "198.51.100.9").stdout
    assert "TLS: exception 2 says drop: it is reset" in told
    assert "no mail is taken" in told


def test_mail_in_clear_beside_a_tunnel_is_judged(home: Path) -> None:
    document = explained(home, "--destination", "192.0.2.9", to="b@strict.example")
    assert cases(document) == [(1, "allow", [])]
    assert document["offers_starttls"] == {"upstream_ready": False, "upstream_in_clear": False}
    (recipient,) = document["recipients"]
    outcomes = {(each["client"], each["upstream"]): each["because"] for each in recipient["outcomes"]}
    assert outcomes == {
        ("clear", "left-to-client"): "starttls-is-the-clients",
        ("clear", "clear"): "upstream-tls-clear",
    }
    told = run(home, "--destination", "192.0.2.9", to="b@strict.example").stdout
    assert "exception 1 says allow: the client's own STARTTLS passes in a tunnel" in told
    assert "mail in clear is judged all the same" in told
    assert "530 5.7.0" in told


def test_on_25_the_name_does_not_count(home: Path) -> None:
    assert cases(explained(home)) == [(1, "allow", [DESTINATION]), (2, "drop", [DESTINATION]), (None, "inspect", [])]
    result = run(home, "--sni", "mx.bank.example")
    assert isinstance(result.exception, CommandError)
    assert result.exception.status is ExitStatus.USAGE
    assert "comes too late" in str(result.exception)


def test_the_upstream_of_the_policy_counts_where_it_is_an_address(home: Path) -> None:
    main = home / "config" / "smtpproxy.yaml"
    content = json.loads(main.read_text())
    content["policies"][0]["upstream"]["host"] = "192.0.2.25"
    main.write_text(json.dumps(content))
    assert cases(explained(home)) == [(1, "allow", [])]
