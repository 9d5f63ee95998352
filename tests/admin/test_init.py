from __future__ import annotations

import grp
import json
import os
import stat
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner
from cryptography import x509
from jsonschema import Draft202012Validator

from smtpproxy.admin.cli import commands
from smtpproxy.admin.exits import CommandError, ExitStatus
from smtpproxy.config.document import parse_document
from smtpproxy.config.load import load_configuration
from smtpproxy.config.shipped import example_files
from smtpproxy.policy.model import Direction, InterceptionMode, SourceAddress

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result

CERTIFICATES = {
    f"certs/{name}{suffix}"
    for name in ("proxy-server", "proxy-authority", "untrusted-authority")
    for suffix in (".pem", ".key")
}
CONFIGURATION = {
    "config/smtpproxy.yaml",
    "config/lists/force-encrypt.txt",
    "config/lists/partners.txt",
    *(f"config/schema/{kind}.json" for kind in ("main", "proxy-action", "tls-profile")),
}
DEMO = {"config/demo.yaml", *(f"certs/demo-{name}" for name in ("ca.pem", "ca.key", "upstream.pem", "upstream.key"))}


def init(*arguments: str) -> Result:
    return CliRunner().invoke(commands, ["init", *arguments])


def files_in(home: Path) -> set[str]:
    return {str(path.relative_to(home)) for path in home.rglob("*") if path.is_file()}


def certificate(home: Path, name: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate((home / "certs" / f"{name}.pem").read_bytes())


def test_a_new_folder_gets_everything_but_the_demonstration(tmp_path: Path) -> None:
    home = tmp_path / "a" / "gateway"
    result = init(str(home))
    assert result.exit_code == 0
    assert files_in(home) == CONFIGURATION | CERTIFICATES
    assert {line.removeprefix(f"made {home}/") for line in result.output.splitlines() if "made" in line} == files_in(
        home
    )
    assert f"smtpproxy check -c {home}/config/smtpproxy.yaml" in result.output


def test_what_it_writes_passes_the_check(made_home: Path) -> None:
    example = load_configuration(made_home / "config" / "smtpproxy.yaml")
    assert [policy.name for policy in example.policies] == ["Outbound mail", "Inbound mail"]
    demo = load_configuration(made_home / "config" / "demo.yaml")
    assert demo.embedded is not None
    assert demo.policies[0].upstream is not None
    assert demo.policies[0].upstream.smtp == demo.embedded.smtp == 2526
    assert demo.certificates.trusted.source == str(made_home / "certs" / "demo-ca.pem")


def test_the_demonstration_upstream_comes_from_the_demonstration_authority(made_home: Path) -> None:
    upstream = certificate(made_home, "demo-upstream")
    upstream.verify_directly_issued_by(certificate(made_home, "demo-ca"))
    names = upstream.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert "localhost" in names.get_values_for_type(x509.DNSName)
    assert [str(address) for address in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1"]


def test_the_two_authorities_are_told_apart(made_home: Path) -> None:
    proxy, untrusted = certificate(made_home, "proxy-authority"), certificate(made_home, "untrusted-authority")
    assert proxy.public_key() != untrusted.public_key()
    assert "UNTRUSTED" in untrusted.subject.rfc4514_string()
    assert "UNTRUSTED" not in proxy.subject.rfc4514_string()
    certificate(made_home, "proxy-server").verify_directly_issued_by(proxy)


def test_keys_are_for_their_owner_only(made_home: Path) -> None:
    modes = {stat.S_IMODE(path.stat().st_mode) for path in (made_home / "certs").glob("*.key")}
    assert modes == {0o600}


def test_an_empty_folder_is_taken(tmp_path: Path) -> None:
    assert init(str(tmp_path)).exit_code == 0
    assert files_in(tmp_path) >= CONFIGURATION


def test_the_working_directory_is_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "made config/smtpproxy.yaml" in init().output


def test_nothing_is_overwritten_and_what_is_missing_is_made(tmp_path: Path) -> None:
    init(str(tmp_path))
    before = {name: (tmp_path / name).read_bytes() for name in files_in(tmp_path)}
    (tmp_path / "config" / "smtpproxy.yaml").write_text("mine")
    for name in ("certs/proxy-server.pem", "certs/proxy-server.key", "config/lists/partners.txt"):
        (tmp_path / name).unlink()
    result = init(str(tmp_path))
    assert [line for line in result.output.splitlines() if line.startswith("made")] == [
        f"made {tmp_path}/{name}"
        for name in ("config/lists/partners.txt", "certs/proxy-server.pem", "certs/proxy-server.key")
    ]
    assert (tmp_path / "config" / "smtpproxy.yaml").read_text() == "mine"
    assert (tmp_path / "certs/proxy-authority.key").read_bytes() == before["certs/proxy-authority.key"]
    assert (tmp_path / "certs/proxy-server.key").read_bytes() != before["certs/proxy-server.key"]


def test_demo_adds_to_a_home(tmp_path: Path) -> None:
    init(str(tmp_path))
    before = files_in(tmp_path)
    assert init("--demo", str(tmp_path)).exit_code == 0
    assert files_in(tmp_path) - before == DEMO


def test_a_second_run_makes_nothing(made_home: Path) -> None:
    result = init("--demo", str(made_home))
    assert result.output == f"nothing to make: {made_home} has everything\n"


def test_a_folder_of_other_things_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("")
    result = init(str(tmp_path))
    assert isinstance(result.exception, CommandError)
    assert result.exception.status is ExitStatus.USAGE
    assert files_in(tmp_path) == {"letter.txt"}


@pytest.mark.parametrize("half", ["proxy-authority.pem", "proxy-authority.key"])
def test_half_a_pair_is_not_guessed_at(tmp_path: Path, half: str) -> None:
    init(str(tmp_path))
    (tmp_path / "certs" / half).unlink()
    result = init(str(tmp_path))
    assert isinstance(result.exception, CommandError)
    assert result.exception.status is ExitStatus.DATA
    assert "without its other half" in str(result.exception)
    assert not (tmp_path / "certs" / half).exists()


def test_editors_find_the_schema(made_home: Path) -> None:
    for name in ("smtpproxy.yaml", "demo.yaml"):
        modeline, _, text = (made_home / "config" / name).read_text().partition("\n")
        assert modeline == "# yaml-language-server: $schema=schema/main.json"
        assert text == example_files()[name]
        schema = json.loads((made_home / "config" / modeline.partition("=")[2]).read_text())
        assert Draft202012Validator(schema).is_valid(parse_document(text, name).value)


def test_a_schema_of_another_version_is_replaced(tmp_path: Path) -> None:
    init(str(tmp_path))
    schema = tmp_path / "config" / "schema" / "main.json"
    before = schema.read_bytes()
    schema.write_text("{}")
    assert f"made {schema}\n" in init(str(tmp_path)).output
    assert schema.read_bytes() == before


def test_inside_makes_a_gateway_that_stands_in_the_path(tmp_path: Path) -> None:
    networks = "10.9.0.0/24", "fd09::/64"
    assert init("--inside", networks[0], "--inside", networks[1], str(tmp_path)).exit_code == 0
    assert files_in(tmp_path) == CONFIGURATION | CERTIFICATES
    made = load_configuration(tmp_path / "config" / "smtpproxy.yaml")
    assert made.interception.mode is InterceptionMode.TPROXY
    outbound, inbound = made.policies
    assert (outbound.direction, inbound.direction) == (Direction.OUTBOUND, Direction.INBOUND)
    assert tuple(map(str, outbound.source)) == tuple(map(str, inbound.destination)) == networks
    for policy in made.policies:
        assert (policy.upstream, policy.source_address) == (None, SourceAddress.CLIENT)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--inside", "10.9.0.1/24"], "has host bits set; the network is 10.9.0.0/24"),
        (["--inside", "no-such-interface"], "no-such-interface: "),
        (["--inside", "lo"], "lo is in no network"),
        (["--inside", "10.9.0.0/24", "--group", "no-such-group"], "useradd --system --user-group no-such-group"),
    ],
)
def test_what_is_not_there_is_told_before_anything_is_made(tmp_path: Path, words: list[str], told: str) -> None:
    result = init(*words, str(tmp_path))
    assert isinstance(result.exception, CommandError)
    assert result.exception.status is ExitStatus.USAGE
    assert told in str(result.exception)
    assert files_in(tmp_path) == set()


