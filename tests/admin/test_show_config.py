from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from click.testing import CliRunner, Result

from smtpproxy.admin.cli import commands, run
from smtpproxy.config.actions import make_actions
from smtpproxy.config.document import parse_document
from smtpproxy.config.fields import section_of
from smtpproxy.config.load import load_configuration
from smtpproxy.config.problems import ConfigurationErrors, Report
from smtpproxy.config.profiles import make_profiles
from smtpproxy.config.schema import FILES
from smtpproxy.config.section import key_of
from smtpproxy.config.shipped import ACTIONS, PROFILES, predefined
from smtpproxy.policy.entries import Entries
from smtpproxy.transport.trust import TrustStore

if TYPE_CHECKING:
    from collections.abc import Iterator

    from smtpproxy.config.section import Section
    from smtpproxy.config.values import Configuration

PROGRAM = Path(sys.executable).with_name("smtpproxy")
NOBODY = TrustStore((), "")

MAIN = """\
records: {file: null}   # no secret of comments is shown
gateway:
stores: {spool: {memory: 1MiB}}
interception: {listen: ["::1"], ports: {smtp: [2525], smtps: []}}
embedded: {smtp: 2600}
policies:
  - {name: "no", direction: outbound, source: [10.0.0.0/8, "2001:db8::/32"], proxy_action: Mine, upstream: embedded}
  - {name: "10:25", enabled: false, direction: inbound, proxy_action: null, upstream: {host: bücher.example}}
  - {name: "a # b: 'ü'", direction: outbound, proxy_action: Bare, upstream: {host: a.example, smtps: 4650}}
certificates: {trusted: certs/demo-ca.pem}
"""
MINE = """\
kind: client
tls: {profile: Old, exceptions: [{match: ["*.bank.example", "2001:db8::/32"], action: allow}]}
starttls: {rules: [{sender: none}], on_failure: {handshake: reject}, exceptions: [{match: ["*"], action: drop}]}
general: {idle_timeout: 90s, max_message_size: 10 KiB}
esmtp: {allow: [size, 8BITMIME]}
authentication: {allow: []}
message_rules:
  - {name: "Größe", when: {size: {over: 10MB}}, final: deny}
  - name: header
    when: {header: {name: Subject, matches: "*urgent: yes*"}}
    then: [{remove_header: X-A}, {add_header: {X-B: "a # b"}}, {add_header: {"null": "1"}}]
  - {name: two, when: {header: [{name: To}, {name: Cc, absent: true}]}, enabled: false}
  - name: partners
    when:
      direction: outbound
      sender: {matches: "*@*.example", does_not_match: a@b.example}
      recipient: {matches: "*", does_not_match: ["@friends"]}
    then: [{set_encryption: required}, {tag_subject: "[P] "}, {replace_header: {X-C: a}}]
  - {name: all, when: {client: 10.0.0.0/8}, final: deliver}
tls_level_header: {honour: true, strip: false}
"""
OLD = """\
minimum_protocol: "tls1.0"
certificate_validation: off
ciphers: ECDHE+AES:AES128-SHA
tls13_ciphers: [TLS_AES_256_GCM_SHA384]
trusted: certs/demo-ca.pem
client_certificate: {certificate: certs/proxy-server.pem, key: certs/proxy-server.key}
"""
FILES_OF_MINE = {
    "smtpproxy.yaml": MAIN,
    "proxy-actions/Mine.yaml": MINE,
    "proxy-actions/Bare.yaml": "kind: client\n",
    "proxy-actions/Unused.yaml": "kind: server\n",
    "tls-profiles/Old.yaml": OLD,
    "tls-profiles/Unused.yaml": "",
    "lists/friends.txt": "a.example\n*.b.example\n# c.example\n",
}


@pytest.fixture
def home(made_home: Path, tmp_path: Path) -> Path:
    """A home with more of its own than examples have."""
    home = tmp_path / "home"
    shutil.copytree(made_home / "certs", home / "certs")
    for name, text in FILES_OF_MINE.items():
        path = home / "config" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return home


def invoke(home: Path, *arguments: str, main: str = "smtpproxy.yaml") -> Result:
    return CliRunner().invoke(commands, ["show-config", "-c", f"{home}/config/{main}", *arguments])


def show(home: Path, *arguments: str, main: str = "smtpproxy.yaml") -> str:
    result = invoke(home, *arguments, main=main)
    assert result.exit_code == 0, result.exception
    return result.stdout


def documents(output: str) -> dict[str, str]:
    """Return the text of each file by its name."""
    parts = re.findall(r"^---\n# (.+)\n((?:(?!---\n).*\n)*)", output, re.MULTILINE)
    return dict(parts)


