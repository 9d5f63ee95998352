"""JSON Schema of each kind of configuration file, for editors.

What a schema refuses, the program refuses too, but not the other way round: bounds of durations, and what one key
makes of another, only the program knows.

Source: JSON Schema, draft 2020-12.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue

from smtpproxy.config.action_file import ActionFile
from smtpproxy.config.fields import Missing, default_text, form_of, section_of, written
from smtpproxy.config.folder import KINDS
from smtpproxy.config.gateway_file import MainFile
from smtpproxy.config.profile_file import ProfileFile
from smtpproxy.config.section import key_of
from smtpproxy.config.shipped import ACTIONS, PROFILES

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo
    from pydantic_core import core_schema

    from smtpproxy.config.section import Section

MAIN: Final = "main"
FILES: Final[dict[str, type[Section]]] = {MAIN: MainFile, KINDS[ACTIONS]: ActionFile, KINDS[PROFILES]: ProfileFile}
"""The kinds of files as the command line calls them, and what each holds."""


def json_schema(kind: str) -> JsonSchemaValue:
    """Return the schema of a kind of file, one of ``FILES``."""
    made = FILES[kind].model_json_schema(schema_generator=_Generator)
    return {"$schema": _Generator.schema_dialect, "title": f"smtpproxy: {kind}", **made}


class _Generator(GenerateJsonSchema):
    """Pydantic's generator; defaults as files have them, and null for a section of defaults."""

    def field_title_should_be_set(self, schema: object) -> bool:
        del schema
        return False

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        made = super().model_schema(schema)
        made.pop("title")
        section: type[Section] = schema["cls"]
        for name, info in section.model_fields.items():
            told = made["properties"][key_of(name, info)]
            _tell_form(told, info)
            _tell_default(told, info)
        must_have = made.get("required") or made.get("minProperties")
        return made if must_have else {**made, "type": ["object", "null"]}


def _tell_form(schema: JsonSchemaValue, info: FieldInfo) -> None:
    """Say what a pattern means; editors list words and name types themselves."""
    if not section_of(info):
        form = form_of(info)
        if "pattern" in str(form.schema):
            schema["description"] += f" Form: {form.text}."


def _tell_default(schema: JsonSchemaValue, info: FieldInfo) -> None:
    schema.pop("default", None)  # the reference's text, which pydantic takes for a value
    text = default_text(info)
    if text:
        schema["description"] += f" Default: {text}."
    elif not info.is_required() and not section_of(info):
        default = written(info, info.default)
        if not isinstance(default, Missing):
            schema["default"] = default
