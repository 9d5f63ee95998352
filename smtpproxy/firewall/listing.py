"""Read what nft and ip list as JSON: the same values that a plan makes, with rules in nft's own words.

What is not of ours is kept in the form in which it was listed, so that it can be told.

Source: libnftables-json(5); iproute2's print of rules and routes.
"""

from __future__ import annotations

import json
from ipaddress import ip_address, ip_network, summarize_address_range
from typing import TYPE_CHECKING, Any, Final

from smtpproxy.firewall.expressions import words_of
from smtpproxy.firewall.routing import ROUTING_TABLE, Route, RoutingRule
from smtpproxy.firewall.table import AddressSet, Chain, Hook, Rule, Table

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from smtpproxy.policy.rules import Network
    from smtpproxy.policy.selection import Address

_VERSIONS: Final = {"ipv4_addr": 4, "ipv6_addr": 6}
_KNOWN: Final = frozenset({"metainfo", "table", "set", "chain", "rule"})
_PLACES: Final = frozenset(
    {"priority", "not", "src", "srclen", "dst", "dstlen", "fwmark", "fwmask", "table", "protocol"}
)
"""What of a routing rule is told apart from the rest of its selector."""


def read_table(listing: str) -> Table:
    """Return the table that ``nft -j list table`` shows.

    Raises:
        ValueError: it is no such listing, or of a table with a flag; nft 1.0.6 prints that as what it is not.
    """
    objects = [each for each in _of_key(json.loads(listing), "nftables") if isinstance(each, dict)]
    if any(each["table"].get("flags") for each in objects if "table" in each):
        raise ValueError("a table with flags")
    return _table(objects)


def _of_key(document: object, key: str) -> list[Any]:
    found = document.get(key) if isinstance(document, dict) else None
    if not isinstance(found, list):
        raise ValueError(f"a listing without {key}")  # noqa: TRY004 - one kind of error for all that is no listing
    return found


def _table(objects: list[dict[str, Any]]) -> Table:
    rules = [each["rule"] for each in objects if "rule" in each]
    sets = [each["set"] for each in objects if "set" in each]
    return Table(
        tuple(_set(each) for each in sets if each.get("type") in _VERSIONS),
        tuple(_chain(each["chain"], rules) for each in objects if "chain" in each),
        (
            *_others(objects),
            *(_other_set(each) for each in sets if each.get("type") not in _VERSIONS),
        ),
    )


def _others(objects: list[dict[str, Any]]) -> Iterator[str]:
    for each in objects:
        yield from (f"the {key} {value.get('name', '')}" for key, value in each.items() if key not in _KNOWN)


def _other_set(listed: dict[str, Any]) -> str:
    return f"the set {listed.get('name')} of {json.dumps(listed.get('type'))}"


def _set(listed: dict[str, Any]) -> AddressSet:
    networks = tuple(network for each in listed.get("elem", ()) for network in _networks(each))
    return AddressSet(listed["name"], _VERSIONS[listed["type"]], networks)


def _networks(element: Any) -> Iterable[Network]:  # noqa: ANN401 - of JSON
    if isinstance(element, str):
        return [ip_network(element)]
    if isinstance(element, dict) and "prefix" in element:
        return [ip_network(f"{element['prefix']['addr']}/{element['prefix']['len']}")]
    if isinstance(element, dict) and "range" in element:
        first, last = map(ip_address, element["range"])
        return summarize_address_range(first, last)
    if isinstance(element, dict) and "elem" in element:  # with a comment or a time-out
        return _networks(element["elem"]["val"])
    raise ValueError(f"no element of a set: {json.dumps(element)}")


def _chain(listed: dict[str, Any], rules: list[dict[str, Any]]) -> Chain:
    hook = Hook(listed["type"], listed["hook"], listed["prio"], listed["policy"]) if "hook" in listed else None
    own = (rule for rule in rules if rule["chain"] == listed["name"])
    return Chain(listed["name"], hook, tuple(Rule(words_of(rule["expr"]), rule.get("comment", "")) for rule in own))


def read_rules(version: int, listing: str) -> tuple[RoutingRule, ...]:
    """Return the rules that lead to our routing table, of ``ip -N -j rule``.

    Raises:
        ValueError: it is no such listing.
    """
    ours = (each for each in _listed(listing) if str(each.get("table")) == str(ROUTING_TABLE))
    return tuple(RoutingRule(version, int(each["priority"]), _selector(each)) for each in ours)


def read_routes(version: int, listing: str) -> tuple[Route, ...]:
    """Return the routes of ``ip -N -j route show table`` with our table.

    Raises:
        ValueError: it is no such listing.
    """
    return tuple(
        Route(version, _KINDS.get(str(each.get("type")), each.get("type", "unicast")), each["dst"], each.get("dev", ""))
        for each in _listed(listing)
    )


_KINDS: Final = {"1": "unicast", "2": "local", "6": "blackhole", "7": "unreachable", "8": "prohibit"}
"""What ``ip -N`` calls the types of routes, of ``linux/rtnetlink.h``."""


def read_addresses(listing: str) -> tuple[Address, ...]:
    """Return the addresses of ``ip -j address show``.

    Raises:
        ValueError: it is no such listing.
    """
    found = (each for device in _listed(listing) for each in device.get("addr_info", ()) if "local" in each)
    return tuple(dict.fromkeys(ip_address(each["local"]) for each in found))


def _listed(listing: str) -> list[dict[str, Any]]:
    """Return the objects; ip prints nothing at all where there is nothing to print."""
    found = json.loads(listing or "[]")
    if not isinstance(found, list):
        raise ValueError("a listing without a list")  # noqa: TRY004 - as above
    return [each for each in found if isinstance(each, dict)]


def _selector(listed: dict[str, Any]) -> tuple[str, ...]:
    words: list[str] = ["not"] if "not" in listed else []
    for key, word, length in (("src", "from", "srclen"), ("dst", "to", "dstlen")):
        if listed.get(key, "all") != "all":
            words += [word, f"{listed[key]}/{listed[length]}" if length in listed else listed[key]]
    if "fwmark" in listed:
        mark, mask = listed["fwmark"], listed.get("fwmask")
        words += ["fwmark", f"{mark}/{mask}" if mask else mark]
    for key in listed.keys() - _PLACES:
        words += [key, str(listed[key]).removeprefix("ipproto-")]
    return tuple(words)
