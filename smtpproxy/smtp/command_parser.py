"""Parse a line of the client into a command; what that command's `to_wire` makes of it is what upstream gets.

Source: RFC 5321 s4.1.1 (commands), s4.1.2 (arguments), s2.4 (verbs in any case); RFC 3207 s4 (STARTTLS
has no argument).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from smtpproxy.errors import ProtocolError
from smtpproxy.smtp import catalogue
from smtpproxy.smtp.addresses import AddressError, Path, parse_forward_path, parse_reverse_path
from smtpproxy.smtp.commands import (
    Command,
    Data,
    Ehlo,
    Helo,
    Help,
    Mail,
    Noop,
    Quit,
    Rcpt,
    Rset,
    StartTls,
    Unknown,
    Unsupported,
    Verb,
    Vrfy,
)
from smtpproxy.smtp.limits import EHLO_NAME_OCTETS
from smtpproxy.smtp.parameters import MAIL_VALUES, RCPT_VALUES, Parameter, ParameterError, Values, parse_parameters
from smtpproxy.smtp.replies import Reply


class CommandError(ProtocolError):
    """A command line with a known verb and wrong arguments.

    Args:
        reason: a short token for records.
        reply: what the client is told.
    """

    def __init__(self, reason: str, reply: Reply) -> None:
        super().__init__(reason)
        self.reply = reply


def parse_command(octets: bytes) -> Command:
    """Parse one command line.

    Args:
        octets: the line without CRLF, free of CR, LF and NUL.

    Raises:
        CommandError: the verb is known and its arguments are wrong.
    """
    verb, _, argument = octets.rstrip(_BLANK).partition(b" ")
    parse = _PARSERS.get(verb.upper())
    return _UNKNOWN if parse is None else parse(argument.lstrip(b" "))


def is_foreign_protocol(octets: bytes) -> bool:
    """Tell whether the first line of a connection is not SMTP at all, so that not even a reply makes sense.

    An empty line counts: no client begins with one, and the PROXY v2 signature does.
    """
    return _FOREIGN.match(octets) is not None


_BLANK: Final = b" \t"
_UNKNOWN: Final = Unknown()

# Visible ASCII. Exim refuses underscores, Postfix nothing; hosts have odd names, and upstream may judge them.
_NAME: Final = re.compile(rb"[\x21-\x7e]{1,%d}\Z" % EHLO_NAME_OCTETS)
# String = Atom / Quoted-string; taken as any text without controls, since nobody keeps to it.
_STRING: Final = re.compile(rb"[\x20-\x7e\x80-\xff]*+\Z")
_FROM: Final = re.compile(rb"(?i:FROM): *+(?=<)")
_TO: Final = re.compile(rb"(?i:TO): *+(?=<)")
_FOREIGN: Final = re.compile(
    rb"(?i:GET|POST|PUT|HEAD|OPTIONS|CONNECT|DELETE|PATCH|TRACE|PRI|PROXY)(?: |\Z)|SSH-|[^A-Za-z]|\Z"
)


def _parse_ehlo(argument: bytes) -> Command:
    return Ehlo(_parse_name(argument))


def _parse_helo(argument: bytes) -> Command:
    return Helo(_parse_name(argument))


def _parse_name(argument: bytes) -> bytes:
    if _NAME.match(argument) is None:
        raise CommandError("name-syntax", catalogue.SYNTAX)
    return argument


def _parse_mail(argument: bytes) -> Command:
    path, parameters = _parse_envelope(argument, _MAIL)
    return Mail(path, parameters)


def _parse_rcpt(argument: bytes) -> Command:
    path, parameters = _parse_envelope(argument, _RCPT)
    return Rcpt(path, parameters)


@dataclass(frozen=True, slots=True)
class _Envelope:
    """How MAIL and RCPT differ."""

    word: re.Pattern[bytes]
    parse_path: Callable[[bytes], tuple[Path, bytes]]
    values: Values
    bad_path: Reply


_MAIL: Final = _Envelope(_FROM, parse_reverse_path, MAIL_VALUES, catalogue.BAD_SENDER)
_RCPT: Final = _Envelope(_TO, parse_forward_path, RCPT_VALUES, catalogue.BAD_RECIPIENT)


def _parse_envelope(argument: bytes, envelope: _Envelope) -> tuple[Path, tuple[Parameter, ...]]:
    word = envelope.word.match(argument)
    if word is None:
        raise CommandError("argument-syntax", catalogue.SYNTAX)
    try:
        path, rest = envelope.parse_path(argument[word.end() :])
        return path, parse_parameters(rest, envelope.values)
    except AddressError as error:
        raise CommandError(error.reason, envelope.bad_path) from None
    except ParameterError as error:
        raise CommandError(error.reason, catalogue.BAD_PARAMETER) from None


def _parse_noop(argument: bytes) -> Command:
    return Noop(_parse_string(argument))


def _parse_help(argument: bytes) -> Command:
    return Help(_parse_string(argument))


def _parse_vrfy(argument: bytes) -> Command:
    if not argument:
        raise CommandError("argument-missing", catalogue.SYNTAX)
    return Vrfy(_parse_string(argument))


def _parse_string(argument: bytes) -> bytes:
    if _STRING.match(argument) is None:
        raise CommandError("argument-syntax", catalogue.SYNTAX)
    return argument


def _without_argument(command: Command) -> Callable[[bytes], Command]:
    def parse(argument: bytes) -> Command:
        if argument:
            raise CommandError("argument-unexpected", catalogue.SYNTAX)
        return command

    return parse


def _unsupported(verb: Verb) -> Callable[[bytes], Command]:
    command = Unsupported(verb)
    return lambda _argument: command


_PARSERS: Final[Mapping[bytes, Callable[[bytes], Command]]] = {
    b"EHLO": _parse_ehlo,
    b"HELO": _parse_helo,
    b"MAIL": _parse_mail,
    b"RCPT": _parse_rcpt,
    b"DATA": _without_argument(Data()),
    b"RSET": _without_argument(Rset()),
    b"NOOP": _parse_noop,
    b"VRFY": _parse_vrfy,
    b"HELP": _parse_help,
    b"STARTTLS": _without_argument(StartTls()),
    b"QUIT": _without_argument(Quit()),
    b"EXPN": _unsupported(Verb.EXPN),
    b"BDAT": _unsupported(Verb.BDAT),
    b"AUTH": _unsupported(Verb.AUTH),
    b"ETRN": _unsupported(Verb.ETRN),
}