def below_config(home: Path, output: str) -> dict[str, str]:
    return {name.removeprefix(f"{home}/config/"): text for name, text in documents(output).items()}


def loaded(home: Path, main: str = "smtpproxy.yaml") -> Configuration:
    """Return a configuration without its notices, which tell lines."""
    return replace(load_configuration(home / "config" / main), notices=())


def test_what_was_written_is_all_that_is_shown(home: Path) -> None:
    shown = below_config(home, show(home))
    assert list(shown) == [
        "smtpproxy.yaml",
        "proxy-actions/Bare.yaml",
        "proxy-actions/Mine.yaml",
        "predefined/proxy-actions/SMTP-Incoming.Standard.yaml",
        "tls-profiles/Old.yaml",
        "predefined/tls-profiles/TLS-Client.Standard.yaml",
        "predefined/tls-profiles/TLS-Server.Standard.yaml",
    ]
    for name, text in FILES_OF_MINE.items():
        if name in shown:
            assert parse_document(shown[name], name).value == parse_document(text, name).value
    assert "default" not in shown["smtpproxy.yaml"]


def test_home_and_lists_are_told(home: Path) -> None:
    first, *_, last = show(home).splitlines()
    assert first == f"# relative paths start at {home}"
    assert last == "# list friends: 2 entries"
    assert "trusted: certs/demo-ca.pem" in show(home)


@pytest.mark.parametrize("output", ["yaml", "json"])
def test_with_defaults_it_means_the_same(home: Path, output: str) -> None:
    before = loaded(home)
    if output == "yaml":
        files = below_config(home, show(home, "--defaults"))
    else:
        made = json.loads(show(home, "--defaults", "--format", "json"))
        files = {file["file"].removeprefix(f"{home}/config/"): json.dumps(file["values"]) for file in made["files"]}
    for name, text in files.items():
        if not name.startswith("predefined/"):
            (home / "config" / name).write_text(text)
    after = loaded(home)
    assert _meaning(after) == _meaning(before)
    assert [action.message_rules for action in _actions(after)] == [rules.message_rules for rules in _actions(before)]


def _meaning(configuration: Configuration) -> tuple[Configuration, list[str]]:
    """A store of trusted authorities equals itself alone, so where it comes from stands for it."""
    certificates = configuration.certificates
    stores = [certificates.trusted, *(files.trust for files in configuration.profiles.values())]
    bare = replace(configuration, certificates=replace(certificates, trusted=NOBODY), profiles={})
    return bare, [store.source for store in stores]


def _actions(configuration: Configuration) -> list[Any]:
    return [policy.action for policy in configuration.policies]


@pytest.mark.parametrize("main", ["smtpproxy.yaml", "demo.yaml"])
def test_the_examples_mean_the_same(made_home: Path, tmp_path: Path, main: str) -> None:
    home = Path(shutil.copytree(made_home, tmp_path / "home"))
    before = loaded(home, main)
    (home / "config" / main).write_text(below_config(home, show(home, "--defaults", main=main))[main])
    assert _meaning(loaded(home, main)) == _meaning(before)


def test_predefined_files_mean_the_same(home: Path) -> None:
    shown = {
        Path(name).stem: parse_document(text, name)
        for name, text in documents(show(home, "--defaults")).items()
        if name.startswith("predefined/")
    }
    shipped = {
        name: parse_document(text, name)
        for folder in (ACTIONS, PROFILES)
        for name, text in predefined(folder).items()
        if name in shown
    }
    report = Report()
    lists = {name: Entries.of([]) for name in ("force-encrypt", "partners")}
    meant = []
    for each in (shown, shipped):
        profiles = make_profiles({name: file for name, file in each.items() if name.startswith("TLS")}, report)
        actions = make_actions(
            {name: file for name, file in each.items() if name.startswith("SMTP")}, profiles, lists, report
        )
        meant.append((profiles, actions))
    assert meant[0] == meant[1]
    assert report.problems == []


def keys_of(section: type[Section], path: str = "") -> Iterator[str]:
    for name, info in section.model_fields.items():
        yield f"{path}{key_of(name, info)}"
        below = section_of(info)
        if below:
            yield from keys_of(below, f"{path}{name}.")


def shown_keys(text: str) -> set[str]:
    """Return the dotted path of every key, also of those in comments, without the places in lists."""
    found: set[str] = set()
    above: list[tuple[int, str]] = []
    for line in text.splitlines():
        match = re.match(r"( *)((?:- )?)(?:# )?([a-z_0-9]+):(?: |$)", line)
        if match:
            depth = len(match[1] + match[2])
            above = [(column, key) for column, key in above if column < depth]
            above.append((depth, match[3]))
            found.add(".".join(key for _, key in above))
    return found


