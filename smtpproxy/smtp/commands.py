"""The commands of the client as values, each with the one form in which it goes upstream.

Source: RFC 5321 s4.1.1 (commands), s4.1.2 (arguments); RFC 3030 s2 (BDAT); RFC 4954 s4 (AUTH); RFC 1985 s5 (ETRN).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, TypeAlias

from smtpproxy.enums import IdentityEnum
from smtpproxy.smtp.addresses import Path
from smtpproxy.smtp.parameters import Parameter


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
    RESPONSE = "response to an AUTH challenge"
    ETRN = "ETRN"
    XFORWARD = "XFORWARD of this proxy's own"
    UNKNOWN = "UNKNOWN"


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

    @property
    def require_tls(self) -> bool:
        """Whether the client asks for REQUIRETLS (RFC 8689)."""
        return self.parameter(b"REQUIRETLS") is not None


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
class Bdat:
    """BDAT: ``size`` octets of content follow the line, the content's last ones if ``last``."""

    verb: ClassVar[Verb] = Verb.BDAT
    size: int
    last: bool = False

    def to_wire(self) -> bytes:
        """Return the command line with its CRLF, without the octets."""
        return b"BDAT %d%b\r\n" % (self.size, b" LAST" if self.last else b"")


@dataclass(frozen=True, slots=True)
class Auth:
    """AUTH with a mechanism in upper case and, perhaps, an initial response, which nothing may ever print."""

    verb: ClassVar[Verb] = Verb.AUTH
    mechanism: str
    initial: bytes | None = field(default=None, repr=False)

    def to_wire(self) -> bytes:
        """Return the command line with its CRLF."""
        initial = b"" if self.initial is None else b" " + self.initial
        return b"AUTH %b%b\r\n" % (self.mechanism.encode(), initial)


@dataclass(frozen=True, slots=True)
class AuthResponse:
    """The line that answers a challenge of AUTH, or cancels it, which nothing may ever print."""

    verb: ClassVar[Verb] = Verb.RESPONSE
    octets: bytes = field(repr=False)

    def to_wire(self) -> bytes:
        """Return the line with its CRLF."""
        return self.octets + b"\r\n"


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
class Expn(_WithText):
    """EXPN with the name of a list."""

    verb: ClassVar[Verb] = Verb.EXPN


@dataclass(frozen=True, slots=True)
class Etrn(_WithText):
    """ETRN with the name of a node, a ``@`` domain or a ``#`` queue."""

    verb: ClassVar[Verb] = Verb.ETRN


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
class Unknown:
    """No verb that is known. Its octets are not kept and it has no wire form: nothing of it can go on."""

    verb: ClassVar[Verb] = Verb.UNKNOWN


Relayed: TypeAlias = (
    Mail | Rcpt | Data | Bdat | Auth | AuthResponse | Rset | Noop | Vrfy | Expn | Etrn | Help | Quit | StartTls
)
"""What goes upstream as the client's own and gets a reply of its own."""

Command: TypeAlias = Relayed | Ehlo | Helo | Unknown


def _to_wire(parameters: tuple[Parameter, ...]) -> bytes:
    return b"".join([b" " + parameter.to_wire() for parameter in parameters])


def _find(parameters: tuple[Parameter, ...], name: bytes) -> Parameter | None:
    return next((parameter for parameter in parameters if parameter.name == name), None)
