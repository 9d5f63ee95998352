"""The names that a certificate may bear, as a rule writes them.

Source: RFC 9525 s6.1 (reference names).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Final, TypeAlias

from pydantic.json_schema import JsonSchemaValue

from smtpproxy.config.addresses import NAME_SCHEMA, parse_host_name
from smtpproxy.config.forms import Form, refusal
from smtpproxy.config.problems import shown
from smtpproxy.policy.rules import NameSources

MAX_NAMES: Final = 100

_DOMAIN: Final = "domain"
_MX: Final = "mx"
_MX_INSECURE: Final = "mx-insecure"
_WORDS: Final = frozenset({_DOMAIN, _MX, _MX_INSECURE})


def _parse_name(value: object) -> str:
    return value if isinstance(value, str) and value in _WORDS else parse_host_name(value)


def _parse_sender_name(value: object) -> str:
    """A sender's mail exchangers need not be those that send."""
    if value in (_MX, _MX_INSECURE):
        raise refusal(f"{shown(value)} is not allowed here; use domain, or host names")
    return _parse_name(value)


Name: TypeAlias = Annotated[str, Form("`domain`, `mx`, `mx-insecure` or host name", _parse_name, schema=NAME_SCHEMA)]
_SENDER_SCHEMA: Final[JsonSchemaValue] = {"allOf": [NAME_SCHEMA, {"not": {"enum": [_MX, _MX_INSECURE]}}]}
SenderName: TypeAlias = Annotated[str, Form("`domain` or host name", _parse_sender_name, schema=_SENDER_SCHEMA)]


def name_sources(names: Sequence[str]) -> NameSources:
    """Return what names mean."""
    return NameSources(
        domain=_DOMAIN in names,
        mx=_MX in names,
        mx_insecure=_MX_INSECURE in names,
        names=tuple(dict.fromkeys(name for name in names if name not in _WORDS)),
    )