def test_every_key_is_there_with_defaults(home: Path) -> None:
    shown = below_config(home, show(home, "--defaults"))
    assert shown_keys(shown["smtpproxy.yaml"]) == set(keys_of(FILES["main"]))
    assert set(keys_of(FILES["proxy-action"])) <= shown_keys(shown["proxy-actions/Mine.yaml"])
    assert shown_keys(shown["tls-profiles/Old.yaml"]) == set(keys_of(FILES["tls-profile"]))


def test_defaults_are_marked_and_nothing_else_is(home: Path) -> None:
    main = below_config(home, show(home, "--defaults"))["smtpproxy.yaml"]
    lines = {line.strip() for line in main.splitlines()}
    assert {"file: null", "memory: 1MiB", "smtps: []", 'listen: ["::1"]'} <= lines
    assert {"enabled: false", "enabled: true  # default", "smtp: 25  # default", "smtps: 4650"} <= lines
    assert f"name: {socket.gethostname().lower()}  # default" in lines
    assert "proxy_action: SMTP-Incoming.Standard  # default" in lines
    assert "directory: var/spool  # default" in lines
    assert "proxy_server:  # default" in lines
    assert "- certificate: certs/proxy-server.pem  # default" in lines
    bare = below_config(home, show(home, "--defaults"))["proxy-actions/Bare.yaml"]
    assert bare.count("  # default") == len([line for line in bare.splitlines() if not line.endswith(":")]) - 1
    assert "profile: TLS-Client.Standard  # default" in bare
    assert "offer: honest  # default" in bare


def test_json_names_the_defaults(home: Path) -> None:
    made = json.loads(show(home, "--defaults", "--format", "json"))
    main = made["files"][0]
    assert made["home"] == str(home)
    assert made["lists"] == {"force-encrypt": 0, "friends": 2}
    assert main["file"] == f"{home}/config/smtpproxy.yaml"
    assert main["values"]["policies"][1]["proxy_action"] == "SMTP-Incoming.Standard"
    assert "policies[1].proxy_action" in main["defaults"]
    assert "policies[0].proxy_action" not in main["defaults"]
    assert "stores.spool.limit" in main["defaults"]
    assert "stores.spool.memory" not in main["defaults"]
    assert [file["predefined"] for file in made["files"]] == [False, False, False, True, False, True, True]
    assert "defaults" not in json.loads(show(home, "--format", "json"))["files"][0]


def test_other_readers_of_yaml_agree(home: Path) -> None:
    """Text that YAML 1.1 takes for something else is quoted."""
    made = json.loads(show(home, "--format", "json"))
    read = list(yaml.safe_load_all(show(home)))
    assert [document for document in read if document is not None] == [file["values"] for file in made["files"]]


def test_comments_and_keys_stay_where_they_are(home: Path) -> None:
    for arguments in ((), ("--defaults",), ("--defaults", "--format", "json")):
        output = show(home, *arguments)
        assert "secret of comments" not in output
        assert "PRIVATE" not in output
    for key in (home / "certs").iterdir():
        key.unlink()
    assert show(home) == show(home)  # nothing of it is opened


def test_mistakes_of_every_file_end_it(home: Path) -> None:
    (home / "config" / "tls-profiles" / "Old.yaml").write_text("pfs: maybe\n")
    (home / "config" / "lists" / "friends.txt").write_text("a b\n")
    (home / "config" / "smtpproxy.yaml").write_text("policies: []\n")
    result = invoke(home)
    assert isinstance(result.exception, ConfigurationErrors)
    assert result.stdout == ""
    assert [problem.key for problem in result.exception.problems] == ["@friends", "policies", "pfs"]


def test_a_name_that_nobody_defines_ends_it(home: Path) -> None:
    main = home / "config" / "smtpproxy.yaml"
    main.write_text(MAIN.replace("action: Bare", "action: Baree"))
    result = invoke(home)
    assert isinstance(result.exception, ConfigurationErrors)
    assert "did you mean 'Bare'?" in str(result.exception)


def test_no_configuration(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["show-config", "-c", str(tmp_path / "gone.yaml")]) == 78
    assert "the file does not exist" in capsys.readouterr().err


def test_the_installed_program(made_home: Path) -> None:
    done = subprocess.run(
        [PROGRAM, "show-config", "--defaults"], cwd=made_home, capture_output=True, check=True, text=True
    )
    assert next(iter(documents(done.stdout))) == "config/smtpproxy.yaml"
    assert done.stderr == ""
