"""The language of the control socket: one JSON object a line, a request up and its answer down.

`docs/control.md` tells every command and field.

Source: RFC 8259 (JSON); JSON Lines, https://jsonlines.org.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, TypeAlias

from smtpproxy.errors import SmtpProxyError

VERSION: Final = 1
"""Raised when a command or field changes its meaning or goes; a new one does not raise it."""

MAX_REQUEST_OCTETS: Final = 4096
"""A line with its end; the longest honest request has an address and a reason in it."""

MAX_ANSWER_OCTETS: Final = 64 * 1024 * 1024
"""What a client takes: a thousand sessions are about 2 MB."""

MAX_SESSIONS: Final = 1000
MAX_ENTRIES: Final = 10_000
MAX_BLOCK_S: Final = 366 * 24 * 3600
MAX_TEXT_LENGTH: Final = 100
MAX_ID_LENGTH: Final = 64

Values: TypeAlias = Mapping[str, Any]


class Code(Enum):
    """Why a request was not carried out."""

    MALFORMED = "malformed"  # no JSON object on a line, or a line too long
    VERSION = "version"  # not spoken here
    COMMAND = "command"  # not known
    ARGUMENT = "argument"  # one is missing, unknown, or not as it should be
    PERMISSION = "permission"  # the socket is not for this user
    BUSY = "busy"  # too many connections
    INTERNAL = "internal"  # the gateway's own fault; the log has it


class RequestError(SmtpProxyError):
    """A request is not carried out.

    Args:
        code: for programs.
        message: what is wrong, for people.
        id_: of the request, as far as it is known.
    """

    def __init__(self, code: Code, message: str, id_: str | int | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.id = id_


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked for.

    Args:
        id: of the asker's choice, repeated in the answer.
        command: a key of `COMMANDS`.
        arguments: all that the command takes, checked.
    """

    id: str | int | None
    command: str
    arguments: Values


@dataclass(frozen=True, slots=True)
class Argument:
    """What a command takes.

    Args:
        is_valid: whether a value will do.
        form: in words.
        default: what holds without it, ``None`` where it must be given.
    """

    is_valid: Callable[[object], bool]
    form: str
    default: object = None


_SWITCH: Final = Argument(lambda value: isinstance(value, bool), "true or false", default=False)


def _limit(most: int) -> Argument:
    return Argument(lambda value: type(value) is int and 0 <= value <= most, f"a number up to {most}", most)


_ADDRESS: Final = Argument(
    lambda value: isinstance(value, str) and len(value) <= MAX_TEXT_LENGTH,
    "an IP address, or an IPv6 network of 64 bits",
)
_SECONDS: Final = Argument(
    lambda value: type(value) is int and 0 < value <= MAX_BLOCK_S, f"a number of seconds up to {MAX_BLOCK_S}"
)
_REASON: Final = Argument(
    lambda value: isinstance(value, str) and 0 < len(value) <= MAX_TEXT_LENGTH and value.isprintable(),
    f"a text of at most {MAX_TEXT_LENGTH} printable characters",
    "by-command",
)

COMMANDS: Final[Mapping[str, Mapping[str, Argument]]] = {
    "status": {},
    "sessions": {"limit": _limit(MAX_SESSIONS)},
    "reload": {},
    "drain": {"then_exit": _SWITCH},
    "resume": {},
    "blocked": {"limit": _limit(MAX_ENTRIES)},
    "block": {"address": _ADDRESS, "seconds": _SECONDS, "reason": _REASON},
    "lift": {"address": _ADDRESS},
}
"""Every command with its arguments."""

_ENVELOPE: Final = ("version", "id", "command")


def parse_request(line: bytes) -> Request:
    """Return what a line asks for.

    Raises:
        RequestError: it is no request that can be carried out.
    """
    document = _object(line)
    id_ = _id(document)
    if document.get("version") != VERSION or type(document["version"]) is not int:
        raise RequestError(Code.VERSION, f"version {VERSION} is spoken here; the request says {_shown(document)}", id_)
    command = document.get("command")
    if not isinstance(command, str) or command not in COMMANDS:
        raise RequestError(Code.COMMAND, f"unknown command; known here: {', '.join(COMMANDS)}", id_)
    given = {key: value for key, value in document.items() if key not in _ENVELOPE}
    try:
        return Request(id_, command, _arguments(COMMANDS[command], given))
    except RequestError as error:
        raise RequestError(error.code, f"{command}: {error}", id_) from None


def _object(line: bytes) -> dict[str, Any]:
    try:
        document = json.loads(line)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise RequestError(Code.MALFORMED, "a request is one JSON object on a line")
    return document


def _id(document: Values) -> str | int | None:
    id_ = document.get("id")
    is_taken = id_ is None or type(id_) is int or (isinstance(id_, str) and len(id_) <= MAX_ID_LENGTH)
    if not is_taken:
        raise RequestError(Code.MALFORMED, f"id is a number, or a text of at most {MAX_ID_LENGTH} characters")
    return id_


def _shown(document: Values) -> str:
    return json.dumps(document["version"])[:40] if "version" in document else "none"


def _arguments(known: Mapping[str, Argument], given: Values) -> Values:
    for name in given:
        if name not in known:
            takes = f"takes {', '.join(known)}" if known else "takes none"
            raise RequestError(Code.ARGUMENT, f"unknown argument {json.dumps(name)[:40]}; it {takes}")
    return {name: _argument(name, argument, given) for name, argument in known.items()}


def _argument(name: str, argument: Argument, given: Values) -> object:
    if name not in given:
        if argument.default is None:
            raise RequestError(Code.ARGUMENT, f"{name} must be given: {argument.form}")
        return argument.default
    if not argument.is_valid(given[name]):
        raise RequestError(Code.ARGUMENT, f"{name} must be {argument.form}")
    return given[name]


def request_line(id_: int, command: str, arguments: Values) -> bytes:
    """Return a request as a line."""
    return _line({"version": VERSION, "id": id_, "command": command, **arguments})


def answer_line(request: Request, result: object) -> bytes:
    """Return the answer to a request that was carried out, as a line."""
    return _line({"version": VERSION, "id": request.id, "ok": True, "result": result})


def error_line(error: RequestError) -> bytes:
    """Return the answer to a request that was not, as a line."""
    told = {"code": error.code.value, "message": str(error)}
    return _line({"version": VERSION, "id": error.id, "ok": False, "error": told})


def _line(document: Values) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode() + b"\n"


def result_of(line: bytes, id_: int) -> Any:  # noqa: ANN401 - each command has its own
    """Return what a gateway answered to the request ``id_``.

    Raises:
        RequestError: it did not carry it out.
        ValueError: that is no answer to this request.
    """
    document = json.loads(line)
    if not isinstance(document, dict) or document.get("version") != VERSION:
        raise ValueError("the answer is of no known version")
    if document.get("ok") is not True:
        told = document["error"]
        raise RequestError(Code(told["code"]), str(told["message"]), document.get("id"))
    if document.get("id") != id_:
        raise ValueError("the answer is to another request")
    return document["result"]
