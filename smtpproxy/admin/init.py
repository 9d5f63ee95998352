"""``smtpproxy init``: the example configuration, the two authorities and the Proxy Server certificate."""

from __future__ import annotations

import socket
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import click

from smtpproxy.admin.exits import CommandError, ExitStatus
from smtpproxy.admin.issue import CertificateFolder
from smtpproxy.admin.schema import FOLDER, modeline, write_schemas
from smtpproxy.config.schema import MAIN
from smtpproxy.config.shipped import example_files
from smtpproxy.tls.names import ascii_name

if TYPE_CHECKING:
    from collections.abc import Iterator

_DEMO = "demo.yaml"
_PIECES = ("config", "certs")


@click.command()
@click.argument("directory", metavar="[DIR]", type=click.Path(file_okay=False, path_type=Path), default=Path())
@click.option("--demo", is_flag=True, help="Make what config/demo.yaml needs, with a demonstration CA and upstream.")
def init(directory: Path, *, demo: bool) -> None:
    """Make a gateway's home in DIR, by default here: an example configuration and its certificates.

    DIR is made if it is missing; what is in it already is kept, so a second run makes only what is missing. Only the
    schemas for editors, which are the program's own, are brought up to date.
    """
    _check_directory(directory)
    made = 0
    schemas = write_schemas(directory / "config" / FOLDER)
    for path in chain(_write_examples(directory, demo=demo), schemas, _make_certificates(directory, demo=demo)):
        made += 1
        click.echo(f"made {path}")
    if not made:
        click.echo(f"nothing to make: {directory} has everything")
    elif not demo:
        click.echo(_next_steps(directory))


def _check_directory(directory: Path) -> None:
    """A folder of other things is a mistake in the path."""
    if directory.is_dir() and any(directory.iterdir()) and not any((directory / piece).is_dir() for piece in _PIECES):
        message = f"{directory} is neither empty nor a gateway's home; name a folder that is new"
        raise CommandError(message, ExitStatus.USAGE)


def _write_examples(directory: Path, *, demo: bool) -> Iterator[Path]:
    for name, text in example_files().items():
        path = directory / "config" / name
        wanted = demo or name != _DEMO
        if wanted and not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("x", encoding="utf-8") as file:
                file.write(modeline(MAIN) + text if path.suffix == ".yaml" else text)
            yield path


def _make_certificates(directory: Path, *, demo: bool) -> Iterator[Path]:
    folder = CertificateFolder(directory / "certs", datetime.now(UTC))
    host = ascii_name(socket.gethostname()) or "localhost"
    yield from folder.make_authority("proxy-authority", f"SMTP Proxy Authority of {host}")
    yield from folder.make_authority("untrusted-authority", f"SMTP UNTRUSTED Authority of {host}")
    yield from folder.make_server(
        "proxy-server", [host, "localhost", "127.0.0.1"] if demo else [host], "proxy-authority"
    )
    if demo:
        yield from folder.make_authority("demo-ca", "SMTP Proxy Demonstration CA")
        yield from folder.make_server("demo-upstream", ["localhost", "127.0.0.1"], "demo-ca")


def _next_steps(directory: Path) -> str:
    main, certs = directory / "config" / "smtpproxy.yaml", directory / "certs"
    return "\n".join(
        (
            "next:",
            f"  1. edit {main}: the inside networks, and the upstream of each policy",
            f"  2. have the clients of outbound policies trust {certs / 'proxy-authority.pem'},",
            f"     and never {certs / 'untrusted-authority.pem'}",
            f"  3. for inbound policies put your own certificate into {certs / 'proxy-server.pem'} and .key",
            f"  4. smtpproxy check -c {main}",
            f"  5. twistd --nodaemon smtpproxy --config {main}",
        )
    )
