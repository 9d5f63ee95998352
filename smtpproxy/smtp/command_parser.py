"""Parse a line of the client into a command; what that command's `to_wire` makes of it is what upstream gets.

Source: RFC 5321 s4.1.1 (commands), s4.1.2 (arguments), s2.4 (verbs in any case); RFC 3207 s4 (STARTTLS
has no argument); RFC 3030 s2 (BDAT); RFC 4954 s4 and s8 (AUTH); RFC 1985 s5 (ETRN).
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
    Auth,
    AuthResponse,
    Bdat,
    Command,
    Data,
    Ehlo,
    Etrn,
    Expn,
    Helo,
    Help,
    Mail,
    Noop,
    Quit,
    Rcpt,
    Rset,
    StartTls,
    Unknown,
    Vrfy,
)
from smtpproxy.smtp.limits import COMMAND_LINE_OCTETS, EHLO_NAME_OCTETS
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


class ChunkError(CommandError):
    """A BDAT of a wrong form: how many octets of content follow is not known, so nothing behind it can be read."""


def parse_command(octets: bytes) -> Command:
    """Parse one command line.

    Args:
        octets: the line without CRLF, free of CR, LF and NUL.

    Raises:
        ChunkError: BDAT has a wrong form, or its line is too long.
        CommandError: the verb is known and its arguments are wrong; or the line is too long for any verb but AUTH.
    """
    verb, _, argument = octets.rstrip(_BLANK).partition(b" ")
    verb = verb.upper()
    if len(octets) > _COMMAND_OCTETS and verb != b"AUTH":
        fault = ChunkError if verb == b"BDAT" else CommandError
        raise fault("line-too-long", catalogue.LINE_TOO_LONG)
    parse = _PARSERS.get(verb)
    return _UNKNOWN if parse is None else parse(argument.lstrip(b" "))


def parse_auth_response(octets: bytes) -> AuthResponse:
    """Parse the line that answers a challenge of AUTH: base64, nothing at all, or ``*`` to cancel.

    Raises:
        CommandError: it is none of these.
    """
    if octets != CANCEL.octets and _BASE64.match(octets) is None:
        raise CommandError("auth-response-syntax", catalogue.AUTH_SYNTAX)
    return AuthResponse(octets)


def is_foreign_protocol(octets: bytes) -> bool:
    """Tell whether the first line of a connection is not SMTP at all, so that not even a reply makes sense.

    An empty line counts: no client begins with one, and the PROXY v2 signature does.
    """
    return _FOREIGN.match(octets) is not None


CANCEL: Final = AuthResponse(b"*")

_BLANK: Final = b" \t"
_UNKNOWN: Final = Unknown()
_COMMAND_OCTETS: Final = COMMAND_LINE_OCTETS - len(b"\r\n")

# Visible ASCII. Exim refuses underscores, Postfix nothing; hosts have odd names, and upstream may judge them.
_NAME: Final = re.compile(rb"[\x21-\x7e]{1,%d}\Z" % EHLO_NAME_OCTETS)
# String = Atom / Quoted-string; taken as any text without controls, since nobody keeps to it.
_STRING: Final = re.compile(rb"[\x20-\x7e\x80-\xff]*+\Z")
# chunk-size = 1*DIGIT ; end-marker = "LAST" ; 18 digits are more octets than there are disks
_BDAT: Final = re.compile(rb"([0-9]{1,18})(?: ++(?i:(LAST)))?\Z")
# sasl-mech = 1*20mech-char ; mech-char = UPPER-ALPHA / DIGIT / "-" / "_" ; lower case is taken too
_AUTH: Final = re.compile(rb"([A-Za-z0-9_-]{1,20})(?: ++([^ ]++))?\Z")
# base64 = base64-terminal / ( 1*(4base64-char) [base64-terminal] ), or nothing
_BASE64: Final = re.compile(rb"(?:[A-Za-z0-9+/]{4})*+(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?\Z")
_EMPTY_RESPONSE: Final = b"="
# ETRN SP [option-character] node-name ; option-character = "@" / "#"
_NODE: Final = re.compile(rb"[@#]?[\x21-\x7e]{1,%d}\Z" % EHLO_NAME_OCTETS)
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
    return Vrfy(_parse_given_string(argument))


def _parse_expn(argument: bytes) -> Command:
    return Expn(_parse_given_string(argument))


def _parse_given_string(argument: bytes) -> bytes:
    if not argument:
        raise CommandError("argument-missing", catalogue.SYNTAX)
    return _parse_string(argument)


def _parse_etrn(argument: bytes) -> Command:
    if _NODE.match(argument) is None:
        raise CommandError("node-syntax", catalogue.SYNTAX)
    return Etrn(argument)


def _parse_bdat(argument: bytes) -> Command:
    match = _BDAT.match(argument)
    if match is None:
        raise ChunkError("bdat-syntax", catalogue.SYNTAX)
    return Bdat(int(match[1]), match[2] is not None)


def _parse_auth(argument: bytes) -> Command:
    match = _AUTH.match(argument)
    if match is None:
        raise CommandError("argument-syntax", catalogue.SYNTAX)
    initial: bytes | None = match[2]
    if initial is not None and initial != _EMPTY_RESPONSE and _BASE64.match(initial) is None:
        raise CommandError("auth-response-syntax", catalogue.AUTH_SYNTAX)
    return Auth(match[1].decode().upper(), initial)


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
    b"EXPN": _parse_expn,
    b"BDAT": _parse_bdat,
    b"AUTH": _parse_auth,
    b"ETRN": _parse_etrn,
}
