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

RULES = [
    {"name": "off", "enabled": False, "to": ["*"], "recipient": "none"},
    {"name": "watching", "mode": "monitor", "to": ["*.example"], "recipient": "required"},
    {"name": "boss", "from": ["boss@inside.test"], "recipient": "required", "on_failure": {"not_offered": "tempfail"}},
    {"name": "partners", "to": ["bank.example"], "sender": "required", "recipient": "verified"},
    {"name": "branch", "client": ["10.9.0.0/16"], "recipient": "required"},
    {"name": "by address", "to": ["192.0.2.0/24"], "recipient": "dane"},
    {"name": "default", "to": ["*"], "sender": "optional", "recipient": "preferred"},
]
POLICIES: list[dict[str, object]] = [
    {"name": "other branch", "source": ["172.16.0.0/12"]},
    {"name": "only 465", "tls_support": "required"},
    {"name": "outside", "source": ["any"]},
]


@pytest.fixture
def home(made_home: Path, tmp_path: Path) -> Path:
    home = Path(shutil.copytree(made_home, tmp_path / "home"))
    action = {"kind": "client", "starttls": {"rules": RULES}, "message_rules": MESSAGE_RULES}
    (home / "config" / "proxy-actions").mkdir(exist_ok=True)
    (home / "config" / "proxy-actions" / "Out.yaml").write_text(json.dumps(action))
    main = yaml.safe_load((home / "config" / "smtpproxy.yaml").read_text())
    usual = {**main["policies"][0], "source": ["10.0.0.0/8"], "destination": ["any"], "proxy_action": "Out"}
    main["policies"] = [{**usual, **each} for each in POLICIES]
    (home / "config" / "smtpproxy.yaml").write_text(json.dumps(main, indent=1))
    return home


MESSAGE_RULES = [
    {"name": "big", "when": {"size": {"over": "20MB"}}, "final": "deny"},
    {"name": "to the shop", "when": {"recipient": {"matches": "shop.test"}}, "then": [{"set_encryption": "required"}]},
    {"name": "from the branch", "when": {"client": ["10.9.0.0/16"]}, "then": [{"add_header": {"X-Branch": "9"}}]},
    {"name": "stamp", "then": [{"add_header": {"X-Checked-By": "gw"}}], "final": "deliver"},
    {"name": "never reached", "final": "deny"},
]


def run(home: Path, *arguments: str) -> Result:
    main = str(home / "config" / "smtpproxy.yaml")
    return CliRunner(env={"COLUMNS": "160"}).invoke(commands, ["explain", "-c", main, *arguments])


def explained(home: Path, *arguments: str, sender: str = "a@inside.test", to: str = "b@x.test") -> dict[str, Any]:
    result = run(home, "--from", sender, "--to", to, "--format", "json", *arguments)
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def rules(document: dict[str, Any]) -> dict[str, str]:
    return {tried["rule"]: tried["found"] for tried in document["recipients"][0]["rules"]}


def replies(document: dict[str, Any], client: str) -> dict[str, tuple[str | None, str | None]]:
    outcomes = document["recipients"][0]["outcomes"]
    return {each["upstream"]: (each["at"], each["because"]) for each in outcomes if each["client"] == client}


def test_why_each_policy_before_the_one_is_not_it(home: Path) -> None:
    document = explained(home, "--source", "198.51.100.7")
    assert [(each["policy"], each["why_not"]) for each in document["policies"]] == [
        ("other branch", "the source is in none of its networks"),
        ("only 465", "its TLS Support does not take this port"),
        ("outside", None),
    ]
    assert document["policy"]["name"] == "outside"


def test_the_port_decides_which_kind_of_session_it_is(home: Path) -> None:
    document = explained(home, "--source", "10.1.2.3", "--port", "465")
    assert document["policy"]["name"] == "only 465"
    assert document["plan"] is None
    assert {outcome["client"] for outcome in document["recipients"][0]["outcomes"]} == {"tls"}


def test_no_policy_takes_it(home: Path) -> None:
    main = home / "config" / "smtpproxy.yaml"
    content = json.loads(main.read_text())
    del content["policies"][2]
    main.write_text(json.dumps(content))
    document = explained(home, "--source", "198.51.100.7")
    assert (document["policy"], document["recipients"]) == (None, [])
    result = run(home, "--from", "a@b.test", "--to", "c@d.test", "--source", "198.51.100.7")
    assert "no policy takes this connection: it is closed" in result.stdout


def test_every_rule_that_was_tried_and_why_not(home: Path) -> None:
    document = explained(home, "--source", "10.1.2.3")
    assert rules(document) == {
        "off": "disabled",
        "watching": "to does not match",
        "boss": "from does not match",
        "partners": "to does not match",
        "branch": "client does not match",
        "by address": "may apply",
        "default": "applies",
    }
    assert document["recipients"][0]["rule"] == "default"


