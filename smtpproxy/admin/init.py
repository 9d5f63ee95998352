"""``smtpproxy init``: the example configuration, the two authorities and the Proxy Server certificate."""

from __future__ import annotations

import socket
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import click

from smtpproxy.admin.exits import CommandError, ExitStatus
from smtpproxy.admin.inside import inside_networks
from smtpproxy.admin.issue import CertificateFolder
from smtpproxy.admin.key_group import KeyGroup
from smtpproxy.admin.schema import FOLDER, modeline, write_schemas
from smtpproxy.authority.create import PROXY_PATH_LENGTH
from smtpproxy.config.schema import MAIN
from smtpproxy.config.shipped import example_files, gateway_text
from smtpproxy.tls.names import ascii_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_DEMO = "demo.yaml"
_MAIN = "smtpproxy.yaml"
_PIECES = ("config", "certs")


@click.command()
@click.argument("directory", metavar="[DIR]", type=click.Path(file_okay=False, path_type=Path), default=Path())
@click.option("--demo", is_flag=True, help="Make what config/demo.yaml needs, with a demonstration CA and upstream.")
@click.option(
    "--inside",
    "inside",
    metavar="NETWORK|INTERFACE",
    multiple=True,
    help="Make a gateway in the path of mail between these networks, or those of an interface, and all others.",
)
@click.option("--group", metavar="GROUP", help="Let a group of users read the keys in certs/.")
def init(directory: Path, inside: tuple[str, ...], group: str | None, *, demo: bool) -> None:
    """Make a gateway's home in DIR, by default here: an example configuration and its certificates.

    DIR is made if it is missing; what is in it already is kept, so a second run makes only what is missing. Only the
    schemas for editors, which are the program's own, are brought up to date.

    With --inside the configuration is no example, but that of a gateway which takes mail in either direction.
    """
    _check_directory(directory)
    networks = inside_networks(inside)
    readers = KeyGroup.named(group) if group else None
    files = _texts(directory, networks, demo=demo)
    made = 0
    schemas = write_schemas(directory / "config" / FOLDER)
    for path in chain(_write(files), schemas, _make_certificates(directory, demo=demo)):
        made += 1
        click.echo(f"made {path}")
    if readers:
        readers.admit_to(directory / "certs")
    if not made:
        click.echo(f"nothing to make: {directory} has everything")
    elif not demo:
        click.echo(_next_steps(directory, networks))


def _check_directory(directory: Path) -> None:
    """A folder of other things is a mistake in the path."""
    if directory.is_dir() and any(directory.iterdir()) and not any((directory / piece).is_dir() for piece in _PIECES):
        message = f"{directory} is neither empty nor a gateway's home; name a folder that is new"
        raise CommandError(message, ExitStatus.USAGE)


def _texts(directory: Path, networks: Sequence[str], *, demo: bool) -> dict[Path, str]:
    """Return what the files of the configuration shall hold; one that is there already may be another."""
    texts = {name: text for name, text in example_files().items() if demo or name != _DEMO}
    if networks:
        texts[_MAIN] = gateway_text(networks)
    files = {
        directory / "config" / name: modeline(MAIN) + text if name.endswith(".yaml") else text
        for name, text in texts.items()
    }
    main = directory / "config" / _MAIN
    if networks and main.exists() and main.read_text("utf-8") != files[main]:
        message = f"{main} is there already, and is kept: move it away for --inside to have an effect"
        raise CommandError(message, ExitStatus.DATA)
    return files


def _write(files: Mapping[Path, str]) -> Iterator[Path]:
    for path, text in files.items():
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("x", encoding="utf-8") as file:
                file.write(text)
            yield path


def _make_certificates(directory: Path, *, demo: bool) -> Iterator[Path]:
    folder = CertificateFolder(directory / "certs", datetime.now(UTC))
    host = ascii_name(socket.gethostname()) or "localhost"
    yield from folder.make_authority("proxy-authority", f"SMTP Proxy Authority of {host}", PROXY_PATH_LENGTH)
    yield from folder.make_authority("untrusted-authority", f"SMTP UNTRUSTED Authority of {host}")
    yield from folder.make_server(
        "proxy-server", [host, "localhost", "127.0.0.1"] if demo else [host], "proxy-authority"
    )
    if demo:
        yield from folder.make_authority("demo-ca", "SMTP Proxy Demonstration CA")
        yield from folder.make_server("demo-upstream", ["localhost", "127.0.0.1"], "demo-ca")


def _next_steps(directory: Path, networks: Sequence[str]) -> str:
    main, certs = directory / "config" / _MAIN, directory / "certs"
    first, last = f"edit {main}: the inside networks, and the upstream of each policy", ""
    if networks:
        first = f"mail between {', '.join(networks)} and all others is taken; {main} says how"
        last = f"  5. smtpproxy firewall apply -c {main}\n"
    return "\n".join(
        (
            "next:",
            f"  1. {first}",
            f"  2. have the clients of outbound policies trust {certs / 'proxy-authority.pem'},",
            f"     and never {certs / 'untrusted-authority.pem'}",
            f"  3. for inbound policies put your own certificate into {certs / 'proxy-server.pem'} and .key",
            f"  4. smtpproxy check -c {main}",
            f"{last}  {6 if networks else 5}. twistd --nodaemon smtpproxy --config {main}",
        )
    )
