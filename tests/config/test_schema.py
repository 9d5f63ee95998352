"""The schemas take what the program takes, and refuse what it refuses but for what only it can know."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from jsonschema import Draft202012Validator
from pydantic import ValidationError
from pydantic_core import PydanticCustomError

from smtpproxy.config.document import Document, parse_document
from smtpproxy.config.fields import MISSING, default_text, form_of, is_list, section_of, written
from smtpproxy.config.forms import Form, whole_number
from smtpproxy.config.problems import ConfigurationErrors
from smtpproxy.config.schema import FILES, json_schema
from smtpproxy.config.section import Section, key_of
from smtpproxy.config.shipped import ACTIONS, PROFILES, example_files, gateway_text, predefined
from tests.config.test_mistakes import CASES, POLICY, Case

if TYPE_CHECKING:
    from jsonschema.exceptions import ValidationError as SchemaError
    from pydantic.fields import FieldInfo

VALIDATORS = {kind: Draft202012Validator(json_schema(kind)) for kind in FILES}
KINDS = {"smtpproxy.yaml": "main", "proxy-actions": "proxy-action", "tls-profiles": "tls-profile"}

# What a schema cannot say: bounds of measures written as text, arithmetic of networks, a wildcard beside a
# U-label, and whether an IPv4-mapped loopback address is one, which Python itself says since 3.13 only.
BEYOND = re.compile(
    r"^[0-9]+(?:[smhd]|[kMG]?B)? is out of range|has host bits set|is an IPv4-mapped (?:network|address)"
    r"|no size is over|^::ffff:\S+ is no loopback|as A-labels"
)


def sections(section: type[Section]) -> Iterator[type[Section]]:
    yield section
    for info in section.model_fields.values():
        below = section_of(info)
        if below:
            yield from sections(below)


ALL_SECTIONS = sorted({each for file in FILES.values() for each in sections(file)}, key=lambda each: each.__name__)
LEAVES = {
    f"{section.__name__}.{name}": info
    for section in ALL_SECTIONS
    for name, info in section.model_fields.items()
    if not section_of(info)
}


def errors(kind: str, value: object) -> list[SchemaError]:
    return list(_deep(VALIDATORS[kind].iter_errors(value)))


def _deep(found: Iterator[SchemaError]) -> Iterator[SchemaError]:
    for error in found:
        yield error
        yield from _deep(iter(error.context or ()))


@pytest.mark.parametrize("kind", FILES)
def test_the_schemas_are_schemas(kind: str) -> None:
    Draft202012Validator.check_schema(json_schema(kind))
    assert json_schema(kind)["$schema"] == "https://json-schema.org/draft/2020-12/schema"


def shipped() -> Iterator[tuple[str, str, str]]:
    for name, text in example_files().items():
        if name.endswith(".yaml"):
            yield "main", name, text
    yield "main", "gateway.yaml", gateway_text(["10.9.0.0/24"])
    for folder, kind in ((ACTIONS, "proxy-action"), (PROFILES, "tls-profile")):
        for name, text in predefined(folder).items():
            yield kind, name, text


@pytest.mark.parametrize(("kind", "name", "text"), list(shipped()), ids=lambda value: value if len(value) < 40 else "")
def test_what_ships_is_valid(kind: str, name: str, text: str) -> None:
    assert errors(kind, parse_document(text, name).value) == []


def readable_cases() -> list[tuple[Case, Document]]:
    found = []
    for case in CASES:
        if case.file.endswith(".yaml"):
            with contextlib.suppress(ConfigurationErrors):  # what is no YAML is no matter of schemas
                found.append((case, parse_document(case.text, case.file)))
    return found


@pytest.mark.parametrize(("case", "document"), readable_cases(), ids=lambda value: getattr(value, "name", ""))
def test_mistakes_of_form_are_refused_at_their_place(case: Case, document: Document) -> None:
    kind = KINDS[case.file.split("/")[0]]
    found = errors(kind, document.value)
    try:
        FILES[kind].model_validate(document.value)
    except ValidationError as error:
        mistakes = error.errors()
    else:
        mistakes = []
    missed = [
        each for each in mistakes if not BEYOND.search(each["msg"]) and not any(_is_of(each, one) for one in found)
    ]
    assert missed == []
    assert mistakes or not found


def _is_of(mistake: Any, found: SchemaError) -> bool:  # noqa: ANN401  # a dict of pydantic's
    loc, path = tuple(mistake["loc"]), tuple(found.absolute_path)
    if mistake["type"] == "missing" and mistake["input"] == {} and found.validator == "type":
        return path == loc[:-1]  # null, where there must be keys
    if mistake["type"] in {"extra_forbidden", "missing"}:
        keyword = "additionalProperties" if mistake["type"] == "extra_forbidden" else "required"
        return path == loc[:-1] and found.validator == keyword and f"'{loc[-1]}'" in found.message
    return path[: len(loc)] == loc


@pytest.mark.parametrize("section", ALL_SECTIONS, ids=lambda section: section.__name__)
def test_keys_that_are_not_available_yet_are_refused(section: type[Section]) -> None:
    schema = section.model_json_schema()
    for key in section.later:
        assert key not in schema["properties"]
    assert schema["additionalProperties"] is False


# fmt: off
SAMPLES: list[object] = [
    None, True, False, 0, 1, 2, 25, 64, 512, 513, 1023, 1024, 4096, 65535, 65536, 10**6, 10**9, 10**18, -1,
    "", " ", "a", "*", "any", "embedded", "null", "system", "true", "1", "x" * 255, "x" * 256, "a\nb", "a\x07", "ü",
    "10m", "10 m", "1d", "0s", "30s", "10", "10 minutes", "-1s", "1.5h", "10M", "1000000000d",
    "50MB", "50 MB", "1kB", "1KiB", "1kiB", "1K", "10 B", "5mb", "4096", "50 megabytes",
    "127.0.0.1", "127.1.2.3", "0.0.0.0", "::1", "::", "10.0.0.0/8", "10.1.2.3/8", "10.0.0.0/33",  # noqa: S104
    "10.0.0.0/255.0.0.0", "2001:db8::/32", "2001:db8::1", "2001:db8::/129", "::ffff:127.0.0.1", "::ffff:10.0.0.0/104",
    "300.1.1.1", "1.2.3", "mx.example.net", "MX.Example.NET.", "mx_1.example.net", "bücher.example", "a b",
    "mx.example.net:25", "[::1]", "127.0.0.1:9125", "[::1]:9125", "::1:9125", "127.0.0.1:70000",
    "localhost", "a/b", "certs/x.pem", "Subject", "Subject:", "my field", "X-Checked",
    "size", "SIZE", "8bitmime", "STARTTLS", "plain", "PLAIN", "EXTERNAL", "Requiretls", "explicit", "tproxy", "client",
    "server", "outbound", "tls1.2", "none", "off", "audit", "allowed", "required", "reject", "honest", "deny",
    "inspect", "gateway", [], ["a"], {}, {"a": 1}, {"X-A": "b"}, {"X-A": " b"}, {"X A": "b"}, {"X-A": "b", "X-B": "c"},
    {"X-A": "ü"},
]
# fmt: on


@pytest.mark.parametrize("leaf", LEAVES)
def test_a_form_and_its_schema_agree(leaf: str) -> None:
    form = form_of(LEAVES[leaf])
    assert form.schema, f"{leaf} has a form without schema, so editors take anything"
    validator = Draft202012Validator(form.schema)
    for sample in SAMPLES:
        refused = _refused(form, sample)
        if validator.is_valid(sample):
            assert refused is None or BEYOND.search(refused) or _is_idna(sample), f"{leaf} takes {sample!r}"
        else:
            assert refused is not None, f"{leaf} refuses {sample!r}"


def _refused(form: Form, value: object) -> str | None:
    try:
        form.parse(value)
    except PydanticCustomError as error:
        return error.message()
    return None


def _is_idna(sample: object) -> bool:
    """Whether only the host name's letters decide."""
    return isinstance(sample, str) and len(sample) > 63


