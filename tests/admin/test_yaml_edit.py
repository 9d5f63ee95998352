from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpproxy.admin.yaml_edit import YamlText
from smtpproxy.admin.yaml_nodes import EditError
from smtpproxy.config.document import parse_document
from smtpproxy.config.problems import ConfigurationErrors

if TYPE_CHECKING:
    from collections.abc import Callable

RULES = ("starttls", "rules")
NEW: dict[str, Any] = {"name": "new", "enabled": False, "to": ["@banks", "*.a.example"]}

FILE = """\
# an action of mine
kind: client

starttls:                          # explicit TLS
    rules:                         # top-down

    # the banks,
    # all of them
    - name: banks                  # a name
      to: ["@force-encrypt"]
      # offer: always

    - {name: partners, enabled: true}

    # --- and all others ---

    # everybody
    - name: default
general: {max_sessions: 5000,
          max_recipients: 1000}    # many
"""


def changes(text: str, edit: Callable[[YamlText], None]) -> list[str]:
    """Return the lines that an edit takes and gives, each behind ``-`` or ``+``, those of no change left out."""
    yaml = YamlText(text, "a.yaml")
    edit(yaml)
    compared = difflib.unified_diff(text.splitlines(), yaml.text.splitlines(), n=0, lineterm="")
    return [line for line in compared if line[:3] not in {"---", "+++"} and line[0] in "+-"]


def edited(text: str, edit: Callable[[YamlText], None]) -> str:
    yaml = YamlText(text, "a.yaml")
    edit(yaml)
    return yaml.text


WRITTEN = ["+    - name: new", "+      enabled: false", '+      to: ["@banks", "*.a.example"]', "+"]


@pytest.mark.parametrize(
    ("index", "above"),
    [(0, ""), (1, "      # offer: always\n\n"), (2, "{name: partners, enabled: true}\n\n"), (3, "- name: default\n\n")],
)
def test_a_row_is_put_in_between(index: int, above: str) -> None:
    assert sorted(changes(FILE, lambda yaml: yaml.insert(RULES, index, NEW))) == sorted(WRITTEN)
    assert f"{above}    - name: new\n" in edited(FILE, lambda yaml: yaml.insert(RULES, index, NEW))


def test_a_row_goes_with_its_comments_and_leaves_those_of_the_list() -> None:
    moved = edited(FILE, lambda yaml: yaml.move(RULES, 0, 2))
    assert moved.partition("top-down\n")[2].partition("general:")[0] == (
        "\n"
        "    - {name: partners, enabled: true}\n"
        "\n"
        "    # everybody\n"
        "    - name: default\n"
        "\n"
        "    # --- and all others ---\n"
        "\n"
        "    # the banks,\n"
        "    # all of them\n"
        "    - name: banks                  # a name\n"
        '      to: ["@force-encrypt"]\n'
        "      # offer: always\n"
    )


@pytest.mark.parametrize(
    ("index", "gone"),
    [
        (0, ["    # the banks,", "    # all of them", "    - name: banks                  # a name"]),
        (1, ["    - {name: partners, enabled: true}", ""]),
        (2, ["    # everybody", "    - name: default"]),
    ],
)
def test_a_row_is_removed_with_its_comments(index: int, gone: list[str]) -> None:
    if index == 0:
        gone += ['      to: ["@force-encrypt"]', "      # offer: always", ""]
    assert sorted(changes(FILE, lambda yaml: yaml.remove(RULES, index))) == sorted(f"-{line}" for line in gone)


