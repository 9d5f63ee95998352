"""``smtpproxy explain``: which policy and rules are for a message, and what becomes of it."""

from __future__ import annotations

import json
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final

import click
from rich.console import Console

from smtpproxy.admin.exits import CommandError, ExitStatus
from smtpproxy.admin.explaining.document import document_of
from smtpproxy.admin.explaining.explanation import explain
from smtpproxy.admin.explaining.online import domains_of, look, target_of
from smtpproxy.admin.explaining.online_document import online_document
from smtpproxy.admin.explaining.online_picture import add_online
from smtpproxy.admin.explaining.picture import picture_of
from smtpproxy.admin.explaining.question import Question
from smtpproxy.admin.online.look_ups import Names, Visit, ask_and_visit
from smtpproxy.admin.online.probe import Means, probe, probing_context
from smtpproxy.admin.online.verifier import files_of
from smtpproxy.admin.options import configuration_option, format_option
from smtpproxy.config.load import load_configuration
from smtpproxy.config.problems import shown
from smtpproxy.policy.model import PortKind, TlsAction
from smtpproxy.policy.selection import plain_address
from smtpproxy.smtp.addresses import AddressError, parse_forward_path, parse_reverse_path
from smtpproxy.tls.names import ascii_name

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path as FilePath

    from smtpproxy.admin.explaining.online import Now
    from smtpproxy.config.values import Configuration
    from smtpproxy.policy.selection import Address
    from smtpproxy.session.terms import Terms
    from smtpproxy.smtp.addresses import Path

_DIAL_S: Final = 20.0


@click.command(name="explain")
@click.option("--from", "sender", metavar="ADDRESS", required=True, help="The sender; <> for a bounce.")
@click.option(
    "--to", "recipients", metavar="ADDRESS", required=True, multiple=True, help="A recipient; may be repeated."
)
@click.option("--source", metavar="IP", help="The client's address; any that a policy takes, if left out.")
@click.option("--destination", metavar="IP", help="The address that the client dials; any, if left out.")
@click.option("--port", metavar="N", type=click.IntRange(1, 65535), help="The port that it dials; the first for SMTP.")
@click.option(
    "--sni", metavar="NAME", help="The server name that it asks for on a port for implicit TLS; any, if left out."
)
@click.option("--tls/--clear", "client_tls", default=None, help="Whether the client uses STARTTLS; both, if left out.")
@click.option("--online", is_flag=True, help="Look up what is published, dial upstream, and tell the reply of now.")
@configuration_option
@format_option
def explain_command(  # noqa: PLR0913 - options
    *,
    sender: str,
    recipients: tuple[str, ...],
    source: str | None,
    destination: str | None,
    port: int | None,
    sni: str | None,
    client_tls: bool | None,
    online: bool,
    configuration_file: FilePath,
    output: str,
) -> None:
    """Explain what the gateway would do with a message: the policy, the encryption rules, and every reply.

    Every policy and every rule that was tried is told, with why it is not the one; then what is asked of both legs, and
    what the sender is told, whatever becomes of the upstream leg; and before that whether TLS is inspected at all, or
    which exception lets it pass. With --online, mail exchangers, TLSA records and
    MTA-STS policies are looked up and upstream is dialled, and no mail is sent.
    """
    configuration = load_configuration(configuration_file)
    number, kind = _port(port, configuration)
    question = Question(
        sender=_path(sender, parse_reverse_path),
        recipients=tuple(_path(each, parse_forward_path) for each in recipients),
        port=number,
        kind=kind,
        source=_address(source),
        destination=_address(destination),
        client_tls=client_tls,
        server_name=_server_name(sni, kind),
    )
    explanation = explain(question, configuration)
    terms = explanation.answer.terms if explanation.answer else None
    is_inspected = explanation.answer is not None and explanation.answer.settled_tls in {TlsAction.INSPECT, None}
    now = _look(question, terms, configuration) if online and terms and is_inspected else None
    if output == "json":
        document = document_of(explanation)
        click.echo(
            json.dumps({**document, "online": online_document(now, terms.profile) if now and terms else None}, indent=2)
        )
    else:
        tree = picture_of(explanation)
        if now and terms:
            add_online(tree, now, terms.profile)
        Console().print(tree)


def _look(question: Question, terms: Terms, configuration: Configuration) -> Now:
    upstream = question.upstream(terms.policy)
    if upstream is None:
        message = f"'{terms.policy.name}' dials what the client dialled; say what that is with --destination"
        raise CommandError(message, ExitStatus.USAGE)
    profile, trusted = terms.upstream_profile, configuration.certificates.trusted
    files = files_of(configuration, profile)
    helo = configuration.gateway.name.encode("ascii")
    means = Means(probing_context(profile, files), helo, _DIAL_S, ocsp=profile.ocsp)
    private = configuration.private_policy_hosts
    names = Names(domains_of(question.recipients), configuration.resolver, trusted, private)
    visit = Visit(lambda known: probe(target_of(terms, upstream, known.values()), means), profile, files.trust)
    known, found = ask_and_visit(names, visit)
    return look(question, terms, found, known)


def _path(text: str, parse: Callable[[bytes], tuple[Path, bytes]]) -> Path:
    octets = text.encode("utf-8", "surrogateescape")
    try:
        path, rest = parse(octets if octets.startswith(b"<") else b"<%b>" % octets)
    except AddressError:
        rest = b"?"
    if rest:
        raise CommandError(f"{shown(text)} is no mail address", ExitStatus.USAGE)
    return path


def _address(text: str | None) -> Address | None:
    if text is None:
        return None
    try:
        return plain_address(str(ip_address(text)))
    except ValueError:
        raise CommandError(f"{shown(text)} is no IP address", ExitStatus.USAGE) from None


def _server_name(text: str | None, kind: PortKind) -> str | None:
    if text is None:
        return None
    if kind is PortKind.SMTP:
        message = "with STARTTLS the client's SNI comes too late to decide; leave --sni out, or ask for port 465"
        raise CommandError(message, ExitStatus.USAGE)
    if ascii_name(text) is None:
        raise CommandError(f"{shown(text)} is no server name", ExitStatus.USAGE)
    return text


def _port(number: int | None, configuration: Configuration) -> tuple[int, PortKind]:
    kinds = {port: kind for kind, ports in configuration.interception.ports.items() for port in ports}
    if number is None:
        number = next(iter(kinds))
    if number not in kinds:
        known = ", ".join(map(str, kinds))
        raise CommandError(f"the gateway does not listen on port {number}; it does on {known}", ExitStatus.USAGE)
    return number, kinds[number]
