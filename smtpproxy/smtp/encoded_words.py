"""Decode the encoded words of a header field, as far as that is cheap and safe; make some of text.

Source: RFC 2047 s2 (syntax), s4 (encodings), s6.2 (white space between encoded words); RFC 2231 s5 (language).

Mail programs show what an encoded word says, so a rule that looks at text must see it too. Character sets come from
the sender: only those of the table are decoded, for some of Python's codecs (punycode) take time that grows with the
square of the text.
"""

from __future__ import annotations

import codecs
import re
from binascii import Error, a2b_base64, a2b_qp, b2a_base64
from typing import Final

MAX_WORDS: Final = 1000
"""RFC: none; 75 octets a word. A subject has a few, a list of recipients with encoded names some hundred. Those behind
stay as they came; decoding one costs about 1.5 us."""

_TEXT_OCTETS: Final = 39  # base64 makes 52 of them; a line with an encoded word, "Subject: " too, has 76 at the most

# encoded-word = "=?" charset ["*" language] "?" encoding "?" encoded-text "?=" ; text with spaces is shown by many, too
_WORD: Final = re.compile(rb"=\?([!-)+->@-~]{1,40}+)(?:\*[!->@-~]{0,40}+)?\?([bBqQ])\?([^?\r\n]*+)\?=")

_NAMES: Final = """
    us-ascii utf-8 iso-8859-1 iso-8859-2 iso-8859-3 iso-8859-4 iso-8859-5 iso-8859-6 iso-8859-7 iso-8859-8 iso-8859-9
    iso-8859-10 iso-8859-13 iso-8859-14 iso-8859-15 iso-8859-16 windows-1250 windows-1251 windows-1252 windows-1253
    windows-1254 windows-1255 windows-1256 windows-1257 windows-1258 koi8-r koi8-u gb2312 gbk gb18030 big5 shift_jis
    euc-jp iso-2022-jp euc-kr ks_c_5601-1987 tis-620 ibm850 ibm437 ibm866 ascii utf8 latin1 cp1252
"""
_CODECS: Final = {name.encode(): codecs.lookup(name) for name in _NAMES.split()}
"""Found now, for a codec that is met for the first time is read from disk."""


def decode_words(value: bytes) -> str:
    """Return the text of an unfolded field with its encoded words decoded; what is none is read as UTF-8.

    An encoded word that is malformed, of an unknown character set, or behind the first ``MAX_WORDS`` stays as it is.
    """
    text, end = [], 0
    for number, word in enumerate(_WORD.finditer(value)):
        decoded = _decode(word) if number < MAX_WORDS else None
        if decoded is None:
            continue
        between = value[end : word.start()]
        if not end or between.strip():
            text.append(_plain(between))
        text.append(decoded)
        end = word.end()
    return "".join([*text, _plain(value[end:])])


def encode_words(text: str) -> bytes:
    """Return a text of any script as encoded words with spaces between them, which readers leave out."""
    parts = [b""]
    for character in text:  # an encoded word has whole characters (s5)
        octets = character.encode()
        if len(parts[-1]) + len(octets) > _TEXT_OCTETS:
            parts.append(b"")
        parts[-1] += octets
    return b" ".join(b"=?utf-8?b?%b?=" % b2a_base64(part, newline=False) for part in parts)


def _decode(word: re.Match[bytes]) -> str | None:
    charset, encoding, encoded = word.groups()
    codec = _CODECS.get(charset.lower())
    if codec is None:
        return None
    try:
        octets = a2b_base64(encoded + b"==") if encoding in b"bB" else a2b_qp(encoded, header=True)
    except Error:
        return None
    return codec.decode(octets, "replace")[0]


def _plain(octets: bytes) -> str:
    return octets.decode("utf-8", "replace")
