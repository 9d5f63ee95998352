from __future__ import annotations

import time
from email.header import Header, decode_header, make_header

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpproxy.smtp.encoded_words import MAX_WORDS, decode_words, encode_words


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (b"plain", "plain"),
        (b"", ""),
        (b"=?utf-8?Q?caf=C3=A9?=", "café"),
        (b"=?UTF-8?b?Y2Fmw6k=?=", "café"),
        (b"=?iso-8859-1?q?a_b=20c?=", "a b c"),
        (b"=?utf-8*en?q?a?=", "a"),
        (b"Re: =?utf-8?q?a?= b", "Re: a b"),
        (b"=?utf-8?q?a?= =?utf-8?q?b?=", "ab"),
        (b"=?utf-8?q?a?=\t =?utf-8?q?b?= c", "ab c"),
        (b"=?utf-8?q?a?=x=?utf-8?q?b?=", "axb"),
        (b"=?utf-8?q?via gra?=", "via gra"),
        (b"=?utf-8?b?YQ?=", "a"),
        (b"=?utf-8?b?YQ==?=", "a"),
        (b"=?shift_jis?b?k/qWew==?=", "日本"),
        ("Grüße".encode(), "Grüße"),
        (b"\xff", "\ufffd"),
        (b"=?utf-8?q?=FF?=", "\ufffd"),
    ],
)
def test_decoded_text(value: bytes, text: str) -> None:
    assert decode_words(value) == text


@pytest.mark.parametrize(
    "value",
    [
        b"=?utf-8?q?a",
        b"=?utf-8?x?a?=",
        b"=?utf-8?q?a?b?=",
        b"=??q?a?=",
        b"=?utf-8?b?a?=",
        b"=?no-such-set?q?a?=",
        b"=?punycode?q?a-?=",
        b"=?idna?q?a?=",
        b"=?unicode_escape?q?=5Cx41?=",
        b"=?utf-7?q?+AGE-?=",
        b"=?zlib?b?eJwDAAAAAAE=?=",
        b"=?" + b"a" * 41 + b"?q?a?=",
    ],
)
def test_what_is_no_encoded_word_of_ours_stays(value: bytes) -> None:
    assert decode_words(value) == value.decode()


@given(
    st.text(st.characters(exclude_categories=["C", "Zl", "Zp"]), min_size=1, max_size=60).filter(
        lambda text: text == text.strip() and "=?" not in text
    ),
    st.sampled_from(["utf-8", "gb18030"]),
)
def test_what_another_library_encodes_is_decoded(text: str, charset: str) -> None:
    encoded = Header(text, charset, maxlinelen=10_000).encode()
    assert decode_words(encoded.encode()) == text


def test_no_more_than_so_many_are_decoded() -> None:
    word = b"=?utf-8?q?a?="
    assert decode_words(word * (MAX_WORDS + 2)) == "a" * MAX_WORDS + word.decode() * 2


@pytest.mark.parametrize(
    "part", [b"=?", b"=?a?q?", b"=?utf-8?q?", b"=?utf-8?q??=", b"?=", b"=?utf-8?b?AAAA", b"=", b"=?" + b"a" * 40]
)
def test_the_time_grows_with_the_octets_and_not_with_their_square(part: bytes) -> None:
    def cost(octets: int) -> float:
        value = (part * octets)[:octets]
        start = time.process_time()
        decode_words(value)
        return time.process_time() - start

    short = min(cost(32_768) for _ in range(5))
    assert min(cost(262_144) for _ in range(5)) < 8 * 5 * max(short, 0.0001)


# Encoding


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_what_is_encoded_is_read_again(text: str) -> None:
    encoded = encode_words(text)
    assert decode_words(encoded) == text
    assert str(make_header(decode_header(encoded.decode()))) == text
    assert all(len(word) <= 75 and word.isascii() for word in encoded.split(b" "))