def test_behind_the_rule_that_decides_none_is_reached(home: Path) -> None:
    found = rules(explained(home, "--source", "10.1.2.3", to="b@bank.example"))
    assert found["partners"] == "applies"
    assert {found[name] for name in ("branch", "by address", "default")} == {"a rule before it applies"}


def test_a_rule_that_only_monitors_is_told_and_does_not_decide(home: Path) -> None:
    recipient = explained(home, to="b@shop.example")["recipients"][0]
    assert recipient["monitoring"] == ["watching"]
    assert recipient["rule"] != "watching"
    assert "watching: applies, and only monitors" in run(home, "--from", "<>", "--to", "b@shop.example").stdout


def test_what_is_asked_and_every_reply(home: Path) -> None:
    document = explained(home, "--source", "10.1.2.3", to="b@bank.example")
    recipient = document["recipients"][0]
    assert (recipient["sender"], recipient["recipient"]) == ("required", ["verified"])
    assert recipient["names"] == ["bank.example"]
    assert set(replies(document, "clear").values()) == {("RCPT", "sender-encryption-required")}
    assert replies(document, "tls") == {
        "verified": (None, None),
        "other-name": ("RCPT", "upstream-certificate-name"),
        "not-valid": ("RCPT", "upstream-certificate-not-valid"),
        "not-offered": ("RCPT", "upstream-tls-not-offered"),
        "handshake-failed": ("RCPT", "upstream-tls-handshake-failed"),
    }


def test_a_rule_has_its_own_class_of_replies(home: Path) -> None:
    document = explained(home, "--clear", sender="boss@inside.test")
    outcomes = {each["upstream"]: each["reply"] for each in document["recipients"][0]["outcomes"]}
    assert outcomes["not-offered"] == "450 4.7.4 Encryption required, but the receiving server does not offer it now"


def test_several_recipients_each_have_their_own(home: Path) -> None:
    document = explained(home, "--source", "10.1.2.3", "--to", "c@bank.example")
    assert [each["rule"] for each in document["recipients"]] == ["default", "partners"]


def test_message_rules_that_it_can_come_to(home: Path) -> None:
    def rules_of(*arguments: str, to: str = "b@x.test") -> list[str]:
        return [each["rule"] for each in explained(home, *arguments, to=to)["message_rules"]]

    assert rules_of("--source", "10.1.2.3") == ["big", "stamp"]
    assert rules_of("--source", "10.9.2.3") == ["big", "from the branch", "stamp"]
    assert rules_of(to="b@shop.test") == ["big", "to the shop", "from the branch", "stamp"]  # from any client


def test_what_a_message_may_ask_for_itself(home: Path) -> None:
    document = explained(home, "--clear", "--source", "10.1.2.3", to="b@shop.test")
    assert document["message_levels"] == ["required"]
    asked = {each["upstream"]: each["asked"]["required"] for each in document["recipients"][0]["outcomes"]}
    assert asked["verified"]["passes"]
    assert asked["not-valid"]["passes"]
    assert asked["not-offered"]["at"] == "the end of data"
    assert asked["not-offered"]["reply"].startswith("550 5.7.4 ")
    result = run(home, "--from", "a@b.test", "--to", "b@shop.test", "--source", "10.1.2.3")
    assert "the message may ask for: required, by a message rule or x-TLSLevel" in result.stdout
    assert "if the message asks for required: 550 5.7.4" in result.stdout


def test_the_picture(home: Path) -> None:
    result = run(home, "--from", "a@inside.test", "--to", "b@bank.example", "--source", "10.1.2.3")
    assert result.exit_code == 0
    text = result.stdout
    assert "mail of <a@inside.test> to <b@bank.example>, from 10.1.2.3 to port 25" in text
    assert "other branch is not: the source is in none of its networks" in text
    assert "partners: applies (sender required, recipient verified)" in text
    assert "of the upstream leg: verified, a certificate for bank.example" in text
    assert "530 5.7.0 Must issue a STARTTLS command first (to RCPT; sender-encryption-required)" in text
    assert "passed on: upstream's own reply" in text
    assert "never reached" not in text


def test_names_are_not_taken_for_markup(home: Path) -> None:
    result = run(home, "--from", '"[red]"@inside.test', "--to", "[bold]@[192.0.2.1]")
    assert isinstance(result.exception, CommandError)  # an unquoted bracket is no local part
    result = run(home, "--from", '"[red]"@inside.test', "--to", "b@[192.0.2.1]")
    assert '<"[red]"@inside.test>' in result.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ("--from", "a b", "--to", "c@d.test"),
        ("--from", "a@b.test", "--to", "<>"),
        ("--from", "a@b.test", "--to", "c@d.test", "--source", "10.0.0.0/8"),
        ("--from", "a@b.test", "--to", "c@d.test", "--port", "2525"),
    ],
)
def test_what_is_no_question(home: Path, arguments: tuple[str, ...]) -> None:
    result = run(home, *arguments)
    assert isinstance(result.exception, CommandError)
    assert result.exception.status is ExitStatus.USAGE
