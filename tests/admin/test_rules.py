from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import pytest
from click.testing import CliRunner

from smtpproxy.admin.cli import commands
from smtpproxy.admin.exits import CommandError, ExitStatus
from smtpproxy.admin.rule_file import Kind, RuleFile
from smtpproxy.admin.rule_words import message_options, message_rule
from smtpproxy.config.problems import ConfigurationErrors
from smtpproxy.config.shipped import predefined

if TYPE_CHECKING:
    from click.testing import Result

MAIN = """
policies:
  - {name: Out, direction: outbound, source: [10.0.0.0/8], proxy_action: Mine, upstream: {host: a.example}}
  - {name: In, direction: inbound, upstream: {host: a.example}}
"""

MINE = """\
# an action of mine
kind: client
message_rules:
  # programs by mail
  - name: programs
    when: {header: {name: Subject, matches: "*.exe*"}}
    final: deny

  - {name: "[b]big", enabled: false, when: {size: {over: 10MB}}, final: deny}   # not yet
"""


@pytest.fixture
def main_file(tmp_path: Path) -> Path:
    actions = tmp_path / "config" / "proxy-actions"
    actions.mkdir(parents=True)
    (actions / "Mine.yaml").write_text(MINE)
    main = tmp_path / "config" / "smtpproxy.yaml"
    main.write_text(MAIN)
    return main


def mine(main_file: Path) -> Path:
    return main_file.parent / "proxy-actions" / "Mine.yaml"


def rules(main_file: Path, *arguments: str) -> Result:
    return CliRunner(env={"COLUMNS": "150"}).invoke(commands, ["rules", *arguments, "-c", str(main_file)])


def done(main_file: Path, *arguments: str) -> list[str]:
    """Run a command, and return what it prints with paths relative to config/."""
    result = rules(main_file, *arguments)
    assert result.exit_code == 0, result.output
    return result.output.replace(f"{main_file.parent}/", "").splitlines()


def refused(main_file: Path, *arguments: str) -> str:
    """Run a command that is not understood, and return its error; nothing is changed."""
    before = mine(main_file).read_bytes()
    result = rules(main_file, *arguments)
    assert mine(main_file).read_bytes() == before
    if isinstance(result.exception, CommandError):
        assert result.exception.status is ExitStatus.USAGE
        return str(result.exception)
    assert result.exit_code == click.UsageError.exit_code
    return result.output.splitlines()[-1]


def names(main_file: Path, kind: str = "message") -> list[str]:
    (action,) = json.loads(rules(main_file, "list", "--action", "Mine", "--format", "json").output)
    return [rule["name"] for rule in action["rules"] if rule["kind"] == kind]


def test_the_whole_list_of_an_action(main_file: Path) -> None:
    (action,) = json.loads(rules(main_file, "list", "--action", "Mine", "--format", "json").output)
    encryption, programs, big = action["rules"]
    assert (action["action"], action["predefined"], action["file"]) == ("Mine", False, str(mine(main_file)))
    assert {key: encryption[key] for key in ("kind", "number", "state", "name", "recipient", "offer", "notes")} == {
        "kind": "encryption",
        "number": 1,
        "state": "enabled",
        "name": "default",
        "recipient": "preferred",
        "offer": "honest",
        "notes": [],
    }
    assert programs == {
        "kind": "message",
        "number": 1,
        "state": "enabled",
        "name": "programs",
        "enabled": True,
        "when": {"header": {"name": "Subject", "matches": "*.exe*"}},
        "then": [],
        "final": "deny",
        "notes": [],
    }
    assert (big["number"], big["state"], big["final"]) == (2, "disabled", "deny")


def test_actions_that_are_ones_own_or_in_use(main_file: Path) -> None:
    found = json.loads(rules(main_file, "list", "--format", "json").output)
    assert [(each["action"], each["predefined"]) for each in found] == [
        ("Mine", False),
        ("SMTP-Incoming.Standard", True),
    ]
    mine(main_file).with_name("Unused.yaml").write_text("kind: client\n")
    found = json.loads(rules(main_file, "list", "--format", "json").output)
    assert [each["action"] for each in found] == ["Mine", "SMTP-Incoming.Standard", "Unused"]


