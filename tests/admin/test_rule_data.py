from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from smtpproxy.admin.cli import commands
from smtpproxy.admin.exits import CommandError, ExitStatus
from smtpproxy.config.lists import MAX_FILE_OCTETS
from smtpproxy.config.problems import ConfigurationErrors

PARTNERS = """\
# our partners
Bank.Example   # since 2019

  *.Bank.Example
JOE@partner.example
192.0.2.0/24
"""


@pytest.fixture
def lists(tmp_path: Path) -> Path:
    folder = tmp_path / "config" / "lists"
    folder.mkdir(parents=True)
    (folder / "partners.txt").write_text(PARTNERS)
    (folder / "force-encrypt.txt").write_text("# nobody yet\n")
    return folder


def run(lists: Path, *arguments: str) -> tuple[str, BaseException | None]:
    main = str(lists.parent / "smtpproxy.yaml")
    result = CliRunner().invoke(commands, ["list", *arguments, "-c", main])
    assert result.exception is None or isinstance(result.exception, CommandError | ConfigurationErrors), result.output
    return result.stdout, result.exception


def refused(lists: Path, *arguments: str) -> tuple[ExitStatus, str]:
    _, error = run(lists, *arguments)
    assert isinstance(error, CommandError)
    return error.status, str(error)


def text(lists: Path, name: str = "partners") -> str:
    return (lists / f"{name}.txt").read_bytes().decode()


RELOAD = "a running gateway takes it when it is told to reload, by SIGHUP"


def test_an_entry_is_added_in_canonical_form_and_the_rest_stays_as_it_is(lists: Path) -> None:
    output, error = run(lists, "add", "partners", "Bücher.Example.", "10.0.0.0/8", "Ann@Mail_1.example")
    assert error is None
    assert text(lists) == PARTNERS + "xn--bcher-kva.example\n10.0.0.0/8\nAnn@mail_1.example\n"
    assert output.splitlines() == [
        "xn--bcher-kva.example: added",
        "10.0.0.0/8: added",
        "Ann@mail_1.example: added",
        f"wrote {lists}/partners.txt; {RELOAD}",
    ]


def test_an_entry_that_is_there_is_not_added_again(lists: Path) -> None:
    output, error = run(lists, "add", "partners", "bank.example", "JOE@PARTNER.example", "new.example", "NEW.example")
    assert error is None
    assert text(lists) == PARTNERS + "new.example\n"
    assert output.splitlines()[:3] == [
        "bank.example: there already, at line 2",
        "JOE@partner.example: there already, at line 5",
        "new.example: added",
    ]


def test_a_list_that_has_them_all_is_not_written(lists: Path) -> None:
    before = (lists / "partners.txt").stat()
    output, error = run(lists, "add", "partners", "bank.example")
    assert error is None
    assert output.splitlines()[-1] == f"{lists}/partners.txt stays as it is"
    assert (lists / "partners.txt").stat() == before


def test_an_entry_is_removed_however_it_is_spelt_and_the_rest_stays_as_it_is(lists: Path) -> None:
    (lists / "partners.txt").write_text(PARTNERS + "BANK.example\n")
    output, error = run(lists, "remove", "partners", "bank.EXAMPLE.", '"joe"@partner.example')
    assert error is None
    assert text(lists) == "# our partners\n\n  *.Bank.Example\n192.0.2.0/24\n"
    assert output.splitlines() == [
        "bank.example: removed from line 2, 7",
        '"joe"@partner.example: removed from line 5',
        f"wrote {lists}/partners.txt; {RELOAD}",
    ]


def test_what_is_not_there_is_told_and_the_rest_removed(lists: Path) -> None:
    output, error = run(lists, "remove", "partners", "www.bank.example", "192.0.2.0/24")
    assert isinstance(error, CommandError)
    assert (error.status, str(error)) == (ExitStatus.DATA, f"not in {lists}/partners.txt: www.bank.example")
    assert output.splitlines()[:2] == ["www.bank.example: not there", "192.0.2.0/24: removed from line 6"]
    assert "192.0.2.0/24" not in text(lists)


@pytest.mark.parametrize("command", ["add", "remove"])
@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("192.0.2.1/24", "'192.0.2.1/24' has host bits set; the network is 192.0.2.0/24, the one host is 192.0.2.1"),
        ("a b", "'a b' is no entry; write a domain, *.domain, address, IP address or network"),
        ("@partners", "'@partners' names another list, which a list cannot; write what is in it"),
    ],
)
def test_with_one_entry_that_is_none_nothing_is_written(lists: Path, command: str, entry: str, message: str) -> None:
    assert refused(lists, command, "partners", "bank.example", "new.example", entry) == (ExitStatus.USAGE, message)
    assert text(lists) == PARTNERS


def test_a_list_with_mistakes_is_not_edited(lists: Path) -> None:
    (lists / "partners.txt").write_text("bank.example\n a b\n")
    for command in (["add", "partners", "new.example"], ["remove", "partners", "bank.example"], ["show", "partners"]):
        _, error = run(lists, *command)
        assert isinstance(error, ConfigurationErrors)
        assert str(error).startswith(f"{lists}/partners.txt:2:2: @partners: 'a b' is no entry")
    assert text(lists) == "bank.example\n a b\n"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", "new.example\n"),
        ("a.example", "a.example\nnew.example\n"),
        ("a.example\r\nb.example\r\n", "a.example\r\nb.example\r\nnew.example\r\n"),
        ("a.example\r\nb.example", "a.example\r\nb.example\r\nnew.example\r\n"),
        ("a.example\n\n", "a.example\n\nnew.example\n"),
    ],
)
def test_ends_of_lines(lists: Path, before: str, after: str) -> None:
    (lists / "partners.txt").write_bytes(before.encode())
    run(lists, "add", "partners", "new.example")
    assert text(lists) == after


