"""``--inside``: networks by themselves, or by the interface behind which they are."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from pydantic_core import PydanticCustomError

from smtpproxy.admin.exits import CommandError, ExitStatus
from smtpproxy.config.addresses import parse_network
from smtpproxy.firewall.interfaces import networks_behind
from smtpproxy.firewall.programs import FirewallError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from smtpproxy.policy.rules import Network

_LOOKS_LIKE_A_NETWORK: Final = re.compile(r"[0-9.]+(/.*)?|.*[:/].*")


def inside_networks(words: Iterable[str]) -> list[str]:
    """Return networks, each once, as a configuration has them.

    Args:
        words: networks, and names of interfaces of this machine.

    Raises:
        CommandError: one is neither, or there are no networks behind it.
    """
    return list(dict.fromkeys(str(network) for word in words for network in _networks(word)))


def _networks(word: str) -> Iterator[Network]:
    try:
        if _LOOKS_LIKE_A_NETWORK.fullmatch(word):
            yield parse_network(word)
        else:
            yield from networks_behind(word)
    except PydanticCustomError as error:
        raise CommandError(f"--inside: {error.message()}", ExitStatus.USAGE) from None
    except FirewallError as error:
        raise CommandError(f"--inside {word}: {error}", ExitStatus.USAGE) from None