@pytest.mark.parametrize(
    ("index", "expected"),
    [
        (0, ["+      enabled: false"]),
        (1, ["-    - {name: partners, enabled: true}", "+    - {name: partners, enabled: false}"]),
        (2, ["+      enabled: false"]),
    ],
)
def test_a_key_is_set(index: int, expected: list[str]) -> None:
    assert changes(FILE, lambda yaml: yaml.put(RULES, index, "enabled", value=False)) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("kind: client\n", "kind: client\nstarttls:\n  rules:\n    - {name: a}\n"),
        ("kind: client", "kind: client\nstarttls:\n  rules:\n    - {name: a}\n"),
        ("a: b\n\nkind: client\n", "a: b\n\nkind: client\n\nstarttls:\n  rules:\n    - {name: a}\n"),
        ("kind: client\r\na: b\r\n", "kind: client\r\na: b\r\nstarttls:\r\n  rules:\r\n    - {name: a}\r\n"),
        ("starttls:   # on\na: b\n", "starttls:   # on\n  rules:\n    - {name: a}\na: b\n"),
        ("starttls: {}   # on\na: b\n", "starttls:   # on\n  rules:\n    - {name: a}\na: b\n"),
        ("starttls: null\na: b\n", "starttls:\n  rules:\n    - {name: a}\na: b\n"),
        ("starttls:\n    rules:\n    a: b\n", "starttls:\n    rules:\n      - {name: a}\n    a: b\n"),
        ("starttls:\n  a: b\n  # c\nd: e\n", "starttls:\n  a: b\n  rules:\n    - {name: a}\n  # c\nd: e\n"),
        ("starttls: {a: b,\n  c: d}\n", "starttls: {a: b,\n  c: d, rules: [{name: a}]}\n"),
        ("starttls: {a: b, rules: [ ]}\n", "starttls: {a: b, rules: [{name: a}]}\n"),
        ("{starttls: {rules: }}", "{starttls: {rules: [{name: a}] }}"),
        ("{}", "{starttls: {rules: [{name: a}]}}"),
        ("starttls: {rules: [{name: b},\n  {name: c}]}", "starttls: {rules: [{name: a}, {name: b},\n  {name: c}]}"),
        ("starttls:\n  rules:\n  - name: b\n", "starttls:\n  rules:\n  - {name: a}\n  - name: b\n"),
    ],
)
def test_the_first_row_in_every_way_of_writing(text: str, expected: str) -> None:
    assert edited(text, lambda yaml: yaml.insert(RULES, 0, {"name": "a"})) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("rules:      # a\n  # b\n  - name: c\n    # d\ne: f\n", "rules: []      # a\ne: f\n"),
        ("rules: [{name: c}]\n", "rules: []\n"),
    ],
)
def test_the_last_row_leaves_an_empty_list(text: str, expected: str) -> None:
    assert edited(text, lambda yaml: yaml.remove(("rules",), 0)) == expected


def test_rows_in_brackets() -> None:
    text = "rules: [{name: a},  {name: b}, # the last but one\n  {name: c, enabled: false}]\n"
    assert edited(text, lambda yaml: yaml.move(("rules",), 0, 2)) == (
        "rules: [{name: b},  {name: c, enabled: false}, # the last but one\n  {name: a}]\n"
    )
    assert edited(text, lambda yaml: yaml.remove(("rules",), 2)) == (
        "rules: [{name: a},  {name: b}, # the last but one\n  ]\n"
    )
    assert edited(text, lambda yaml: yaml.remove(("rules",), 0)) == text.replace("{name: a},  ", "")
    assert edited(text, lambda yaml: yaml.insert(("rules",), 3, {"name": "d"})) == text.replace("]", ", {name: d}]")
    assert edited(text, lambda yaml: yaml.put(("rules",), 0, "enabled", value=True)) == text.replace(
        "{name: a}", "{name: a, enabled: true}"
    )