def test_a_list_is_made_on_demand_only(lists: Path) -> None:
    known = "known are force-encrypt, partners"
    message = f"there is no list 'parners'; did you mean 'partners'?; {known}; --create makes it"
    assert refused(lists, "add", "parners", "new.example") == (ExitStatus.USAGE, message)
    assert not (lists / "parners.txt").exists()
    _, error = run(lists, "add", "--create", "parners", "new.example")
    assert error is None
    assert text(lists, "parners") == "new.example\n"
    run(lists, "add", "--create", "parners", "other.example")
    assert text(lists, "parners") == "new.example\nother.example\n"


def test_names_that_cannot_be(lists: Path) -> None:
    status, message = refused(lists, "add", "--create", "../partners", "new.example")
    assert (status, message) == (ExitStatus.USAGE, "NAME must be 1 to 64 letters, digits, '.', '_' and '-'")
    status, message = refused(lists, "remove", "../lists/partners", "bank.example")
    assert (status, message.partition(";")[0]) == (ExitStatus.USAGE, "there is no list '../lists/partners'")


def test_a_configuration_that_is_nowhere(tmp_path: Path) -> None:
    nowhere = tmp_path / "gone" / "lists"
    assert refused(nowhere, "add", "a", "b.example", "--create")[0] is ExitStatus.USAGE
    assert (
        refused(nowhere, "show", "a")[1] == f"there is no list 'a'; {nowhere} has none; name the configuration with -c"
    )
    assert list(tmp_path.iterdir()) == []


def test_a_list_does_not_grow_beyond_what_is_read(lists: Path) -> None:
    full = "#" * (MAX_FILE_OCTETS - 1) + "\n"
    (lists / "partners.txt").write_text(full)
    status, message = refused(lists, "add", "partners", "new.example")
    assert (status, message.startswith("the list would be longer")) == (ExitStatus.DATA, True)
    assert text(lists) == full


def test_mode_and_links_stay(lists: Path, tmp_path: Path) -> None:
    real = tmp_path / "real.txt"
    (lists / "partners.txt").rename(real)
    (lists / "partners.txt").symlink_to(real)
    real.chmod(0o664)
    run(lists, "add", "partners", "new.example")
    assert (lists / "partners.txt").is_symlink()
    assert real.read_text() == PARTNERS + "new.example\n"
    assert real.stat().st_mode & 0o7777 == 0o664
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config", "real.txt"]


def test_those_who_edit_at_once_lose_nothing(lists: Path) -> None:
    program = [sys.executable, "-m", "smtpproxy.admin.cli", "list", "add", "partners"]
    main = str(lists.parent / "smtpproxy.yaml")
    started = [subprocess.Popen([*program, f"n{n}.example", "-c", main], stdout=subprocess.PIPE) for n in range(6)]
    assert [process.wait() for process in started if process.communicate()] == [0] * 6
    assert sorted(text(lists).removeprefix(PARTNERS).split()) == [f"n{number}.example" for number in range(6)]


def test_a_list_is_shown(lists: Path) -> None:
    (lists / "partners.txt").write_text(PARTNERS + "Bücher.example # books\n")
    output, _ = run(lists, "show", "partners")
    assert output.splitlines() == [
        "bank.example",
        "*.bank.example",
        "JOE@partner.example",
        "192.0.2.0/24",
        "xn--bcher-kva.example  # Bücher.example",
    ]
    output, _ = run(lists, "show", "partners", "--format", "json")
    shown = json.loads(output)
    assert shown[0] == {"line": 2, "entry": "bank.example", "written": "Bank.Example"}
    assert shown[-1] == {"line": 7, "entry": "xn--bcher-kva.example", "written": "Bücher.example"}


def test_all_lists_are_shown(lists: Path) -> None:
    output, _ = run(lists, "show", "--format", "json")
    assert json.loads(output) == [
        {"name": "force-encrypt", "file": f"{lists}/force-encrypt.txt", "entries": 0},
        {"name": "partners", "file": f"{lists}/partners.txt", "entries": 4},
    ]
    output, _ = run(lists, "show")
    assert "partners" in output


def test_alone_it_shows_all_lists(lists: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(lists.parents[1])
    result = CliRunner().invoke(commands, ["list"])
    assert result.exit_code == 0
    assert [line.split()[1:4:2] for line in result.stdout.splitlines() if ".txt" in line] == [
        ["force-encrypt", "0"],
        ["partners", "4"],
    ]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_the_owner_stays(lists: Path) -> None:
    os.chown(lists / "partners.txt", 65534, 65534)
    run(lists, "add", "partners", "new.example")
    found = (lists / "partners.txt").stat()
    assert (found.st_uid, found.st_gid) == (65534, 65534)


def test_the_list_that_predefined_actions_name_needs_no_create(lists: Path) -> None:
    (lists / "force-encrypt.txt").unlink()
    run(lists, "add", "force-encrypt", "bank.example")
    assert text(lists, "force-encrypt") == "bank.example\n"
