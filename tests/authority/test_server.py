from __future__ import annotations

import pytest

from smtpproxy.authority.credentials import Credential, make_credential
from smtpproxy.authority.server import ServerCredentials, choosing_names
from tests.pki import Wanted, make_leaf, make_root

ROOT = make_root()


def credential(*names: str) -> Credential:
    pair = make_leaf(ROOT, Wanted(names=names))
    return make_credential(pair.chain, pair.key)


FIRST = credential("mx.example.net", "MX2.example.net")
WILDCARD = credential("*.example.net", "*.example.org")
EXACT = credential("b.example.net", "b.example.org", "mx.example.net")
NAMELESS = credential()
CREDENTIALS = ServerCredentials([FIRST, NAMELESS, WILDCARD, EXACT])


@pytest.mark.parametrize(
    ("server_name", "expected"),
    [
        (None, FIRST),
        ("", FIRST),
        ("mx.example.net", FIRST),
        ("mx2.example.net", FIRST),
        ("MX2.Example.NET.", FIRST),
        ("a.example.net", WILDCARD),
        ("a.example.org", WILDCARD),
        ("b.example.org", EXACT),
        ("a.b.example.net", FIRST),
        ("example.org", FIRST),
        ("*.example.org", FIRST),
        ("not a name", FIRST),
        ("192.0.2.1", FIRST),
    ],
)
def test_the_credential_is_chosen_by_name(server_name: str | None, expected: Credential) -> None:
    assert CREDENTIALS.choose(server_name) is expected


def test_an_exact_name_beats_a_wildcard_listed_before() -> None:
    assert CREDENTIALS.choose("b.example.net") is EXACT


def test_the_common_name_is_no_name() -> None:
    assert ServerCredentials([credential("a.example"), NAMELESS]).choose("mx.example.net") is not NAMELESS


def test_there_must_be_one() -> None:
    with pytest.raises(ValueError, match="no Proxy Server certificate"):
        ServerCredentials([])


def test_the_names_that_choose_are_those_that_do() -> None:
    presented = [
        ["mx.example.net", "MX2.example.net", "mx.example.net"],
        [],
        ["*.example.net", "mx.example.net", "*.net", "m*.example.org", "*"],
        ["*.example.net", "*.example.org", "bad name", "dot.example.net.", "b.example.net"],
    ]
    credentials = [credential(*names) for names in presented]
    choosing = choosing_names(presented)
    assert choosing == [
        ("mx.example.net", "mx2.example.net"),
        (),
        ("*.example.net",),
        ("*.example.org", "b.example.net"),
    ]
    chooser = ServerCredentials(credentials)
    for names, expected in zip(choosing, credentials, strict=True):
        assert all(chooser.choose(name.replace("*", "other")) is expected for name in names)