def test_a_long_rule_is_written_line_by_line() -> None:
    when = {"header": [{"name": "Subject", "matches": "*a long text that stands in the subject*"}] * 2}
    rule: dict[str, Any] = {
        "name": "yes",
        "when": {"recipient": {"matches": "@partners"}, **when},
        "then": [{"add_header": {"x-TLSLevel": "Require"}}, {"remove_header": "X-A"}],
    }
    assert edited("kind: client\n", lambda yaml: yaml.insert(("message_rules",), 0, rule)) == (
        "kind: client\n"
        "message_rules:\n"
        '  - name: "yes"\n'
        "    when:\n"
        '      recipient: {matches: "@partners"}\n'
        "      header:\n"
        "        - name: Subject\n"
        '          matches: "*a long text that stands in the subject*"\n'
        "        - name: Subject\n"
        '          matches: "*a long text that stands in the subject*"\n'
        "    then:\n"
        "      - {add_header: {x-TLSLevel: Require}}\n"
        "      - {remove_header: X-A}\n"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("kind: client\rrules:\r- {name: a}\r", "a.yaml has line ends that few programs know"),
        ("rules:\n  -\n  - name: a\n", r"a.yaml: rules\[0\] has no keys; edit it by hand"),
        ("rules: [{}]\n", r"a.yaml: rules\[0\] has no keys; edit it by hand"),
    ],
)
def test_what_is_not_edited(text: str, message: str) -> None:
    with pytest.raises(EditError, match=message):
        edited(text, lambda yaml: yaml.put(("rules",), 0, "enabled", value=True))


@pytest.mark.parametrize("text", ["starttls: on\n", "starttls: [a]\n", "just text\n"])
def test_a_list_that_has_no_place(text: str) -> None:
    with pytest.raises(EditError):
        edited(text, lambda yaml: yaml.insert(RULES, 0, {"name": "a"}))


def test_a_file_with_mistakes() -> None:
    with pytest.raises(ConfigurationErrors, match=r"a.yaml:1:9: not valid YAML"):
        YamlText("rules: [", "a.yaml")


# --- any file, any edit -----------------------------------------------------------------------------------------------

BLOCK_ROWS = (
    "- name: {0}\n{1}  to: [a, '*']   # beside {0}\n",
    "-   name: {0}\n{1}    text: |\n{1}      a\n{1}       b\n",
)
FLOW_ROWS = ("- {{name: {0}, to: ['*']}}  # beside {0}\n", '- {{"name": "{0}",\n{1}     to: [a]}}\n')
ABOVE = ("", "{1}# above {0}\n", "\n", "\n{1}# above {0}\n", "\n{1}# between {0}\n\n", "\n\n{1}# a {0}\n{1}# b {0}\n")
BELOW = ("", "{1}  # below {0}\n", "\n{1}   # below {0}\n")


@st.composite
def files(draw: st.DrawFn) -> tuple[str, int]:
    indent = " " * draw(st.sampled_from([0, 2, 4]))
    count = draw(st.integers(1, 4))
    rows = ""
    for number in range(count):
        for part in (ABOVE, BLOCK_ROWS + FLOW_ROWS, BELOW):
            form = draw(st.sampled_from(part))
            rows += form if not form.strip() else (indent if form[0] == "-" else "") + form.format(number, indent)
    tail = draw(st.sampled_from(["", "\n", "# end\n", "b: c\n", "\n# end\nb:\n- d\n"]))
    text = f"# begin\na: [x,\n  y]\nrules:{draw(st.sampled_from(['', '  # here']))}\n{rows}{tail}"
    keeps = text.endswith("       b\n") or draw(st.booleans())  # without a line end, a block of text is another text
    return text if keeps else text.removesuffix("\n"), count


def lines_of(text: str) -> list[str]:
    return sorted(line for line in text.split("\n") if line.strip())


@given(files(), st.data())
def test_moving_and_inserting_keep_every_line(file: tuple[str, int], data: st.DataObject) -> None:
    text, count = file
    index, target = data.draw(st.integers(0, count - 1)), data.draw(st.integers(0, count - 1))
    moved = edited(text, lambda yaml: yaml.move(("rules",), index, target))
    assert lines_of(moved) == lines_of(text)
    if index == target:
        assert moved.removesuffix("\n") == text.removesuffix("\n")
    new = edited(text, lambda yaml: yaml.insert(("rules",), target, {"name": "new"}))
    assert [line for line in new.split("\n") if line.strip() and "new" not in line] == [
        line for line in text.split("\n") if line.strip()
    ]
    removed = edited(new, lambda yaml: yaml.remove(("rules",), target))
    assert lines_of(removed) == lines_of(text)


