"""Have a request carried out by the running gateway."""

from __future__ import annotations

from typing import Any, Protocol

from twisted.internet.defer import Deferred

from smtpproxy.admin.control.protocol import Code, Request, RequestError


class Running(Protocol):
    """A running gateway, of however many processes; `net.running` tells what each answer is."""

    def status(self) -> Deferred[dict[str, Any]]:
        """Return how it does."""

    def sessions(self, limit: int) -> Deferred[dict[str, Any]]:
        """Return the oldest sessions, and how many are left out."""

    def reload(self) -> Deferred[list[str]]:
        """Reload the configuration; return the mistakes that refused it."""

    def drain(self, *, then_exit: bool) -> Deferred[None]:
        """Begin no new session."""

    def resume(self) -> Deferred[list[str]]:
        """Begin sessions again; return why that cannot be."""

    def blocked(self) -> Deferred[list[dict[str, Any]]]:
        """Return every source that is turned away."""

    def block(self, address: str, seconds: float, reason: str) -> Deferred[dict[str, Any]]:
        """Turn a source away for a time; return its entry."""

    def lift(self, address: str) -> Deferred[bool]:
        """Turn a source away no longer; return whether it was."""


async def carry_out(request: Request, running: Running) -> object:
    """Return the result of a request whose arguments were checked.

    Raises:
        RequestError: an address is none.
    """
    arguments = request.arguments
    match request.command:
        case "status":
            return await running.status()
        case "sessions":
            return await running.sessions(arguments["limit"])
        case "reload":
            mistakes = await running.reload()
            return {"mistakes": mistakes, "generation": (await running.status())["generation"]["number"]}
        case "drain":
            await running.drain(then_exit=arguments["then_exit"])
            return {}
        case "resume":
            return {"mistakes": await running.resume()}
        case "blocked":
            entries, limit = await running.blocked(), arguments["limit"]
            return {"blocked": entries[:limit], "left_out": max(0, len(entries) - limit)}
    return await _change_blocked(request, running)


async def _change_blocked(request: Request, running: Running) -> object:
    arguments = request.arguments
    try:
        match request.command:
            case "block":
                return await running.block(arguments["address"], arguments["seconds"], arguments["reason"])
            case "lift":
                return {"was_blocked": await running.lift(arguments["address"])}
    except ValueError as error:
        raise RequestError(Code.ARGUMENT, f"address: {error}", request.id) from None
    raise AssertionError(f"{request.command} is known and not carried out")
