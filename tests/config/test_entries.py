"""Whom the keys of a rule name, and lists at their size."""

from __future__ import annotations

import time
from ipaddress import ip_address
from pathlib import Path
from typing import get_args

import pytest
from jsonschema import Draft202012Validator
from pydantic_core import PydanticCustomError

from smtpproxy.config.document import parse_document
from smtpproxy.config.entries import Entry, check_lists, resolve
from smtpproxy.config.forms import Form
from smtpproxy.config.lists import entry_of, parse_entry, read_lists
from smtpproxy.config.problems import Report
from smtpproxy.policy.entries import ANYBODY, Entries

FORM: Form = get_args(Entry)[1]
LISTS = {"partners": Entries.of(["partner.example", "192.0.2.0/24"]), "force-encrypt": Entries.of(["bank.example"])}


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("*", "*"),
        ("@partners", "@partners"),
        ("Bücher.Example", "xn--bcher-kva.example"),
        ("*.Bank.example", "*.bank.example"),
        ("_mail.bank.example", "_mail.bank.example"),
        ("Joe@Bank.example", "Joe@bank.example"),
        ('"joe doe"@bank.example', '"joe doe"@bank.example'),
        ("192.0.2.1", "192.0.2.1"),
        ("192.0.2.0/24", "192.0.2.0/24"),
        ("2001:DB8::/32", "2001:db8::/32"),
    ],
)
def test_what_may_be_written(written: str, meant: str) -> None:
    assert FORM.parse(written) == meant
    assert Draft202012Validator(FORM.schema).is_valid(written)


@pytest.mark.parametrize(
    ("written", "message"),
    [
        (25, '25 is not text; write "25" in quotes'),
        ("any", "'any' would be a domain of that name; for everybody write '*' in quotes"),
        ("@", "'@' is no list; write the name of a file in lists, such as @partners"),
        ("@my partners", "'@my partners' is no list; write the name of a file in lists, such as @partners"),
        ("bank example", "'bank example' is no entry; write a domain, *.domain, address, IP address or network"),
        ("192.0.2.1/24", "'192.0.2.1/24' has host bits set; the network is 192.0.2.0/24, the one host is 192.0.2.1"),
        ("joe@", "'joe@' is no address; write local@domain"),
    ],
)
def test_what_may_not(written: object, message: str) -> None:
    with pytest.raises(PydanticCustomError) as caught:
        FORM.parse(written)
    assert caught.value.message() == message


def problems(text: str, lists: dict[str, Entries]) -> list[str]:
    report = Report()
    check_lists(parse_document(text, "a.yaml"), ("rules", 0, "to"), lists, report)
    return list(map(str, report.problems))


@pytest.mark.parametrize("to", ["'*'", "['@partners', bank.example, '@force-encrypt']", "'@partners'", "7", "['@a b']"])
def test_lists_that_are_there(to: str) -> None:
    assert problems(f"rules:\n  - to: {to}\n", LISTS) == []


def test_lists_that_are_not_there_are_told_at_their_place() -> None:
    known = "known are force-encrypt, partners"
    assert problems("rules:\n  - to:\n      - '@partner'\n      - '@bank.example'\n", LISTS) == [
        f"a.yaml:3:9: rules[0].to[0]: there is no list 'partner'; did you mean 'partners'?; {known}",
        f"a.yaml:4:9: rules[0].to[1]: there is no list 'bank.example'; for the domain write bank.example; {known}",
    ]
    assert problems("rules:\n  - to: '@partner'\n", {}) == [
        "a.yaml:2:9: rules[0].to: there is no list 'partner'; write it as lists/partner.txt beside the main file"
    ]


def test_a_rule_shares_the_lists_that_it_names() -> None:
    assert resolve(["@partners"], LISTS) is LISTS["partners"]
    composed = resolve(["@partners", "other.example", "@force-encrypt"], LISTS)
    assert set(map(id, composed.lists)) > {id(LISTS[name].lists[0]) for name in LISTS}
    for domain in ("partner.example", "other.example", "bank.example"):
        assert composed.has_domain(domain)
    assert composed.has_address(ip_address("192.0.2.7"))
    assert not composed.has_domain("example")


def test_everybody() -> None:
    assert resolve(["*"], LISTS) is ANYBODY
    assert resolve(["@partners", "*"], LISTS) is ANYBODY


def test_nobody() -> None:
    nobody = resolve([], LISTS)
    assert (nobody.everything, nobody.names_mailboxes, nobody.names_networks, nobody.count) == (False, False, False, 0)
    assert resolve(["@gone"], LISTS) == Entries.of([])


@pytest.mark.parametrize(
    ("line", "entry"),
    [
        ("bank.example", "bank.example"),
        ("  bank.example  # of ours", "bank.example"),
        ("bank.example\t#", "bank.example"),
        ("# bank.example", ""),
        ("  #bank.example", ""),
        ("", ""),
        ("bank.example\r", "bank.example"),
        ("a#b@bank.example # of ours", "a#b@bank.example"),
    ],
)
def test_a_line_of_a_list(line: str, entry: str) -> None:
    assert entry_of(line) == entry


def test_a_list_of_many_entries_is_read_in_time_that_grows_with_them_only(tmp_path: Path) -> None:
    def cost(count: int) -> float:
        (tmp_path / "big.txt").write_text("".join(f"d{number}.bank.example\n" for number in range(count)))
        report = Report()
        start = time.process_time()
        entries = read_lists(tmp_path, report)["big"]
        spent = time.process_time() - start
        assert entries.count == count
        assert report.problems == []
        return spent

    small = min(cost(10_000) for _ in range(3))
    assert min(cost(100_000) for _ in range(3)) < 3 * 10 * small


@pytest.mark.parametrize("text", ["²", "*.²", "１２７.０.０.１"])  # noqa: RUF001 - digits that are not ASCII
def test_digits_of_other_scripts_are_no_domain(text: str) -> None:
    with pytest.raises(PydanticCustomError, match="is no entry"):
        parse_entry(text)
