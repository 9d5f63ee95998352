"""Parse the parameters of MAIL and RCPT, and check the values of those that are known.

Source: RFC 5321 s4.1.2 (esmtp-param); RFC 1870 s3 (SIZE); RFC 6152 s2 (BODY), RFC 3030 s3 (BINARYMIME); RFC 6531 s3.4
(SMTPUTF8); RFC 3461 s4.1 to s4.4 (NOTIFY, ORCPT, RET, ENVID), RFC 6533 s3 (ORCPT with UTF-8); RFC 4954 s5 (AUTH);
RFC 8689 s2 (REQUIRETLS).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from smtpproxy.errors import ProtocolError
from smtpproxy.smtp.limits import ENVID_OCTETS, ORCPT_OCTETS, PARAMETERS

# esmtp-param = esmtp-keyword ["=" esmtp-value] ; esmtp-keyword = (ALPHA / DIGIT) *(ALPHA / DIGIT / "-")
# esmtp-value = 1*(%d33-60 / %d62-126) ; RFC 6531: esmtp-value =/ UTF8-non-ascii
_PARAMETER: Final = re.compile(rb"([A-Za-z0-9][A-Za-z0-9-]*+)(?:=([\x21-\x3c\x3e-\x7e\x80-\xff]++))?+\Z")

# xtext = *( xchar / hexchar ) ; xchar = "!" to "~" except "+" and "=" ; hexchar = "+" 2HEXDIG (either case is taken)
_XTEXT: Final = rb"(?:[\x21-\x2a\x2c-\x3c\x3e-\x7e]|\+[0-9A-Fa-f]{2})*+"
# utf-8-addr-unitext = 1*(QUCHAR / EmbeddedUnicodeChar) ; QUCHAR = %x21-2a / %x2c-3c / %x3e-5b / %x5d-7e / UTF-8
# EmbeddedUnicodeChar = "\x{" HEXPOINT "}" (RFC 6533 s3; utf-8-addr-xtext is the same in ASCII)
_UNITEXT: Final = rb"(?:[\x21-\x2a\x2c-\x3c\x3e-\x5b\x5d-\x7e\x80-\xff]|\\x\{[0-9A-Fa-f]{2,6}\})++"
_NOTIFY_ELEMENT: Final = rb"(?:SUCCESS|FAILURE|DELAY)"

Values = Mapping[bytes, re.Pattern[bytes]]

MAIL_VALUES: Final[Values] = {
    b"SIZE": re.compile(rb"[0-9]{1,20}\Z"),
    b"BODY": re.compile(rb"(?i:7BIT|8BITMIME|BINARYMIME)\Z"),
    b"SMTPUTF8": re.compile(rb"\Z"),
    b"RET": re.compile(rb"(?i:FULL|HDRS)\Z"),
    b"ENVID": re.compile(rb"(?=.{1,%d}\Z)%b\Z" % (ENVID_OCTETS, _XTEXT)),
    b"AUTH": re.compile(rb"(?=.)(?:<>|%b)\Z" % _XTEXT),
    b"REQUIRETLS": re.compile(rb"\Z"),
}
"""The form of the values of MAIL's known parameters; a parameter without value is matched as an empty one."""

RCPT_VALUES: Final[Values] = {
    b"NOTIFY": re.compile(rb"(?i:NEVER|%b(?:,%b){0,2})\Z" % (_NOTIFY_ELEMENT, _NOTIFY_ELEMENT)),
    b"ORCPT": re.compile(
        rb"(?=.{1,%d}\Z)(?:(?i:utf-8);%b|(?!(?i:utf-8);)[A-Za-z0-9][A-Za-z0-9-]*+;%b)\Z"
        % (ORCPT_OCTETS, _UNITEXT, _XTEXT)
    ),
}
"""The form of the values of RCPT's known parameters."""

PARAMETER_EXTENSION: Final[Mapping[bytes, str]] = {
    b"SIZE": "SIZE",
    b"BODY": "8BITMIME",
    b"SMTPUTF8": "SMTPUTF8",
    b"RET": "DSN",
    b"ENVID": "DSN",
    b"AUTH": "AUTH",
    b"REQUIRETLS": "REQUIRETLS",
    b"NOTIFY": "DSN",
    b"ORCPT": "DSN",
}
"""The EHLO keyword that a peer must offer before the parameter may be sent to it."""


class ParameterError(ProtocolError):
    """A parameter that breaks the grammar, stands twice or has a wrong value."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter as sent; ``value`` is ``None`` where there was no equals sign."""

    keyword: bytes
    value: bytes | None = None

    @property
    def name(self) -> bytes:
        """The keyword in upper case, for comparison."""
        return self.keyword.upper()

    def to_wire(self) -> bytes:
        """Return the octets as they came."""
        return self.keyword if self.value is None else b"%b=%b" % (self.keyword, self.value)


def parse_parameters(octets: bytes, values: Values) -> tuple[Parameter, ...]:
    """Parse what follows a path.

    Args:
        octets: the rest of the command line.
        values: the form of the values of known parameters; an unknown one passes, the session judges it.

    Raises:
        ParameterError: wrong grammar, a wrong value, the same keyword twice, or too many.
    """
    if not octets:
        return ()
    words = [word for word in octets.split(b" ") if word]  # a tab separates nothing
    if octets[0] != ord(" ") or len(words) > PARAMETERS:
        raise ParameterError("parameter-syntax")
    parameters = tuple([_parse_parameter(word, values) for word in words])
    if len({parameter.name for parameter in parameters}) != len(parameters):
        raise ParameterError("parameter-twice")
    return parameters


def _parse_parameter(word: bytes, values: Values) -> Parameter:
    match = _PARAMETER.match(word)
    if match is None:
        raise ParameterError("parameter-syntax")
    parameter = Parameter(match[1], match[2])
    form = values.get(parameter.name)
    if form is not None and not form.match(parameter.value or b""):
        raise ParameterError("parameter-value")
    if not word.isascii():
        _check_utf8(word)
    return parameter


def _check_utf8(word: bytes) -> None:
    try:
        word.decode()
    except UnicodeDecodeError:
        raise ParameterError("parameter-not-utf8") from None
