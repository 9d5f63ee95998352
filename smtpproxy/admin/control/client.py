"""Ask the running gateway, over its control socket; without Twisted, for commands that begin quickly."""

from __future__ import annotations

import socket
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, NoReturn, Self

from smtpproxy.admin.control.protocol import MAX_ANSWER_OCTETS, Code, RequestError, request_line, result_of
from smtpproxy.admin.control.socket_file import connect_to
from smtpproxy.admin.exits import CommandError, ExitStatus

if TYPE_CHECKING:
    from pathlib import Path

TIMEOUT_S: Final = 10.0
"""The gateway answers at once, but for a reload."""

_READ_OCTETS: Final = 256 * 1024

_STATUSES: Final = {
    Code.ARGUMENT: ExitStatus.USAGE,
    Code.PERMISSION: ExitStatus.PERMISSION,
    Code.BUSY: ExitStatus.TEMPORARY,
}


class ControlClient:
    """A connection to a control socket.

    Args:
        path: where it is.
        start: the command line that starts a gateway there.

    Raises:
        CommandError: no gateway is there, or this user may not ask it.
    """

    def __init__(self, path: Path, start: str) -> None:
        self._path = path
        self._count = 0
        self._buffer = b""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._socket.settimeout(TIMEOUT_S)
            connect_to(path, self._socket)
        except OSError as error:
            self._socket.close()
            raise _unreached(path, start, error) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()
        if isinstance(error, KeyError):  # of what was made of an answer
            self._give_up(f"the gateway is of another version, its answer lacks {error}", ExitStatus.PROTOCOL)

    def ask(self, command: str, *, timeout_s: float = TIMEOUT_S, **arguments: object) -> Any:  # noqa: ANN401
        """Return what the gateway answers.

        Args:
            command: one of `protocol.COMMANDS`.
            timeout_s: how long it may take, in seconds.
            arguments: the command's.

        Raises:
            CommandError: it does not do it, or does not answer.
        """
        self._count += 1
        try:
            self._socket.settimeout(timeout_s)
            self._say(request_line(self._count, command, arguments))
            return result_of(self._line(), self._count)
        except RequestError as error:
            status = _STATUSES.get(error.code, ExitStatus.PROTOCOL)
            raise CommandError(f"{self._path}: {error}", status) from None
        except TimeoutError:
            self._give_up(f"no answer within {timeout_s:g} s", ExitStatus.TEMPORARY)
        except OSError as error:
            self._give_up(f"the gateway has ended the connection ({error.strerror})", ExitStatus.TEMPORARY)
        except (ValueError, KeyError, TypeError):
            self._give_up("what answers is no gateway of this version", ExitStatus.PROTOCOL)

    def _give_up(self, why: str, status: ExitStatus) -> NoReturn:
        raise CommandError(f"{self._path}: {why}", status) from None

    def _say(self, line: bytes) -> None:
        with suppress(BrokenPipeError):  # why it was closed may have been said before
            self._socket.sendall(line)

    def _line(self) -> bytes:
        while b"\n" not in self._buffer:
            octets = self._socket.recv(_READ_OCTETS)
            if not octets:
                raise ConnectionResetError(0, "without an answer")
            self._buffer += octets
            if len(self._buffer) > MAX_ANSWER_OCTETS:
                raise ValueError("an answer without end")
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line


def _unreached(path: Path, start: str, error: OSError) -> CommandError:
    if isinstance(error, PermissionError):
        advice = "only root and the gateway's own user may ask it; run this as one of them"
        return CommandError(f"{path}: no permission: {advice}", ExitStatus.PERMISSION)
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return _nobody(f"there is no socket {path}", start)
    if isinstance(error, ConnectionRefusedError):
        return _nobody(f"nobody answers at {path}", start)
    return CommandError(f"{path}: {error.strerror or error}", ExitStatus.UNAVAILABLE)


def _nobody(seen: str, start: str) -> CommandError:
    advice = f"start one with '{start}', or name another's socket with --socket"
    return CommandError(f"no gateway runs here: {seen}; {advice}", ExitStatus.UNAVAILABLE)