def test_the_table(main_file: Path) -> None:
    done(
        main_file,
        "add-message",
        "--name",
        "tls",
        "--action",
        "Mine",
        "--add-header",
        "Subject: a",
        "--no-header",
        "X-A",
    )
    done(main_file, "enable", "tls", "--action", "Mine")
    output = rules(main_file, "list").output
    cells = {" ".join(cell.split()) for line in output.splitlines() for cell in line.split("│")}
    assert {"[b]big", "(disabled)", "header Subject matches *.exe*", "size over 10MB", "deny"} <= cells
    assert {"header X-A absent", "add header Subject: a", "sender optional", "recipient preferred"} <= cells
    assert "SMTP-Incoming.Standard (predefined, read-only)" in output
    assert "a message has one Subject" in " ".join(cells)


def test_an_action_that_is_not_there(main_file: Path) -> None:
    assert refused(main_file, "list", "--action", "mine") == (
        "no proxy action 'mine' is yours or in use; did you mean 'Mine'?; there are Mine, SMTP-Incoming.Standard"
    )
    assert refused(main_file, "enable", "a", "--action", "Nine") == (
        "there is no proxy action 'Nine'; did you mean 'Mine'?; yours are Mine"
    )
    mine(main_file).rename(mine(main_file).with_name("Other.txt"))
    error = rules(main_file, "enable", "a", "--action", "Mine").exception
    assert str(error) == (
        "there is no proxy action 'Mine'; make one of SMTP-Incoming.Standard or SMTP-Outgoing.Standard with "
        "'smtpproxy clone'"
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ("enable", "default"),
        ("disable", "default"),
        ("remove", "default"),
        ("move", "default", "--first"),
        ("add-message", "--name", "a", "--deny"),
        ("add", "--name", "a", "--to", "a.example", "--recipient", "required"),
    ],
)
def test_a_predefined_action_is_cloned_first(main_file: Path, arguments: tuple[str, ...]) -> None:
    message = refused(main_file, *arguments, "--action", "SMTP-Outgoing.Standard")
    told, command = message.splitlines()
    assert told == (
        "SMTP-Outgoing.Standard is predefined and read-only; copy it, name the copy in the policy (proxy_action: "
        "SMTP-Outgoing), and edit that:"
    )
    assert command == f"  smtpproxy clone proxy-action SMTP-Outgoing.Standard SMTP-Outgoing -c {main_file}"
    made = CliRunner().invoke(commands, command.split()[1:])
    assert made.exit_code == 0, made.output
    copy = mine(main_file).with_name("SMTP-Outgoing.yaml")
    assert copy.read_text() == predefined("proxy-actions")["SMTP-Outgoing.Standard"]
    assert done(main_file, "add-message", "--name", "a", "--deny", "--action", "SMTP-Outgoing")
    assert copy.read_text().startswith(predefined("proxy-actions")["SMTP-Outgoing.Standard"])
    assert refused(main_file, *arguments, "--action", "SMTP-Outgoing.Standard").endswith(
        f"SMTP-Outgoing.2 -c {main_file}"
    )


def test_a_rule_is_made_disabled(main_file: Path) -> None:
    assert done(main_file, "add-message", "--name", "my rule", "--action", "Mine", "--under", "1kB", "--deliver") == [
        "made 'my rule' in proxy-actions/Mine.yaml: number 3 of 3",
        "made disabled; switch it on with: smtpproxy rules enable 'my rule' --action Mine -c "
        + str(main_file).replace(f"{main_file.parent}/", ""),
    ]
    assert mine(main_file).read_text() == MINE + (
        "\n  - name: my rule\n    enabled: false\n    when: {size: {under: 1kB}}\n    final: deliver\n"
    )


