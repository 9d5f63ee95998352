"""The forms of networks, IP addresses and host names.

Source: RFC 4632 s3.1 (prefix notation); RFC 4291 s2.5.5.2 (IPv4-mapped addresses).
"""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Annotated, Final, TypeAlias

from pydantic.json_schema import JsonSchemaValue

from smtpproxy.config.forms import TEXT_SCHEMA, Form, bounded, parse_text, refusal
from smtpproxy.config.problems import shown
from smtpproxy.endpoint import Endpoint
from smtpproxy.policy.rules import Network
from smtpproxy.tls.names import ascii_name

ANY: Final[tuple[Network, ...]] = (ip_network("0.0.0.0/0"), ip_network("::/0"))
_MAPPED: Final = IPv6Network("::ffff:0:0/96")
_HIGHEST_PORT: Final = 65535
_WANTED_ENDPOINT: Final = "give one such as 127.0.0.1:9125, or '[::1]:9125' in quotes"
_OCTET: Final = "(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_IPV4: Final = rf"{_OCTET}(?:\.{_OCTET}){{3}}"
_IPV6: Final = r"[0-9A-Fa-f]{0,4}:[0-9A-Fa-f:.]*"  # what it lets by, the parser refuses
_IPV4_LENGTH: Final = "(?:[12]?[0-9]|3[0-2])"
_IPV6_LENGTH: Final = "(?:1[01][0-9]|12[0-8]|[1-9]?[0-9])"
_WANTED: Final = "give an IP address or a network such as 192.0.2.0/24"


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine by its name or its loopback address."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def parse_network(text: str) -> Network:
    """Return the network that an IP address or a prefix writes.

    Raises:
        PydanticCustomError: it is neither; or has host bits set, and then the message names the right network.
    """
    address, slash, length = text.partition("/")
    try:
        network = ip_network(text, strict=False)
        host = ip_address(address)
    except ValueError:
        raise refusal(f"{shown(text)} is no network; {_WANTED}") from None
    if slash and not length.isdigit():
        raise refusal(f"{shown(text)} has a mask; write it with a prefix length, {network}")
    if slash and host != network.network_address:
        raise refusal(f"{shown(text)} has host bits set; the network is {network}, the one host is {host}")
    if isinstance(network, IPv6Network) and network.subnet_of(_MAPPED):
        raise refusal(f"{shown(text)} is an IPv4-mapped network; write it as IPv4")
    return network


def _parse_networks(value: object) -> tuple[Network, ...]:
    if value == "any":
        return ANY
    if isinstance(value, str) and re.match(r"[0-9a-fA-F]*[.:]", value):
        return (parse_network(value),)
    raise refusal(f"{shown(value)} is no network; {_WANTED}, or any")


def _parse_address(value: object) -> str:
    try:
        return str(ip_address(parse_text(value)))
    except ValueError:
        raise refusal(f"{shown(value)} is no IP address; give one such as 127.0.0.1 or ::1") from None


def _parse_loopback(value: object) -> str:
    address = _parse_address(value)
    if not ip_address(address).is_loopback:
        raise refusal(f"{address} is no loopback address; the embedded server takes mail from anybody, give 127.0.0.1")
    return address


def _parse_endpoint(value: object) -> Endpoint:
    text = parse_text(value)
    match = re.fullmatch(r"(?:\[(?P<ipv6>[^]]*)]|(?P<ipv4>[^:]*)):(?P<port>[0-9]{1,5})", text)
    if match is None:
        raise refusal(f"{shown(text)} is no IP address with a port; {_WANTED_ENDPOINT}")
    port = bounded(int(match["port"]), 1, _HIGHEST_PORT, str)
    try:
        host = IPv4Address(match["ipv4"]) if match["ipv6"] is None else IPv6Address(match["ipv6"])
    except ValueError:
        raise refusal(f"{shown(text)} has no IP address before its port; {_WANTED_ENDPOINT}") from None
    return Endpoint(str(host), port)


def parse_host_name(value: object) -> str:
    """Return a host name as lower-case A-labels."""
    text = parse_text(value)
    name = ascii_name(text)
    if name is None or re.fullmatch(r"[0-9.]+", name):
        raise refusal(f"{shown(text)} is no host name; give one such as mx.example.net")
    return name


def _parse_host(value: object) -> str:
    text = parse_text(value)
    try:
        address = ip_address(text)
    except ValueError:
        pass
    else:
        if isinstance(address, IPv6Address) and address.ipv4_mapped:
            raise refusal(f"{shown(text)} is an IPv4-mapped address; write it as IPv4, {address.ipv4_mapped}")
        return str(address)
    if ":" in text or "[" in text or re.fullmatch(r"[0-9.]+", text):
        raise refusal(f"{shown(text)} is neither host name nor IP address; ports stand in smtp and smtps, without []")
    return parse_host_name(text)


def _write_networks(networks: tuple[Network, ...]) -> str:
    return "any" if networks == ANY else str(networks[0])


def _one_of(*patterns: str) -> JsonSchemaValue:
    return {"type": "string", "pattern": f"^(?:{'|'.join(patterns)})$"}


# A name is given as letters of any script, dots, hyphens and underscores.
NAME_SCHEMA: Final[JsonSchemaValue] = {
    **TEXT_SCHEMA,
    "pattern": r"^(?![0-9.]+$)[^\u0000-,/:-@\[-^`{-\u007f]+$",
}
_ADDRESS_SCHEMA: Final = _one_of(_IPV4, _IPV6)
PREFIX_SCHEMA: Final = _one_of(f"{_IPV4}(?:/{_IPV4_LENGTH})?", f"{_IPV6}(?:/{_IPV6_LENGTH})?")
_NETWORK_SCHEMA: Final[JsonSchemaValue] = {"anyOf": [{"const": "any"}, PREFIX_SCHEMA]}
_LOOPBACK_SCHEMA: Final = _one_of(rf"(?:[0:]+[Ff]{{4}}:)?127(?:\.{_OCTET}){{3}}", "[0:]+1")
_HOST_SCHEMA: Final[JsonSchemaValue] = {"anyOf": [NAME_SCHEMA, _ADDRESS_SCHEMA]}

Networks: TypeAlias = Annotated[
    tuple[Network, ...], Form("`any`, IP address or network", _parse_networks, _write_networks, _NETWORK_SCHEMA)
]
Address: TypeAlias = Annotated[str, Form("IP address", _parse_address, schema=_ADDRESS_SCHEMA)]
LoopbackAddress: TypeAlias = Annotated[str, Form("loopback IP address", _parse_loopback, schema=_LOOPBACK_SCHEMA)]
Host: TypeAlias = Annotated[str, Form("host name or IP address", _parse_host, schema=_HOST_SCHEMA)]
AddressAndPort: TypeAlias = Annotated[
    Endpoint, Form("`IP address:port`", _parse_endpoint, schema=_one_of(rf"(?:{_IPV4}|\[{_IPV6}\]):[0-9]{{1,5}}"))
]
HostName: TypeAlias = Annotated[str, Form("host name", parse_host_name, schema=NAME_SCHEMA)]
