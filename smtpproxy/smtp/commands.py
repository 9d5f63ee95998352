"""Parse command lines into commands, and write commands in the one form in which they go upstream.

Source: RFC 5321 s4.1.1 (commands), s4.1.2 (arguments), s2.4 (verbs in any case); RFC 3207 s4 (STARTTLS
has no argument).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final, TypeAlias

from smtpproxy.enums import IdentityEnum
from smtpproxy.errors import ProtocolError
from smtpproxy.smtp import catalogue
from smtpproxy.smtp.addresses import AddressError, Path, parse_forward_path, parse_reverse_path
from smtpproxy.smtp.limits import EHLO_NAME_OCTETS
from smtpproxy.smtp.parameters import MAIL_VALUES, RCPT_VALUES, Parameter, ParameterError, Values, parse_parameters

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from smtpproxy.smtp.replies import Reply


class Verb(IdentityEnum):
    """Every verb that is told apart; the session's tables are keyed on it."""

    EHLO = "EHLO"
    HELO = "HELO"
    MAIL = "MAIL"
    RCPT = "RCPT"
    DATA = "DATA"
    RSET = "RSET"
    NOOP = "NOOP"
    VRFY = "VRFY"
    EXPN = "EXPN"
    HELP = "HELP"
    STARTTLS = "STARTTLS"
    QUIT = "QUIT"
    BDAT = "BDAT"
    AUTH = "AUTH"
    ETRN = "ETRN"
    UNKNOWN = "UNKNOWN"


class CommandError(ProtocolError):
    """A command line with a known verb and wrong arguments.

    Args:
        reason: a short token for records.
        reply: what the client is told.
    """

    def __init__(self, reason: str, reply: Reply) -> None:
        super().__init__(reason)
        self.reply = reply


class _Bare:
    """A command without argument."""

    __slots__ = ()
    verb: ClassVar[Verb]

    def to_wire(self) -> bytes:
        """Return the command line with its CRLF."""
        return b"%b\r\n" % self.verb.value.encode()


@dataclass(frozen=True, slots=True)
class _Named:
    verb: ClassVar[Verb]
    name: bytes

    def to_wire(self) -> bytes:
        """Return the command line with its CRLF."""
        return b"%b %b\r\n" % (self.verb.value.encode(), self.name)


@dataclass(frozen=True, slots=True)
class _WithText:
    verb: ClassVar[Verb]
    argument: bytes = b""

    def to_wire(self) -> bytes:
        """Return the command line with its CRLF."""
        space = b" " if self.argument else b""
        return b"%b%b%b\r\n" % (self.verb.value.encode(), space, self.argument)


@dataclass(frozen=True, slots=True)
class Ehlo(_Named):
    """EHLO with the client's name."""

    verb: ClassVar[Verb] = Verb.EHLO


@dataclass(frozen=True, slots=True)
class Helo(_Named):
    """HELO with the client's name."""

    verb: ClassVar[Verb] = Verb.HELO


@dataclass(frozen=True, slots=True)
class Mail:
    """MAIL with the reverse-path."""

    verb: ClassVar[Verb] = Verb.MAIL
    path: Path
    parameters: tuple[Parameter, ...] = ()

    def to_wire(self) -> bytes:
        """Return the command line with its CRLF."""
        return b"MAIL FROM:<%b>%b\r\n" % (self.path.octets, _to_wire(self.parameters))

    def parameter(self, name: bytes) -> Parameter | None:
        """Return the parameter of that upper-case name."""
        return _find(self.parameters, name)

    def without(self, name: bytes) -> Mail:
        """Return the command without that parameter, for an upstream that does not offer its extension."""
        return Mail(self.path, tuple([each for each in self.parameters if each.name != name]))

    @property
    def size(self) -> int | None:
        """The declared size in octets (RFC 1870), ``None`` if not declared."""
        found = self.parameter(b"SIZE")
        return None if found is None or found.value is None else int(found.value)

    @property
    def body(self) -> bytes | None:
        """``7BIT``, ``8BITMIME`` or ``BINARYMIME``, ``None`` if not declared."""
        found = self.parameter(b"BODY")
        return None if found is None or found.value is None else found.value.upper()

    @property
    def smtputf8(self) -> bool:
        """Whether the client asks for SMTPUTF8."""
        return self.parameter(b"SMTPUTF8") is not None


@dataclass(frozen=True, slots=True)
class Rcpt:
    """RCPT with a forward-path."""

    verb: ClassVar[Verb] = Verb.RCPT
    path: Path
    parameters: tuple[Parameter, ...] = ()

    def to_wire(self) -> bytes:
        """Return the command line with its CRLF."""
        return b"RCPT TO:<%b>%b\r\n" % (self.path.octets, _to_wire(self.parameters))

    def parameter(self, name: bytes) -> Parameter | None:
        """Return the parameter of that upper-case name."""
        return _find(self.parameters, name)


@dataclass(frozen=True, slots=True)
class Data(_Bare):
    """DATA."""

    verb: ClassVar[Verb] = Verb.DATA


@dataclass(frozen=True, slots=True)
class Rset(_Bare):
    """RSET."""

    verb: ClassVar[Verb] = Verb.RSET


@dataclass(frozen=True, slots=True)
class Noop(_WithText):
    """NOOP, whose argument means nothing."""

    verb: ClassVar[Verb] = Verb.NOOP


@dataclass(frozen=True, slots=True)
class Vrfy(_WithText):
    """VRFY with a user name or mailbox."""

    verb: ClassVar[Verb] = Verb.VRFY


@dataclass(frozen=True, slots=True)
class Help(_WithText):
    """HELP, perhaps with a topic."""

    verb: ClassVar[Verb] = Verb.HELP


@dataclass(frozen=True, slots=True)
class StartTls(_Bare):
    """STARTTLS."""

    verb: ClassVar[Verb] = Verb.STARTTLS


@dataclass(frozen=True, slots=True)
class Quit(_Bare):
    """QUIT."""

    verb: ClassVar[Verb] = Verb.QUIT


@dataclass(frozen=True, slots=True)
class Unsupported:
    """A known verb that is not handled. Its octets are not kept and it has no wire form: nothing of it can go on."""

    verb: Verb


@dataclass(frozen=True, slots=True)
class Unknown:
    """No verb that is known. Its octets are not kept and it has no wire form: nothing of it can go on."""

    verb: ClassVar[Verb] = Verb.UNKNOWN


Command: TypeAlias = (
    Ehlo | Helo | Mail | Rcpt | Data | Rset | Noop | Vrfy | Help | StartTls | Quit | Unsupported | Unknown
)


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


def _to_wire(parameters: tuple[Parameter, ...]) -> bytes:
    return b"".join([b" " + parameter.to_wire() for parameter in parameters])


def _find(parameters: tuple[Parameter, ...], name: bytes) -> Parameter | None:
    return next((parameter for parameter in parameters if parameter.name == name), None)


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