def test_switching_on_and_off(main_file: Path) -> None:
    assert done(main_file, "enable", "[b]big", "--action", "Mine") == [
        "enabled '[b]big' in proxy-actions/Mine.yaml; the gateway takes it with its next reload (SIGHUP)"
    ]
    assert mine(main_file).read_text() == MINE.replace("enabled: false", "enabled: true")
    assert done(main_file, "enable", "[b]big", "--action", "Mine") == ["'[b]big' is enabled already"]
    assert done(main_file, "enable", "programs", "--action", "Mine") == ["'programs' is enabled already"]
    done(main_file, "disable", "[b]big", "--action", "Mine")
    assert mine(main_file).read_text() == MINE
    done(main_file, "disable", "programs", "--action", "Mine", "--kind", "message")
    assert "- name: programs\n    enabled: false\n    when:" in mine(main_file).read_text()


def test_moving(main_file: Path) -> None:
    action = ("--action", "Mine")
    for name in "abc":
        done(main_file, "add-message", "--name", name, *action, "--deny", "--over", "1MB")
    for arguments, expected in (
        (("c", "--first"), ["c", "programs", "[b]big", "a", "b"]),
        (("c", "--last"), ["programs", "[b]big", "a", "b", "c"]),
        (("programs", "--after", "a"), ["[b]big", "a", "programs", "b", "c"]),
        (("b", "--before", "a"), ["[b]big", "b", "a", "programs", "c"]),
        (("b", "--after", "[b]big"), ["[b]big", "b", "a", "programs", "c"]),
    ):
        done(main_file, "move", *arguments, *action)
        assert names(main_file) == expected
    assert "  # programs by mail\n  - name: programs\n" in mine(main_file).read_text()
    assert done(main_file, "move", "a", "--last", *action) == [
        "moved 'a' in proxy-actions/Mine.yaml: number 5 of 5; the gateway takes it with its next reload (SIGHUP)"
    ]


def test_removing(main_file: Path) -> None:
    done(main_file, "remove", "programs", "--action", "Mine")
    assert mine(main_file).read_text() == (
        "# an action of mine\nkind: client\nmessage_rules:\n"
        '  - {name: "[b]big", enabled: false, when: {size: {over: 10MB}}, final: deny}   # not yet\n'
    )
    done(main_file, "remove", "[b]big", "--action", "Mine")
    assert mine(main_file).read_text() == "# an action of mine\nkind: client\nmessage_rules: []\n"
    done(main_file, "add-message", "--name", "a", "--action", "Mine", "--deny")
    assert names(main_file) == ["a"]


def test_a_new_rule_stands_where_it_sees_mail(main_file: Path) -> None:
    mine(main_file).write_text(MINE + "  - {name: rest, enabled: false, final: deliver}\n")
    done(main_file, "add-message", "--name", "a", "--action", "Mine", "--deny")
    assert names(main_file) == ["programs", "[b]big", "a", "rest"]
    done(main_file, "add-message", "--name", "b", "--action", "Mine", "--deny", "--last")
    done(main_file, "add-message", "--name", "c", "--action", "Mine", "--deny", "--before", "a")
    assert names(main_file) == ["programs", "[b]big", "c", "a", "rest", "b"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("enable", "bug"), "Mine has no rule 'bug'; its rules are programs, [b]big"),
        (("enable", "program"), "Mine has no rule 'program'; did you mean 'programs'?; its rules are programs, [b]big"),
        (("enable", "big", "--kind", "encryption"), "Mine has no rule 'big'; it has none in its file"),
        (("move", "programs"), "Error: give one of --before, --after, --first and --last"),
        (("move", "programs", "--first", "--last"), "Error: give one of --before, --after, --first and --last"),
        (("move", "programs", "--before", "programs"), "there is no rule 'programs' beside it; there are [b]big"),
        (("add-message", "--name", "programs", "--deny"), "has a rule 'programs' already; choose another name"),
        (
            ("add-message", "--name", "a"),
            "Error: say what the rule does, such as --add-header, --set-encryption or --deny",
        ),
        (("add-message", "--name", "a", "--deny", "--deliver"), "Error: give one of --deny and --deliver"),
        (
            ("add-message", "--name", "a", "--add-header", "X-A"),
            "Error: --add-header takes a field and its value, such as --add-header 'x-TLSLevel: Require'",
        ),
        (
            ("add", "--name", "a", "--recipient", "required"),
            "Error: say for whom the rule is: --to, --from or --client; --to '*' for all mail",
        ),
        (
            ("add", "--name", "a", "--to", "a.example"),
            "Error: say what the rule asks for: --recipient, such as required, or --sender",
        ),
    ],
)
def test_what_is_not_understood(main_file: Path, arguments: tuple[str, ...], message: str) -> None:
    assert refused(main_file, *arguments, "--action", "Mine").endswith(message)