def test_inside_does_not_change_a_configuration_that_is_there(tmp_path: Path) -> None:
    init("--inside", "10.9.0.0/24", str(tmp_path))
    before = (tmp_path / "config" / "smtpproxy.yaml").read_text()
    assert "nothing to make" in init("--inside", "10.9.0.0/24", str(tmp_path)).output
    result = init("--inside", "10.8.0.0/24", str(tmp_path))
    assert isinstance(result.exception, CommandError)
    assert result.exception.status is ExitStatus.DATA
    assert (tmp_path / "config" / "smtpproxy.yaml").read_text() == before


def test_a_group_may_read_the_keys_of_a_home_and_nothing_that_lies_elsewhere(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere.key"
    elsewhere.touch(0o600)
    home = tmp_path / "home"
    init(str(home))
    (home / "certs" / "linked.key").symlink_to(elsewhere)
    own = grp.getgrgid(os.getegid())
    assert init("--group", own.gr_name, str(home)).exit_code == 0
    keys = [path for path in (home / "certs").glob("*.key") if not path.is_symlink()]
    assert {(stat.S_IMODE(path.stat().st_mode), path.stat().st_gid) for path in keys} == {(0o640, own.gr_gid)}
    assert stat.S_IMODE(elsewhere.stat().st_mode) == 0o600


def test_a_group_is_not_given_what_has_another_name_elsewhere(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere.key"
    elsewhere.touch(0o600)
    home = tmp_path / "home"
    init(str(home))
    (home / "certs" / "linked.key").hardlink_to(elsewhere)
    os.mkfifo(home / "certs" / "pipe.key", 0o600)
    own = grp.getgrgid(os.getegid())
    assert init("--group", own.gr_name, str(home)).exit_code == 0
    others = (elsewhere, home / "certs" / "pipe.key")
    assert [stat.S_IMODE(path.stat().st_mode) for path in others] == [0o600, 0o600]
    assert stat.S_IMODE((home / "certs" / "proxy-authority.key").stat().st_mode) == 0o640
