"""Whom a set of entries names."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpproxy.config.lists import parse_entry
from smtpproxy.policy.entries import ANYBODY, Address, Entries
from smtpproxy.smtp.addresses import NULL_PATH, Path, parse_forward_path


def entries(*texts: str) -> Entries:
    return Entries.of(text if text == "*" else parse_entry(text) for text in texts)


def path(text: str) -> Path:
    found, rest = parse_forward_path(f"<{text}>".encode())
    assert not rest
    return found


@pytest.mark.parametrize(
    ("entry", "mailbox", "expected"),
    [
        ("bank.example", "a@bank.example", True),
        ("bank.example", "a@BANK.Example", True),
        ("Bank.EXAMPLE.", "a@bank.example", True),
        ("bank.example", "a@www.bank.example", False),
        ("bank.example", "a@abank.example", False),
        ("bank.example", "a@example", False),
        ("_mail.bank_2.example", "a@_mail.Bank_2.example", True),
        ("bücher.example", "a@xn--bcher-kva.example", True),
        ("xn--bcher-kva.example", "a@BÜCHER.example", True),
        ("*.bücher.example", "a@www.xn--bcher-kva.example", True),
        ("*.bank.example", "a@bank.example", False),
        ("*.bank.example", "a@www.bank.example", True),
        ("*.bank.example", "a@a.b.c.Bank.example", True),
        ("*.bank.example", "a@xbank.example", False),
        ("*.example", "a@bank.example", True),
        ("joe@bank.example", "joe@bank.example", True),
        ("Joe@Bank.example", "jOE@bANK.example", True),
        ("joe@bank.example", "jim@bank.example", False),
        ("joe@bank.example", "joe@www.bank.example", False),
        ("joe@bank.example", '"joe"@bank.example', True),
        ('"joe"@bank.example', "joe@bank.example", True),
        ("a.b@x.example", '"a.b"@x.example', True),
        ('"a b"@x.example', '"a b"@x.example', True),
        ('"a\\b"@x.example', "ab@x.example", True),
        ('"a\\\\b"@x.example', "ab@x.example", False),
        ('"a@b"@x.example', '"A@B"@x.example', True),
        ("jürgen@bücher.example", "JÜRGEN@xn--bcher-kva.example", True),
        ("jürgen@x.example", "ju\u0308rgen@x.example", True),
        ("strasse@x.example", "straße@x.example", False),
        ("joe@[192.0.2.1]", "JOE@[192.0.2.1]", True),
        ("joe@[192.0.2.1]", "joe@[192.000.2.01]", True),
        ("joe@[192.0.2.1]", "joe@[IPv6:::ffff:192.0.2.1]", True),
        ("joe@[IPv6:2001:DB8::1]", "joe@[ipv6:2001:db8:0::1]", True),
        ("joe@[tag:abc]", "joe@[TAG:abc]", True),
        ("joe@[tag:abc]", "joe@[tag:abd]", False),
        ("192.0.2.1", "joe@[192.0.2.1]", True),
        ("192.0.2.1", "joe@[192.0.2.2]", False),
        ("192.0.2.0/24", "joe@[192.0.2.2]", True),
        ("192.0.2.0/24", "joe@[IPv6:::ffff:192.0.2.2]", True),
        ("192.0.2.0/24", "joe@[192.0.3.2]", False),
        ("192.0.2.0/24", "joe@[tag:192.0.2.2]", False),
        ("2001:db8::/32", "joe@[IPv6:2001:db8:1::]", True),
        ("2001:db8::/32", "joe@[IPv6:2001:db9::]", False),
        ("192.0.2.0/24", "joe@bank.example", False),
        ("*", "joe@bank.example", True),
        ("*", "joe@[tag:abc]", True),
    ],
)
def test_mailboxes(entry: str, mailbox: str, *, expected: bool) -> None:
    assert entries(entry).has_mailbox(path(mailbox)) is expected


@pytest.mark.parametrize("nobody", [NULL_PATH, path("Postmaster")])
def test_a_path_without_a_domain_is_named_by_everything_only(nobody: Path) -> None:
    assert ANYBODY.has_mailbox(nobody)
    assert not entries("example", "*.example", "postmaster@a.example", "0.0.0.0/0", "::/0").has_mailbox(nobody)


def test_a_domain_that_is_none_is_named_by_nothing_else() -> None:
    label = "a" * 64
    assert not entries("example", "*.example").has_mailbox(path(f"a@{label}.example"))
    assert not entries("example").has_domain("not a domain")
    assert ANYBODY.has_domain("not a domain")


def test_a_source_route_counts_for_nothing() -> None:
    found, _ = parse_forward_path(b"<@relay.example:a@bank.example>")
    assert entries("bank.example").has_mailbox(found)
    assert not entries("relay.example").has_mailbox(found)


def test_domains_are_asked_for_by_name() -> None:
    some = entries("bank.example", "*.bücher.example", "joe@partner.example")
    assert some.has_domain("BANK.example.")
    assert some.has_domain("www.bücher.example")
    assert not some.has_domain("bücher.example")
    assert not some.has_domain("partner.example")


@pytest.mark.parametrize(
    ("entry", "address", "expected"),
    [
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("0.0.0.0/0", "::ffff:192.0.2.1", True),
        ("::/0", "::ffff:192.0.2.1", False),
        ("::/0", "2001:db8::1", True),
        ("0.0.0.0/0", "2001:db8::1", False),
        ("192.0.2.128/25", "192.0.2.127", False),
        ("192.0.2.128/25", "192.0.2.128", True),
        ("2001:db8::1", "2001:db8::1", True),
        ("2001:db8::1", "2001:db8::2", False),
        ("bank.example", "192.0.2.1", False),
        ("*", "2001:db8::2", True),
    ],
)
def test_addresses(entry: str, address: str, *, expected: bool) -> None:
    assert entries(entry).has_address(ip_address(address)) is expected


@pytest.mark.parametrize(
    ("texts", "everything", "mailboxes", "networks"),
    [
        ((), False, False, False),
        (("*",), True, False, False),
        (("a.example",), False, True, False),
        (("*.example",), False, True, False),
        (("a@a.example",), False, True, False),
        (("192.0.2.1",), False, False, True),
        (("2001:db8::/32",), False, False, True),
        (("*", "a.example", "192.0.2.1"), True, True, True),
    ],
)
def test_a_set_says_what_it_asks_for(
    texts: tuple[str, ...], *, everything: bool, mailboxes: bool, networks: bool
) -> None:
    whole = entries(*texts)
    composed = Entries.union([entries(text) for text in texts])
    for some in (whole, composed):
        assert (some.everything, some.names_mailboxes, some.names_networks) == (everything, mailboxes, networks)


def test_a_union_shares_what_it_is_made_of() -> None:
    one, two = entries("a.example"), entries("b.example", "192.0.2.1")
    both = Entries.union([one, two, Entries.union([two, one])])
    assert both.lists == (*one.lists, *two.lists)
    assert all(made is given for made, given in zip(both.lists, (*one.lists, *two.lists), strict=True))
    assert Entries.union([one]) is one


def test_the_domains_for_look_ups_ahead() -> None:
    some = entries(
        "a.example", "*.b.example", "x@c.example", "y@a.example", "z@[192.0.2.1]", "192.0.2.1", "bücher.example"
    )
    assert sorted(Entries.union([some, entries("a.example")]).domains()) == [
        "a.example",
        "c.example",
        "xn--bcher-kva.example",
    ]


def test_sets_compare_by_what_they_have() -> None:
    assert entries("a.example", "192.0.2.1") == entries("192.0.2.1", "A.example")
    assert hash(entries("a.example")) == hash(entries("a.example"))
    assert entries("a.example") != entries("b.example")


# Against the definition

LABELS = st.sampled_from(["a", "b", "_c", "bücher", "example"])
DOMAINS = st.lists(LABELS, min_size=1, max_size=4).map(".".join)
LOCALS = st.sampled_from(["joe", "Joe", '"joe"', "ann", '"a b"', "jürgen"])
IPV4 = st.integers(0, 7).map(lambda low: f"10.0.{low >> 2}.{low & 3}")
IPV6 = st.integers(0, 7).map(lambda low: f"2001:db8:{low >> 2:x}::{low & 3:x}")


def network(address: str) -> st.SearchStrategy[str]:
    longest = 128 if ":" in address else 32
    lengths = st.sampled_from([0, 8, 23, longest - 2, longest - 1, longest])
    return lengths.map(lambda length: str(ip_network(f"{address}/{length}", strict=False)))


ENTRIES = st.one_of(
    DOMAINS,
    DOMAINS.map("*.{}".format),
    st.tuples(LOCALS, DOMAINS).map("@".join),
    IPV4,
    IPV6,
    IPV4.flatmap(network),
    IPV6.flatmap(network),
)
MAILBOXES = st.one_of(
    st.tuples(LOCALS, DOMAINS).map("@".join),
    st.tuples(LOCALS, IPV4).map("@".join).map(lambda text: text.replace("@", "@[") + "]"),
    st.tuples(LOCALS, IPV6).map("@".join).map(lambda text: text.replace("@", "@[IPv6:") + "]"),
)


def labels(domain: str) -> list[bytes]:
    return [label.encode("idna").lower() for label in domain.split(".")]


def mailbox_of(text: str) -> tuple[str, list[bytes]]:
    local, _, domain = text.rpartition("@")
    return local.strip('"').lower(), labels(domain)


def names_address(entry: str, address: Address) -> bool:
    return entry[0] != "*" and "@" not in entry and entry[-1].isdigit() and address in ip_network(entry)


def names_mailbox(entry: str, mailbox: str) -> bool:
    if mailbox.endswith("]"):
        literal = mailbox.rpartition("@[")[2].removesuffix("]").removeprefix("IPv6:")
        return names_address(entry, ip_address(literal))
    local, domain = mailbox_of(mailbox)
    if "@" in entry:
        return mailbox_of(entry) == (local, domain)
    if entry.startswith("*."):
        above = labels(entry.removeprefix("*."))
        return len(domain) > len(above) and domain[-len(above) :] == above
    return not entry[-1].isdigit() and not entry.endswith(":") and domain == labels(entry)


@given(st.lists(st.lists(ENTRIES, max_size=6), max_size=3), MAILBOXES)
def test_any_set_names_the_mailboxes_that_one_of_its_entries_names(lists: list[list[str]], mailbox: str) -> None:
    some = Entries.union([entries(*texts) for texts in lists])
    expected = any(names_mailbox(entry, mailbox) for texts in lists for entry in texts)
    assert some.has_mailbox(path(mailbox)) is expected


@given(st.lists(ENTRIES, max_size=6), st.one_of(IPV4, IPV6))
def test_any_set_names_the_addresses_that_one_of_its_entries_names(texts: list[str], address: str) -> None:
    expected = any(names_address(entry, ip_address(address)) for entry in texts)
    assert entries(*texts).has_address(ip_address(address)) is expected