def test_names_that_are_not_unique(main_file: Path) -> None:
    text = MINE + "starttls: {rules: [{name: programs}]}\n"
    mine(main_file).write_text(text)
    assert refused(main_file, "disable", "programs", "--action", "Mine") == (
        "Mine has 2 rules 'programs'; name its --kind"
    )
    done(main_file, "disable", "programs", "--action", "Mine", "--kind", "message")
    mine(main_file).write_text(MINE + "  - {name: programs, final: deny}\n")
    assert refused(main_file, "disable", "programs", "--action", "Mine") == (
        "Mine has 2 rules 'programs'; rename one of them in the file"
    )


def test_what_the_loader_refuses_is_not_written(main_file: Path) -> None:
    result = rules(main_file, "add-message", "--name", "a", "--action", "Mine", "--over", "big", "--deny")
    assert mine(main_file).read_text() == MINE
    assert isinstance(result.exception, ConfigurationErrors)
    assert str(result.exception) == (
        f"{mine(main_file)}:13:25: message_rules[2].when.size.over: 'big' is not a size; give octets, or a number and "
        "kB, MB, GB, KiB, MiB or GiB"
    )
    assert "Mine.yaml is left as it was, since the configuration would have mistakes:" in result.output
    assert [file.name for file in mine(main_file).parent.iterdir()] == ["Mine.yaml"]


def test_a_mistake_elsewhere_is_told_too(main_file: Path) -> None:
    main_file.write_text(MAIN.replace("a.example", "'a b'", 1))
    result = rules(main_file, "remove", "programs", "--action", "Mine")
    assert isinstance(result.exception, ConfigurationErrors)
    assert mine(main_file).read_text() == MINE
    assert str(result.exception).startswith(f"{main_file}:3:")


def test_the_file_keeps_its_permissions_and_may_be_a_link(main_file: Path, tmp_path: Path) -> None:
    real = tmp_path / "real.yaml"
    mine(main_file).rename(real)
    mine(main_file).symlink_to(real)
    real.chmod(0o640)
    before = os.umask(0o077)
    try:
        done(main_file, "disable", "programs", "--action", "Mine")
    finally:
        os.umask(before)
    assert mine(main_file).is_symlink()
    assert real.stat().st_mode & 0o777 == 0o640
    assert "enabled: false" in real.read_text()
    assert [file.name for file in tmp_path.iterdir() if file.is_file()] == ["real.yaml"]


def test_notes_of_check_are_told_at_once(main_file: Path) -> None:
    first, *_ = done(main_file, "add-message", "--name", "a", "--action", "Mine", "--deny", "--over", "50MB")
    assert first.startswith("made 'a'")
    first, second = done(main_file, "enable", "a", "--action", "Mine")
    assert first == (
        "notice: proxy-actions/Mine.yaml:13:25: message_rules[2].when.size.over: never applies, since what is over "
        "general.max_message_size, 50MB, is refused already"
    )
    assert second.startswith("enabled 'a'")


