from __future__ import annotations

import pytest

from smtpproxy.config.document import MAX_DEPTH, Document, parse_document
from smtpproxy.config.problems import ConfigurationErrors


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"),
        ("yes", "yes"),
        ("on", "on"),
        ("off", "off"),
        ("y", "y"),
        ("10:25", "10:25"),
        ("1.2", "1.2"),
        ("1.20", "1.20"),
        ("1e3", "1e3"),
        (".inf", ".inf"),
        ("0x1F", "0x1F"),
        ("0o17", "0o17"),
        ("017", "017"),
        ("1_000", "1_000"),
        ("2026-01-31", "2026-01-31"),
        ("=", "="),
        ("<<", "<<"),
        ("'true'", "true"),
        ('"12"', "12"),
        ("|\n  12\n", "12\n"),
        ("true", True),
        ("FALSE", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("0", 0),
        ("-3", -3),
        ("+3", 3),
        ("999999999999999999", 999_999_999_999_999_999),
        ("9" * 19, "9" * 19),
        ("9" * 5000, "9" * 5000),
    ],
)
def test_only_null_booleans_and_decimal_integers_are_not_text(text: str, value: object) -> None:
    found = parse_document(f"a: {text}", "x").get("a")
    assert found == value
    assert type(found) is type(value)


def test_keys_are_text_whatever_they_look_like() -> None:
    assert parse_document("25: a\ntrue: b\nnull: c\n", "x").value == {"25": "a", "true": "b", "null": "c"}


def test_places_are_counted_from_one_in_characters() -> None:
    document = parse_document("# ä\nä: {b: [x, ü, z]}\nc:\n  - d: 1\n    e: 2\n", "x")
    assert document.values[("ä", "b", 2)] == (2, 15)
    assert document.keys[("ä", "b")] == (2, 5)
    assert document.values[("c", 0)] == (4, 5)
    assert document.values[("c", 0, "e")] == (5, 8)
    assert document.keys[("c", 0, "e")] == (5, 5)


def test_what_is_not_there_is_blamed_on_what_holds_it() -> None:
    document = parse_document("a:\n  b: [1]\n", "x")
    places = [str(document.problem(loc, "m")) for loc in (("a", "b", 0), ("a", "b", 7), ("a", "z", "y"), ("q",), ())]
    assert places == ["x:2:7: a.b[0]: m", "x:2:6: a.b[7]: m", "x:2:3: a.z.y: m", "x:1:1: q: m", "x:1:1: m"]


def test_get_of_what_is_not_there() -> None:
    document = parse_document("a: [{b: null}]", "x")
    assert document.get("a", 0, "b") is None
    assert document.get("a", 1) is None
    assert document.get("a", "b") is None
    assert document.get("a", 0, "b", "c") is None
    assert document.has("a", 0, "b")
    assert not document.has("a", 0, "c")


def test_an_empty_file_is_a_document_of_nothing() -> None:
    assert parse_document("# nothing\n", "x") == Document("x")


def test_a_byte_order_mark_is_no_text() -> None:
    assert parse_document("\ufeffa: 1", "x").value == {"a": 1}


def nested(depth: int) -> str:
    return "a: " + "[" * (depth - 1) + "]" * (depth - 1)


def test_depth_is_bounded() -> None:
    assert isinstance(parse_document(nested(MAX_DEPTH - 1), "x").value, dict)
    with pytest.raises(ConfigurationErrors, match=rf"^x:1:\d+: nested deeper than {MAX_DEPTH} levels$"):
        parse_document(nested(MAX_DEPTH + 1), "x")


@pytest.mark.parametrize("opening", ["[", "{a: ", "- ", "? ", "[{a: "])
def test_endless_depth_ends_early(opening: str) -> None:
    with pytest.raises(ConfigurationErrors, match="nested deeper"):
        parse_document(opening * 30_000, "x")


def test_an_alias_bomb_ends_at_its_first_anchor() -> None:
    levels = [f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]" for level in range(1, 20)]
    with pytest.raises(ConfigurationErrors, match=r"^x:1:5: anchors are not taken"):
        parse_document("\n".join(["a0: &a0 lol", *levels]), "x")


def test_a_recursive_alias_is_refused() -> None:
    with pytest.raises(ConfigurationErrors, match="anchors are not taken"):
        parse_document("&a [*a]", "x")


@pytest.mark.parametrize(
    "tag", ["!!python/name:os.system", "!!binary", "!!int", "!own", "!<tag:yaml.org,2002:str>", "!"]
)
def test_tags_are_refused(tag: str) -> None:
    with pytest.raises(ConfigurationErrors, match=r"^x:1:4: tags are not taken"):
        parse_document(f"a: {tag} 'b'", "x")


def test_every_double_key_is_told_at_once() -> None:
    with pytest.raises(ConfigurationErrors) as caught:
        parse_document("a: 1\nb: {c: 1, c: 2}\na: 2\na: 3\n", "x")
    assert str(caught.value).splitlines() == [
        "x:2:11: b.c: given twice, first at line 2, column 5; remove one",
        "x:3:1: a: given twice, first at line 1, column 1; remove one",
        "x:4:1: a: given twice, first at line 1, column 1; remove one",
    ]


def test_a_key_out_of_the_ordinary_is_quoted() -> None:
    document = parse_document('"a\\x1b b": 1', "x")
    assert str(document.problem(("a\x1b b",), "m")) == "x:1:12: 'a\\x1b b': m"