@pytest.mark.parametrize("leaf", LEAVES)
def test_a_default_is_what_a_file_would_give(leaf: str) -> None:
    info = LEAVES[leaf]
    if info.is_required():
        return
    value = written(info, info.default)
    if value is MISSING or value is None:
        assert info.default is None
    elif is_list(info):
        assert isinstance(value, list)
        assert tuple(map(form_of(info).parse, value)) == info.default
    else:
        assert form_of(info).parse(value) == info.default


def properties(kind: str) -> Iterator[tuple[dict[str, Any], FieldInfo]]:
    schema = json_schema(kind)
    for section in {each.__name__: each for each in sections(FILES[kind])}.values():
        found = schema if section is FILES[kind] else schema["$defs"][section.__name__]
        for name, info in section.model_fields.items():
            yield found["properties"][key_of(name, info)], info


@pytest.mark.parametrize("kind", FILES)
def test_every_key_has_its_description_and_default(kind: str) -> None:
    for property_, info in properties(kind):
        text = default_text(info)
        if "$ref" not in property_:
            assert str(info.description) in property_["description"]
        if text:
            assert f"Default: {text}." in property_["description"]
            assert "default" not in property_
        elif not info.is_required() and not section_of(info) and info.default is not None:
            assert property_["default"] == written(info, info.default)