ENCRYPTION = """\
kind: client
starttls:
  rules:
    - {name: banks, to: [bank.example], recipient: required}

    # everybody else
    - {name: rest, to: ["*"], sender: optional, recipient: preferred}
"""


def test_an_encryption_rule_is_made_before_the_rule_for_all(main_file: Path) -> None:
    mine(main_file).write_text(ENCRYPTION)
    (main_file.parent / "lists").mkdir()
    (main_file.parent / "lists" / "partners.txt").write_text("a.example\n")
    words = "--to @partners --to c@b.example --client 10.0.0.0/8 --recipient verified --match mx --match c.example"
    assert done(main_file, "add", "--name", "partners", "--action", "Mine", *words.split(), "--monitor")[0] == (
        "made 'partners' in proxy-actions/Mine.yaml: number 2 of 3, before 'rest'"
    )
    made = """\
    - name: partners
      enabled: false
      to: ["@partners", c@b.example]
      client: [10.0.0.0/8]
      sender: optional
      recipient: verified
      match: [mx, c.example]
      mode: monitor

"""
    assert mine(main_file).read_text() == ENCRYPTION.replace("    # everybody", f"{made}    # everybody")
    (action,) = json.loads(rules(main_file, "list", "--action", "Mine", "--format", "json").output)
    assert [(rule["name"], rule["state"]) for rule in action["rules"]] == [
        ("banks", "enabled"),
        ("partners", "disabled"),
        ("rest", "enabled"),
    ]
    table = " ".join(rules(main_file, "list", "--action", "Mine").output.split())
    assert "(disabled, monitor)" in table
    assert "recipient verified, by mx, c.example" in table
    done(main_file, "enable", "partners", "--action", "Mine")
    (action,) = json.loads(rules(main_file, "list", "--action", "Mine", "--format", "json").output)
    assert action["rules"][1]["state"] == "monitor"


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        (("--first",), ["a", "banks", "rest"]),
        (("--last",), ["banks", "rest", "a"]),
        (("--before", "banks"), ["a", "banks", "rest"]),
        (("--after", "rest"), ["banks", "rest", "a"]),
    ],
)
def test_an_encryption_rule_at_a_place_that_is_named(
    main_file: Path, place: tuple[str, ...], expected: list[str]
) -> None:
    mine(main_file).write_text(ENCRYPTION)
    done(main_file, "add", "--name", "a", "--action", "Mine", "--from", "a.example", "--sender", "required", *place)
    assert names(main_file, "encryption") == expected


def test_the_first_encryption_rule_of_a_file_leaves_all_other_mail_as_it_was(main_file: Path) -> None:
    done(
        main_file,
        "add",
        "--name",
        "a",
        "--action",
        "Mine",
        "--to",
        "a.example",
        "--recipient",
        "required",
        "--offer",
        "always",
    )
    assert mine(main_file).read_text() == MINE + (
        "\nstarttls:\n  rules:\n    - name: a\n      enabled: false\n      to: [a.example]\n      sender: optional\n"
        '      recipient: required\n      offer: always\n    - name: default\n      to: ["*"]\n      sender: optional\n'
        "      recipient: preferred\n"
    )


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ("--to a_b --recipient none --to @none", "starttls.rules[0].to[1]: there is no list 'none'; known are "),
        ("--to a..b --recipient required", "starttls.rules[0].to[0]: 'a..b' is no entry"),
        ("--to * --recipient verified --match a..b", "starttls.rules[0].match[0]: "),
        ("--client a --sender required", "starttls.rules[0].client[0]: "),
    ],
)
def test_an_encryption_rule_that_the_loader_refuses(main_file: Path, words: str, problem: str) -> None:
    mine(main_file).write_text(ENCRYPTION)
    error = rules(main_file, "add", "--name", "a", "--action", "Mine", "--first", *words.split()).exception
    assert isinstance(error, ConfigurationErrors)
    assert f": {problem}" in str(error)
    assert mine(main_file).read_text() == ENCRYPTION


