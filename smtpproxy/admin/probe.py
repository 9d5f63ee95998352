"""``smtpproxy probe``: dial a server, and show what it is."""

from __future__ import annotations

import json
import re
import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import click
from rich.console import Console
from rich.text import Text

from smtpproxy.admin.exits import CommandError, ExitStatus
from smtpproxy.admin.online.document import document_of
from smtpproxy.admin.online.findings import Findings, Target
from smtpproxy.admin.online.judgement import Judgement, judge
from smtpproxy.admin.online.look_ups import Names, Visit, ask_and_visit
from smtpproxy.admin.online.picture import picture_of
from smtpproxy.admin.online.probe import Means, probe, probing_context
from smtpproxy.admin.online.publication import Publication, judge_by, publication_document, publication_texts
from smtpproxy.admin.online.verifier import USUAL_PROFILE, Verifier, load_verifier
from smtpproxy.admin.options import format_option, found_configuration_option
from smtpproxy.config.problems import shown
from smtpproxy.tls.names import ascii_name, parse_address

if TYPE_CHECKING:
    from pathlib import Path

_STARTTLS_PORT: Final = 25
_IMPLICIT_PORT: Final = 465
_HIGHEST_PORT: Final = 65535
_TARGET: Final = re.compile(r"(?:\[(?P<ipv6>[0-9A-Fa-f:.%]+)]|(?P<host>[^:\[\]]+))(?::(?P<port>[0-9]{1,5}))?")


@click.command(name="probe")
@click.argument("server", metavar="HOST[:PORT]")
@click.option(
    "--tls",
    "kind",
    type=click.Choice(["starttls", "implicit"]),
    help="How TLS begins; implicit on port 465, else STARTTLS, if left out.",
)
@click.option("--server-name", metavar="NAME", help="The SNI to send, and the name to look for; HOST if left out.")
@found_configuration_option
@click.option(
    "--profile",
    metavar="NAME",
    default=USUAL_PROFILE,
    show_default=True,
    help="The TLS profile to come with.",
)
@click.option(
    "--timeout",
    "timeout_s",
    metavar="SECONDS",
    type=click.FloatRange(1, 600),
    default=30,
    show_default=True,
    help="For all of it.",
)
@click.option(
    "--domain",
    metavar="DOMAIN",
    help="Judge the server by what this mail domain publishes too: MX, TLSA records, MTA-STS policy.",
)
@click.option("--proxy-header", "proxied", is_flag=True, help="Begin with a PROXY header, for a server that wants one.")
@click.option("--once", is_flag=True, help="Do not come a second time to see whether the TLS session is resumed.")
@format_option
@click.pass_context
def probe_command(  # noqa: PLR0913 - options
    context: click.Context,
    /,
    *,
    server: str,
    kind: str | None,
    server_name: str | None,
    configuration_file: Path | None,
    profile: str,
    timeout_s: float,
    domain: str | None,
    proxied: bool,
    once: bool,
    output: str,
) -> None:
    """Dial a mail server, and show its greeting, its capabilities, its TLS and its certificate chain as a picture.

    The chain is verified as the gateway would: with the trust and the TLS profile of its configuration, or with the
    system's trust where there is none. No mail is sent.

    The exit status is 0 if the chain is valid and the certificate is for the name, 65 if not, 69 if the server
    cannot be reached, 76 if there is no TLS to be had. With --domain, TLSA records that match are enough for 0, and
    what is published and not kept leads to 65.
    """
    target = replace(parse_target(server, kind, server_name), proxied=proxied)
    verifier = load_verifier(configuration_file, profile)
    means = Means(
        context=probing_context(verifier.profile, verifier.files),
        helo=verifier.helo.encode("ascii"),
        timeout_s=timeout_s,
        resume=not once,
        ocsp=verifier.profile.ocsp,
    )
    names = Names([_host(domain)] if domain else [], verifier.resolver, verifier.trust)
    visit = Visit(lambda _: probe(target, means), verifier.profile, verifier.files.trust)
    known, found = ask_and_visit(names, visit)
    judged = judge(found, verifier.profile)
    published = judge_by(known[names.domains[0]], found, time.time()) if domain else None
    if output == "json":
        click.echo(json.dumps(_document(found, judged, published, verifier), indent=2))
    else:
        tree = picture_of(found, judged, datetime.now(UTC))
        for line in publication_texts(published) if published else ():
            tree.add(Text(line))
        Console().print(tree)
        click.echo(f"judged with: {verifier.files.trust.source} trust, {verifier.profile.name}", err=True)
    context.exit(_status(judged, published))


def _status(judged: Judgement, published: Publication | None) -> ExitStatus:
    if published is None or judged.status not in {ExitStatus.OK, ExitStatus.DATA}:
        return judged.status
    return published.status or (ExitStatus.OK if published.is_matched else judged.status)


def _document(
    found: Findings, judged: Judgement, published: Publication | None, verifier: Verifier
) -> dict[str, object]:
    judged_with = {
        "configuration": str(verifier.origin) if verifier.origin else None,
        "trusted": verifier.files.trust.source,
        "profile": verifier.profile.name,
    }
    document = document_of(found, judged)
    if published is not None:
        document |= publication_document(published)
    return {**document, "status": int(_status(judged, published)), "judged_with": judged_with}


def parse_target(server: str, kind: str | None, server_name: str | None = None) -> Target:
    """Return the target that the words of a command line name.

    Args:
        server: host and port, or the host alone.
        kind: ``starttls``, ``implicit`` or ``None``.
        server_name: what to ask it for.

    Raises:
        CommandError: they name none.
    """
    host, written = _split(server)
    port = int(written or (_IMPLICIT_PORT if kind == "implicit" else _STARTTLS_PORT))
    if not 0 < port <= _HIGHEST_PORT:
        raise CommandError(f"there is no port {port}", ExitStatus.USAGE)
    implicit = kind == "implicit" or (kind is None and port == _IMPLICIT_PORT)
    return Target(_host(host), port, implicit, None if server_name is None else _host(server_name))


def _split(server: str) -> tuple[str, str | None]:
    if parse_address(server):
        return server, None  # an IPv6 address without brackets has no port
    match = _TARGET.fullmatch(server)
    if match is None:
        message = f"{shown(server)} is no HOST[:PORT]; an IPv6 address with a port stands in []"
        raise CommandError(message, ExitStatus.USAGE)
    return match["ipv6"] or match["host"], match["port"]


def _host(text: str) -> str:
    address = parse_address(text)
    name = str(address) if address else ascii_name(text)
    if name is None:
        raise CommandError(f"{shown(text)} is neither host name nor IP address", ExitStatus.USAGE)
    return name
