from __future__ import annotations

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpproxy.policy.coverage import atoms, covers, covers_atom, is_empty, shared_atoms
from smtpproxy.policy.entries import Entries
from smtpproxy.smtp.addresses import parse_forward_path


@pytest.mark.parametrize(
    ("outer", "inner", "expected"),
    [
        ("*", "*", True),
        ("*", "a.example 192.0.2.1", True),
        ("a.example *.example 0.0.0.0/0", "*", False),
        ("a.example", "a.example", True),
        ("a.example", "me@a.example", True),
        ("a.example", "*.a.example", False),
        ("*.a.example", "a.example", False),
        ("*.a.example", "b.a.example c.b.a.example me@b.a.example", True),
        ("*.a.example", "*.a.example *.b.a.example", True),
        ("*.b.a.example", "*.a.example", False),
        ("b.a.example", "*.b.a.example", False),
        ("me@a.example", "me@a.example ME@a.example", True),
        ("me@a.example", "a.example", False),
        ("192.0.2.0/24", "192.0.2.0/24 192.0.2.7 192.0.2.128/25", True),
        ("192.0.2.0/25 192.0.2.128/25", "192.0.2.0/24", False),
        ("192.0.2.0/24", "192.0.0.0/16", False),
        ("192.0.2.0/24", "2001:db8::1", False),
        ("2001:db8::/32", "2001:db8:1::/48 2001:db8::1", True),
        ("192.0.2.0/24", "me@[192.0.2.7]", True),
        ("192.0.2.0/25", "me@[192.0.2.130]", False),
        ("2001:db8::/32", "me@[IPv6:2001:db8::1]", True),
        ("a.example", "me@[tag:a.example]", False),
        ("me@[tag:a]", "me@[TAG:a]", True),
        ("a.example", "", True),
    ],
)
def test_what_is_covered(outer: str, inner: str, expected: bool) -> None:  # noqa: FBT001  # a column of the table
    assert covers(Entries.of(outer.split()), Entries.of(inner.split())) is expected


def test_a_list_that_both_have_is_not_looked_into() -> None:
    shared = Entries.of(f"{number}.example" for number in range(3))
    outer = Entries.union([shared, Entries.of(["a.example"])])
    assert covers(outer, shared)
    assert covers(outer, Entries.union([shared, Entries.of(["a.example"])]))
    assert not covers(outer, Entries.union([shared, Entries.of(["b.example"])]))


def test_what_two_have_in_common_word_for_word() -> None:
    names, networks = ["a.example", "*.b.example"], ["192.0.2.0/24", "2001:db8::/32"]
    one = Entries.of([*names, *networks, "me@c.example", "192.0.2.9", "d.example"])
    other = Entries.of([*names, *networks, "ME@c.example", "192.0.2.8", "*.d.example"])
    found = shared_atoms(Entries.union([one, Entries.of(["e.example"])]), other)
    assert {str(atom) for atom in found} == {
        "a.example",
        "*.b.example",
        "me@c.example",
        "192.0.2.0/24",
        "2001:db8::/32",
    }


def test_entries_as_a_list_has_them() -> None:
    texts = {"a.example", "*.a.example", "me@a.example", "192.0.2.1", "10.0.0.0/8", "0.0.0.0/0", "2001:db8::1", "::/0"}
    assert {str(atom) for atom in atoms(Entries.of(texts))} == texts


def test_a_list_of_comments_names_nobody() -> None:
    assert is_empty(Entries.of([]))
    assert not any(is_empty(Entries.of([text])) for text in ("*", "a.example", "192.0.2.1"))


TEXTS = [
    *("*", "a.example", "b.a.example", "c.b.a.example", "*.example", "*.a.example", "*.b.a.example"),
    *("me@a.example", "me@b.a.example", "me@[192.0.2.1]"),
    *("192.0.2.1", "192.0.2.0/31", "192.0.2.0/24", "0.0.0.0/0", "2001:db8::1", "2001:db8::/32"),
]
MAILBOXES = [
    parse_forward_path(f"<{text}>".encode())[0]
    for text in (
        *("me@a.example", "you@a.example", "me@b.a.example", "you@b.a.example", "me@c.b.a.example"),
        *("me@d.example", "me@example", "me@[192.0.2.1]", "you@[192.0.2.1]", "me@[192.0.2.2]"),
    )
]
ADDRESSES = [ip_address(text) for text in ("192.0.2.0", "192.0.2.1", "192.0.2.2", "10.0.0.1", "2001:db8::1", "::1")]
SETS = st.lists(st.sampled_from(TEXTS), max_size=5).map(Entries.of)


@given(SETS, SETS)
def test_what_is_covered_is_named(outer: Entries, inner: Entries) -> None:
    if covers(outer, inner):
        assert all(outer.has_mailbox(mailbox) for mailbox in MAILBOXES if inner.has_mailbox(mailbox))
        assert all(outer.has_address(address) for address in ADDRESSES if inner.has_address(address))
    elif not inner.everything:
        assert not all(covers_atom(outer, atom) for atom in atoms(inner))
    assert all(covers_atom(outer, atom) and covers_atom(inner, atom) for atom in shared_atoms(outer, inner))
