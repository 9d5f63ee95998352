"""Every class of mistake with its exact message: ``mistakes/*.txt``.

A case is ``=== NAME: FILE``, the file, ``~~~``, and what is printed. ``$POLICY`` stands for a policy without mistakes,
``HOME`` for the home. The main file is ``$POLICY`` if the mistake is in another.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from smtpproxy.config.load import load_configuration
from smtpproxy.config.problems import ConfigurationErrors

CORPUS = Path(__file__).with_name("mistakes")
POLICY = "policies:\n  - {name: Out, direction: outbound, source: [10.0.0.0/8], upstream: {host: mx.example.net}}"


@dataclass(frozen=True)
class Case:
    name: str
    file: str
    text: str
    expected: list[str]


def read_cases(folder: Path) -> list[Case]:
    pattern = re.compile(r"^=== (.+): (.+)\n((?:.*\n)*?)~~~\n((?:.+\n)+)", re.MULTILINE)
    return [
        Case(name, file, text.replace("$POLICY", POLICY), expected.splitlines())
        for corpus in sorted(folder.glob("*.txt"))
        for name, file, text, expected in pattern.findall(corpus.read_text())
    ]


CASES = read_cases(CORPUS)


def mistakes_of(home: Path, files: dict[str, str]) -> list[str]:
    """Write files below config/, load them, and return the problems with paths relative to config/."""
    for name, text in {"smtpproxy.yaml": POLICY, **files}.items():
        path = home / "config" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    with pytest.raises(ConfigurationErrors) as caught:
        load_configuration(home / "config" / "smtpproxy.yaml")
    assert caught.value.status == 78
    return [line.replace(f"{home}/config/", "").replace(str(home), "HOME") for line in str(caught.value).splitlines()]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_mistake(case: Case, home: Path) -> None:
    assert mistakes_of(home, {case.file: case.text}) == case.expected


def test_the_whole_corpus_was_read() -> None:
    headings = sum(corpus.read_text().count("\n=== ") + 1 for corpus in CORPUS.glob("*.txt"))
    assert len(CASES) == headings
    assert len({case.name for case in CASES}) == headings


def test_all_mistakes_of_all_files_at_once(home: Path) -> None:
    files = {
        "smtpproxy.yaml": (
            "gateway: {workers: many}\n"
            "policies:\n"
            "  - {name: A, direction: outbound, proxy_action: Broken, upstream: embedded}\n"
            "  - {name: A, direction: inbound, proxy_action: Nobody, upstream: {host: a.example}, tls_support: no}\n"
            "certificates: {trusted: certs/gone.pem}\n"
        ),
        "proxy-actions/Broken.yaml": "kind: client\ngeneral: {idle_timeout: 1y}\ntls: {profile: Gone}\n",
        "tls-profiles/Odd.yaml": "pfs: maybe\n",
        "tls-profiles/Other.yaml": "compliance: 1\n",
        "lists/partners.txt": "a b\n",
    }
    places = [" ".join(line.split(": ")[:2]) for line in mistakes_of(home, files)]
    assert places == [
        "lists/partners.txt:1:1 @partners",
        "proxy-actions/Broken.yaml:2:25 general.idle_timeout",
        "proxy-actions/Broken.yaml:3:16 tls.profile",
        "smtpproxy.yaml:1:20 gateway.workers",
        "smtpproxy.yaml:3:68 policies[0].upstream",
        "smtpproxy.yaml:4:12 policies[1].name",
        "smtpproxy.yaml:4:49 policies[1].proxy_action",
        "smtpproxy.yaml:4:99 policies[1].tls_support",
        "smtpproxy.yaml:5:25 certificates.trusted",
        "tls-profiles/Odd.yaml:1:6 pfs",
        "tls-profiles/Other.yaml:1:13 compliance",
    ]


def test_a_broken_main_file_hides_no_other_file(home: Path) -> None:
    lines = mistakes_of(home, {"smtpproxy.yaml": "policies: [", "tls-profiles/Odd.yaml": "pfs: maybe\n"})
    assert [line.split(":")[0] for line in lines] == ["smtpproxy.yaml", "tls-profiles/Odd.yaml"]


def test_a_control_character_is_named_and_not_printed(home: Path) -> None:
    assert mistakes_of(home, {"smtpproxy.yaml": "policies: []\ngateway: {name: a\x07b}\n"}) == [
        "smtpproxy.yaml:2:18: character U+0007 is not allowed; remove it"
    ]


def test_long_text_is_quoted_in_part(home: Path) -> None:
    (line,) = mistakes_of(home, {"smtpproxy.yaml": f"{POLICY}\ngateway: {{name: {'x' * 200}}}\n"})
    assert f"'{'x' * 60}...' is no host name" in line


def test_text_has_a_limit(home: Path) -> None:
    long = f"policies:\n  - {{name: {'x' * 256}, direction: outbound, upstream: {{host: a.example}}}}\n"
    assert mistakes_of(home, {"smtpproxy.yaml": long}) == [
        "smtpproxy.yaml:2:12: policies[0].name: must be one line of 1 to 255 printable characters"
    ]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"a: \xc3\xa4\nb: \xff\n", "smtpproxy.yaml:2:4: not UTF-8; save the file as UTF-8"),
        (b"#" * 262_145, "smtpproxy.yaml:1:1: the file is longer than 262144 octets; is it the right one?"),
    ],
    ids=["not UTF-8", "too long"],
)
def test_octets(home: Path, content: bytes, expected: str) -> None:
    main = home / "config" / "smtpproxy.yaml"
    main.parent.mkdir()
    main.write_bytes(content)
    with pytest.raises(ConfigurationErrors) as caught:
        load_configuration(main)
    assert str(caught.value).replace(f"{main.parent}/", "") == expected


def test_no_file_and_no_file_but_a_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationErrors, match=r"none.yaml:1:1: the file does not exist; make an example with"):
        load_configuration(tmp_path / "none.yaml")
    with pytest.raises(ConfigurationErrors, match=r":1:1: the file cannot be read: Is a directory"):
        load_configuration(tmp_path)


def test_a_folder_that_is_a_file(home: Path) -> None:
    (line,) = mistakes_of(home, {"tls-profiles": ""})
    assert line == "tls-profiles:1:1: the folder cannot be read: Not a directory"