@given(files(), st.data())
def test_removing_and_switching_change_one_row(file: tuple[str, int], data: st.DataObject) -> None:
    text, count = file
    index = data.draw(st.integers(0, count - 1))
    removed = edited(text, lambda yaml: yaml.remove(("rules",), index))
    assert set(lines_of(removed)) - {"rules: []", "rules: []  # here"} <= set(lines_of(text))
    assert f"above {index}\n" not in removed
    for other in set(range(count)) - {index}:
        for word in ("above", "beside", "below", "between"):
            assert (f"{word} {other}\n" in removed) == (f"{word} {other}\n" in f"{text}\n")
    off = edited(text, lambda yaml: yaml.put(("rules",), index, "enabled", value=False))
    assert edited(off, lambda yaml: yaml.put(("rules",), index, "enabled", value=True)) == off.replace("false", "true")
    rows = parse_document(off, "").get("rules")
    assert isinstance(rows, list)
    assert [row["enabled"] for row in rows if isinstance(row, dict) and "enabled" in row] == [False]


def test_the_last_entry_in_brackets_takes_no_comment_of_the_one_before_along() -> None:
    text = "starttls:\n  rules: [\n    {name: a}, # of a\n    {name: b}%s # of b\n  ]\n"
    for comma in ("", ","):
        left = edited(text % comma, lambda yaml: yaml.remove(RULES, 1))
        assert left == "starttls:\n  rules: [\n    {name: a}, # of a\n     # of b\n  ]\n"


@pytest.mark.parametrize("text", ["starttls:\n  rules: [ # soon\n  ]\n", "starttls: { # soon\n}\n"])
def test_a_comment_in_empty_brackets_is_not_overwritten(text: str) -> None:
    with pytest.raises(EditError, match="by hand"):
        edited(text, lambda yaml: yaml.insert(RULES, 0, NEW))


PAIR: dict[str, Any] = {"certificate": "b.pem", "key": "b.key", "cross": "c.pem"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: 1\n", "a: 1\ncerts: {pair: {certificate: b.pem, key: b.key, cross: c.pem}}\n"),
        ("certs:\n  z: 1\n", "certs:\n  z: 1\n  pair: {certificate: b.pem, key: b.key, cross: c.pem}\n"),
        (
            "certs:\n  pair: {key: a.key}  # x\n",
            "certs:\n  pair: {certificate: b.pem, key: b.key, cross: c.pem}  # x\n",
        ),
        (
            "certs:\n  pair:\n    # mine\n    key: a.key   # k\n    old: x\n    certificate: a.pem\n  z: 1\n",
            "certs:\n  pair:\n    # mine\n    key: b.key   # k\n    certificate: b.pem\n    cross: c.pem\n  z: 1\n",
        ),
        ("certs: {pair: {certificate: a.pem}}", "certs: {pair: {certificate: b.pem, key: b.key, cross: c.pem}}"),
    ],
)
def test_a_mapping_is_given_other_keys(text: str, expected: str) -> None:
    yaml = YamlText(text, "a.yaml")
    yaml.assign(("certs", "pair"), PAIR)
    assert yaml.text == expected


@pytest.mark.parametrize(
    "text", ["certs:\n  pair: 3\n", "certs:\n  pair:   # x\na: 1\n", "x: &x {key: a}\ncerts:\n  pair: *x\n"]
)
def test_what_is_no_mapping_of_its_own_is_left_alone(text: str) -> None:
    with pytest.raises((EditError, ConfigurationErrors)):
        YamlText(text, "a.yaml").assign(("certs", "pair"), PAIR)