def test_defaults_are_written_as_in_files() -> None:
    general = json_schema("proxy-action")["$defs"]["GeneralSection"]["properties"]
    assert general["idle_timeout"]["default"] == "10m"
    assert general["max_message_size"]["default"] == "50MB"
    assert "Form: duration, 1s to 1d." in general["idle_timeout"]["description"]
    assert json_schema("tls-profile")["properties"]["minimum_protocol"]["default"] == "tls1.2"


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        (POLICY, True),
        (f"{POLICY}\nrecords:\n", True),  # a section of defaults
        (f"{POLICY}\nrecords: {{file: null}}\n", True),
        (f"{POLICY}\nembedded: {{}}\n", True),
        (f"{POLICY}\nembedded: null\n", True),
        ("policies: [{name: A, direction: outbound, upstream: embedded}]", True),
        ("policies: [{name: A, direction: outbound, upstream: }]", False),
        ("policies: [null]", False),
        ("policies:", False),
    ],
)
def test_null_where_the_program_takes_it(text: str, *, valid: bool) -> None:
    value = parse_document(text, "a.yaml").value
    assert (errors("main", value) == []) is valid
    try:
        FILES["main"].model_validate(value)
    except ValidationError:
        assert not valid
    else:
        assert valid


@pytest.mark.parametrize(
    ("rule", "valid"),
    [
        ("{name: a}", True),
        ("{name: a, when: {}}", True),
        ("{name: a, when: }", False),
        ("{name: a, when: {size: }}", False),
        ("{name: a, when: {size: {over: 1, under: 10MB}, header: {name: To}}}", True),
        ("{name: a, when: {header: [{name: To}, {name: Cc, absent: true}]}}", True),
        ("{name: a, when: {header: }}", False),
        ("{name: a, then: [{add_header: {X-A: b}}, {remove_header: X-B}]}", True),
        ("{name: a, then: [null]}", False),
    ],
)
def test_message_rules(rule: str, *, valid: bool) -> None:
    value = parse_document(f"kind: client\nmessage_rules:\n  - {rule}\n", "a.yaml").value
    assert (errors("proxy-action", value) == []) is valid
    try:
        FILES["proxy-action"].model_validate(value)
    except ValidationError:
        assert not valid
    else:
        assert valid


def test_bounds_are_in_the_schema() -> None:
    assert whole_number(2, 5).schema == {"type": "integer", "minimum": 2, "maximum": 5}


def test_the_checkout_has_no_other_examples() -> None:
    folder = Path(__file__).parents[2] / "config"
    for path in folder.glob("*.yaml"):
        assert errors("main", parse_document(path.read_text(), path.name).value) == []
