from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpproxy.tls.facts import PeerCertificate
from smtpproxy.tls.names import ascii_name, covers, matches


def showing(*dns_names: str, addresses: tuple[str, ...] = ()) -> PeerCertificate:
    return PeerCertificate(b"", "", dns_names, addresses, 0)


@pytest.mark.parametrize(
    ("presented", "name"),
    [
        ("mx.example.net", "mx.example.net"),
        ("mx.example.net", "MX.Example.NET"),
        ("MX.example.net", "mx.example.net"),
        ("mx.example.net", "mx.example.net."),
        ("*.example.net", "mx.example.net"),
        ("*.example.net", "mx_1.example.net"),
        ("*.example.net", "xn--bcher-kva.example.net"),
        ("mx_1.example.net", "mx_1.example.net"),
        ("xn--bcher-kva.example", "b\u00fccher.example"),
        ("xn--bcher-kva.example", "B\u00dcCHER.example."),
        ("xn--bcher-kva.example", "b\u00fccher\u3002example"),
        ("localhost", "localhost"),
        ("example.net", "example.net"),
    ],
)
def test_matches(presented: str, name: str) -> None:
    assert matches(name, showing(presented))


@pytest.mark.parametrize(
    ("presented", "name"),
    [
        ("mx.example.net", "example.net"),
        ("example.net", "mx.example.net"),
        ("*.example.net", "example.net"),
        ("*.example.net", "a.b.example.net"),
        ("*.example.net", ".example.net"),
        ("*.example.net", "*.example.net"),
        ("mx*.example.net", "mx1.example.net"),
        ("*1.example.net", "mx1.example.net"),
        ("m*1.example.net", "mx1.example.net"),
        ("mx.*.net", "mx.example.net"),
        ("*.*.net", "mx.example.net"),
        ("*.net", "example.net"),
        ("*", "localhost"),
        ("*.", "localhost."),
        ("", ""),
        ("", "."),
        ("*.2.3.4", "1.2.3.4"),
        ("1.2.3.4", "1.2.3.4"),
        ("xn--*.example.net", "xn--bcher-kva.example.net"),
        ("mx.example.net", "mx.example.net.."),
        ("mx.example.net", "mx.example.net\0.evil.example"),
        ("mx.example.net\0.evil.example", "mx.example.net"),
        ("mx.example.net", " mx.example.net"),
        ("mx.example.net", "\u2010.example.net"),
        ("a" * 64 + ".example", "a" * 64 + ".example"),
    ],
)
def test_does_not_match(presented: str, name: str) -> None:
    assert not matches(name, showing(presented))


def test_one_of_several_names_is_enough() -> None:
    assert matches("mx2.example.net", showing("mx1.example.net", "mx2.example.net"))


@pytest.mark.parametrize(
    ("address", "name"),
    [("192.0.2.1", "192.0.2.1"), ("2001:db8::1", "2001:db8::1"), ("2001:db8::1", "2001:0DB8:0:0::1")],
)
def test_an_address_matches_an_address(address: str, name: str) -> None:
    assert matches(name, showing(addresses=(address,)))


@pytest.mark.parametrize(
    ("certificate", "name"),
    [
        (showing("192.0.2.1"), "192.0.2.1"),
        (showing("mx.example.net", addresses=("192.0.2.1",)), "192.0.2.2"),
        (showing(addresses=("192.0.2.1",)), "::ffff:192.0.2.1"),
        (showing(addresses=("192.0.2.1",)), "192.0.2.01"),
        (showing(addresses=("192.0.2.1",)), "192.0.2.1."),
        (showing(addresses=("192.0.2.0/24",)), "192.0.2.1"),
        (showing(addresses=("192.0.2.1",)), "mx.example.net"),
    ],
)
def test_an_address_matches_nothing_else(certificate: PeerCertificate, name: str) -> None:
    assert not matches(name, certificate)


def test_no_name_is_presented() -> None:
    assert not matches("mx.example.net", showing())


labels = st.text("abcxyz019-_", min_size=1, max_size=12).filter(lambda label: label.strip("-_") != "")
hosts = st.lists(labels, min_size=3, max_size=5).map(".".join)


@given(hosts, labels)
def test_a_wildcard_stands_for_exactly_one_label(host: str, label: str) -> None:
    wildcard = "*." + host.partition(".")[2]
    assert covers(wildcard, host)
    assert not covers(wildcard, f"{label}.{host}")
    assert not covers(wildcard, host.partition(".")[2])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Bücher.example.", "xn--bcher-kva.example"),
        ("BÜCHER\u3002Example", "xn--bcher-kva.example"),
        ("_dmarc.mail_1.bücher.example", "_dmarc.mail_1.xn--bcher-kva.example"),
        ("\uff58\uff3f\uff59.example", "x_y.example"),
        ("xn--bcher-kva.bücher.example", "xn--bcher-kva.xn--bcher-kva.example"),
        ("a b.bücher.example", None),
        ("a..bücher.example", None),
        ("\u2603.example", None),
        (f"{'ü' * 60}.example", None),
        (f"{'a' * 64}.bücher.example", None),
    ],
)
def test_u_labels_stand_beside_labels_that_idna_does_not_know(name: str, expected: str | None) -> None:
    assert ascii_name(name) == expected


@given(st.text(max_size=300))
def test_any_text_is_a_name_in_wire_form_or_none(text: str) -> None:
    name = ascii_name(text)
    if name is not None:
        assert name.isascii()
        assert name == name.lower()
        assert 0 < len(name) <= 253
        assert "*" not in name
        assert ascii_name(name) == name


@given(st.text(max_size=40), st.text(max_size=40))
def test_matching_never_raises(presented: str, name: str) -> None:
    assert matches(name, showing(presented)) in {True, False}
