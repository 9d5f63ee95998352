"""The forms of what stands in a message's header: names of fields, values, patterns, tags of subjects.

Source: RFC 5322 s2.2 (names and values of fields).
"""

from __future__ import annotations

import re
from typing import Annotated, Final, TypeAlias

from pydantic.json_schema import JsonSchemaValue

from smtpproxy.config.forms import TEXT_SCHEMA, Form, parse_text, refusal
from smtpproxy.config.problems import shown
from smtpproxy.policy.message_edits import AddHeader
from smtpproxy.policy.wildcards import Wildcard

MAX_TAG_CHARACTERS: Final = 40

# field-name = 1*ftext, any printable US-ASCII but ":" ; it begins with a letter or digit, as all that are in use do
_FIELD_NAME: Final = re.compile(r"[A-Za-z0-9][!-9;-~]{0,69}")
_FIELD_VALUE: Final = re.compile(r"[!-~](?:[ -~]*[!-~])?")

_FIELD_NAME_SCHEMA: Final[JsonSchemaValue] = {"type": "string", "pattern": f"^{_FIELD_NAME.pattern}$"}
_NEW_FIELD_SCHEMA: Final[JsonSchemaValue] = {
    "type": "object",
    "minProperties": 1,
    "maxProperties": 1,
    "propertyNames": _FIELD_NAME_SCHEMA,
    "additionalProperties": {**TEXT_SCHEMA, "pattern": f"^{_FIELD_VALUE.pattern}$"},
}


def _parse_field_name(value: object) -> bytes:
    text = parse_text(value)
    if not _FIELD_NAME.fullmatch(text):
        hint = "; leave the colon out" if _FIELD_NAME.fullmatch(text.removesuffix(":")) else ""
        raise refusal(f"{shown(text)} is no field name; give one such as Subject{hint}")
    return text.encode()


def _parse_pattern(value: object) -> Wildcard:
    return Wildcard(parse_text(value))


def _parse_new_field(value: object) -> AddHeader:
    if not isinstance(value, dict):
        raise refusal(f"{shown(value)} is no field; give one such as {{X-Checked: by the gateway}}")
    if len(value) != 1:
        raise refusal("must be one field; for another write another action behind it")
    ((name, text),) = value.items()
    field_name, field_value = _parse_field_name(name), parse_text(text)
    if not _FIELD_VALUE.fullmatch(field_value):
        raise refusal(f"the value of {name} must be ASCII, without white space around it")
    return AddHeader(field_name, field_value.encode())


# A tag is no more than what stands between the spaces around it, for one follows it anyway.
_TAG: Final = rf"[^ ](?:.{{0,{MAX_TAG_CHARACTERS - 2}}}[^ ])?"


def _parse_tag(value: object) -> str:
    tag = parse_text(value).strip(" ")
    if not re.fullmatch(_TAG, tag):
        raise refusal(f"must have 1 to {MAX_TAG_CHARACTERS} characters, such as '[EXTERN]'")
    return tag


_FIELD_NAME_FORM: Final = Form("field name", _parse_field_name, bytes.decode, _FIELD_NAME_SCHEMA)

FieldName: TypeAlias = Annotated[bytes, _FIELD_NAME_FORM]
FieldNameOrNone: TypeAlias = Annotated[bytes | None, _FIELD_NAME_FORM]
NewField: TypeAlias = Annotated[
    AddHeader | None, Form("one field and its value", _parse_new_field, schema=_NEW_FIELD_SCHEMA)
]
Pattern: TypeAlias = Annotated[Wildcard | None, Form("text with `*` and `?`", _parse_pattern, schema=TEXT_SCHEMA)]
Tag: TypeAlias = Annotated[str | None, Form("text", _parse_tag, schema={**TEXT_SCHEMA, "pattern": f"^ *{_TAG} *$"})]