@click.command()
@message_options
def said(**options: Any) -> None:  # noqa: ANN401  # click's
    click.echo(json.dumps(message_rule("all", options)))


def test_all_that_a_message_rule_can_say() -> None:
    arguments = """--direction outbound --from a@* --to @partners --to b.example --not-to *.example --client 10.0.0.0/8
        --client 192.0.2.1 --over 1MB --under 5MB --header Subject:a:?b* --header X-A --no-header X-B
        --remove-header X-C --replace-header X-D:d:d --add-header x-TLSLevel:Require --set-encryption required
        --tag-subject [big] --deliver"""
    result = CliRunner().invoke(said, arguments.split())
    assert json.loads(result.output) == ALL_OPTIONS


ALL_OPTIONS: dict[str, Any] = {
    "name": "all",
    "enabled": False,
    "when": {
        "direction": "outbound",
        "sender": {"matches": "a@*"},
        "recipient": {"matches": ["@partners", "b.example"], "does_not_match": "*.example"},
        "client": ["10.0.0.0/8", "192.0.2.1"],
        "size": {"over": "1MB", "under": "5MB"},
        "header": [
            {"name": "Subject", "matches": "a:?b*"},
            {"name": "X-A"},
            {"name": "X-B", "absent": True},
        ],
    },
    "then": [
        {"remove_header": "X-C"},
        {"replace_header": {"X-D": "d:d"}},
        {"add_header": {"x-TLSLevel": "Require"}},
        {"set_encryption": "required"},
        {"tag_subject": "[big]"},
    ],
    "final": "deliver",
}


@pytest.mark.parametrize(
    ("written", "implied"),
    [
        ("[{name: a, to: [a.example]}]", True),
        ("[{name: a, enabled: false}]", True),
        ("[{name: a, mode: monitor}]", True),
        ("[{name: a, client: [10.0.0.0/8]}]", True),
        ("[{name: a, from: [a.example]}]", True),
        ('[{name: a, to: [a.example, "*"]}]', False),
        ("[{name: a, client: [any]}]", False),
    ],
)
def test_the_rule_for_the_rest_is_shown(main_file: Path, written: str, *, implied: bool) -> None:
    mine(main_file).write_text(f"kind: client\nstarttls: {{rules: {written}}}\n")
    (action,) = json.loads(rules(main_file, "list", "--action", "Mine", "--format", "json").output)
    last = action["rules"][-1]
    assert (last["name"] == "(default)") is implied
    if implied:
        assert (last["number"], last["state"], last["recipient"], last["offer"]) == (
            2,
            "enabled",
            "preferred",
            "honest",
        )


def test_the_only_encryption_rule_stays(main_file: Path) -> None:
    mine(main_file).write_text("kind: client\nstarttls: {rules: [{name: a, to: [a.example]}]}\n")
    message = refused(main_file, "remove", "a", "--action", "Mine")
    assert message.startswith("'a' is the only encryption rule; switch it off: smtpproxy rules disable a --action Mine")
    done(main_file, "disable", "a", "--action", "Mine")


def _add_all(main_file: Path, names: list[str]) -> list[str]:
    """Make rules, and return the names of those that it says it made."""
    made = []
    for name in names:
        try:
            file = RuleFile(main_file, "Mine")
            file.yaml.insert(Kind.MESSAGE.loc, 0, {"name": name, "enabled": False, "final": "deny"})
            file.save()
        except CommandError as error:
            assert error.status is ExitStatus.TEMPORARY  # noqa: PT017  # all that may happen
        else:
            made.append(name)
    return made


def test_of_two_who_edit_at_once_none_loses_what_it_was_told_is_written(main_file: Path) -> None:
    batches = [[f"{who}{number}" for number in range(15)] for who in "abcd"]
    with ThreadPoolExecutor(len(batches)) as pool:
        made = [name for names in pool.map(_add_all, [main_file] * len(batches), batches) for name in names]
    assert made
    assert set(made) <= set(RuleFile(main_file, "Mine").names(Kind.MESSAGE))
