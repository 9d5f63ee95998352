"""Write docs/configuration.md from the configuration's models: ``python docs/configuration_reference.py``."""

from __future__ import annotations

from inspect import cleandoc
from pathlib import Path
from typing import TYPE_CHECKING, Final

from smtpproxy.config.action_file import ActionFile
from smtpproxy.config.fields import default_text, form_of, is_list, section_of
from smtpproxy.config.forms import write_plain
from smtpproxy.config.gateway_file import MainFile
from smtpproxy.config.profile_file import ProfileFile
from smtpproxy.config.section import Section, key_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic.fields import FieldInfo

TARGET: Final = Path(__file__).with_name("configuration.md")

_INTRODUCTION: Final = """\
# Configuration

<!-- Made by docs/configuration_reference.py from the models in smtpproxy/config; edit those. -->

| file | holds |
| --- | --- |
| `config/smtpproxy.yaml` | the gateway: interception, policies, certificates, records, metrics |
| `config/proxy-actions/NAME.yaml` | one proxy action a file |
| `config/tls-profiles/NAME.yaml` | one TLS profile a file |
| `config/lists/NAME.txt` | rule data: one entry a line, `#` begins a comment |

The folders stand beside the main file. Relative paths start at the *home*, the parent of the folder that holds the
main file; on an installed gateway that is `/etc/smtpproxy`, and there `var/` stands for `/var/lib/smtpproxy`.

Predefined, read-only, and copied with `smtpproxy clone` to be edited: the proxy actions `SMTP-Outgoing.Standard` and
`SMTP-Incoming.Standard`; the TLS profiles `TLS-Client.Standard`, `TLS-Server.Standard`, `TLS-Client.PFS`,
`TLS-Server.PFS` and `TLS-Legacy`.

`smtpproxy check` loads all of it and prints every mistake, each as `file:line:column: key: message`; the exit status
is 78 then. A key that this page calls *not available yet* is refused, never ignored.

Files are YAML with few liberties: `null`, `true`, `false` and decimal integers are what they seem, all else is text
(`no`, `10:25` and `1.2` too). Aliases, anchors, tags, keys given twice and more than one document are refused. A file
has at most 256 KiB.

| form | written as |
| --- | --- |
| duration | a number and `s`, `m`, `h` or `d`: `30s`, `10m`, `1h`, `2d` |
| size | octets, or a number and `kB`, `MB`, `GB`, `KiB`, `MiB` or `GiB`: `1024`, `50MB`, `10MiB` |
| network | `any`, an IP address, or a prefix without host bits: `10.0.0.0/8`, `2001:db8::/32` |
| name of a file | letters, digits, `.`, `_` and `-`, at most 64 |
| entry | a domain (itself only), `*.domain` (any below it), address, IP address or prefix; [more](operation.md#lists) |
"""

_FILES: Final[dict[str, type[Section]]] = {
    "config/smtpproxy.yaml": MainFile,
    "config/proxy-actions/NAME.yaml": ActionFile,
    "config/tls-profiles/NAME.yaml": ProfileFile,
}


def reference() -> str:
    """Return the whole page."""
    parts = [_INTRODUCTION]
    for file, section in _FILES.items():
        parts.append(f"## `{file}`\n")
        parts.extend(_section(section, ""))
    return "\n".join(parts)


def _section(section: type[Section], path: str) -> Iterator[str]:
    if path:
        yield f"### `{path}`\n"
    yield f"{cleandoc(section.__doc__ or '')}\n"
    yield "| key | form | default | meaning |\n| --- | --- | --- | --- |"
    for name, info in section.model_fields.items():
        yield f"| `{key_of(name, info)}` | {_form(info)} | {_default(info)} | {info.description} |"
    yield ""
    if section.later:
        yield f"Not available yet: {', '.join(f'`{key}`' for key in sorted(section.later))}.\n"
    for name, info in section.model_fields.items():
        below = section_of(info)
        if below:
            yield from _section(below, f"{path}.{key_of(name, info)}".strip(".") + ("[]" if is_list(info) else ""))


def _form(info: FieldInfo) -> str:
    text = "section" if section_of(info) else form_of(info).text
    return f"list: {text}" if is_list(info) else text


def _default(info: FieldInfo) -> str:
    text = default_text(info)
    if text:
        return text
    if info.is_required():
        return "must be given"
    if section_of(info):
        return "its keys' defaults"
    write = write_plain if info.default is None else form_of(info).write
    if isinstance(info.default, tuple):
        return f"`[{', '.join(map(write, info.default))}]`"
    return f"`{write(info.default)}`"


if __name__ == "__main__":
    TARGET.write_text(reference(), encoding="utf-8")
