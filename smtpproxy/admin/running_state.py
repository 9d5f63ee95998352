"""``smtpproxy status`` and ``smtpproxy sessions``: how the running gateway does, as a table or as JSON."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from smtpproxy.admin.control.protocol import MAX_SESSIONS
from smtpproxy.admin.options import format_option
from smtpproxy.admin.reached import gateway_options, reach
from smtpproxy.admin.running_words import counted, gap, octets, on_leg, reload_words, state_words
from smtpproxy.admin.suspected import suspicion_of
from smtpproxy.policy.model import InterceptionMode

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


@click.command()
@gateway_options
@format_option
def status(configuration_file: Path, socket_path: Path | None, output: str) -> None:
    """Show how the running gateway does: what it listens on, its workers, sessions and counters, the last reload.

    Clients that do not seem to bear interception are told, each with what can be done about it.
    """
    with reach(configuration_file, socket_path) as gateway:
        answer = gateway.ask("status")
        click.echo(json.dumps(answer, indent=2) if output == "json" else "\n".join(_status_lines(answer)))


def _status_lines(answer: dict[str, Any]) -> Iterator[str]:
    for name, value in _status_rows(answer):
        first, *more = value.split("\n")
        yield f"{name:14} {first}"
        for line in more:
            yield f"{'':14} {line}"
    yield from _suspected(answer)


def _status_rows(answer: dict[str, Any]) -> Iterator[tuple[str, str]]:
    counters = answer["counters"]
    generation = answer["generation"]
    yield "gateway", f"{answer['name']}, smtpproxy {answer['version']}, process {answer['pid']}"
    yield "state", state_words(answer)
    yield "since", f"{answer['since']} ({gap(answer['uptime'])})"
    yield "configuration", answer["configuration"]
    yield "generation", f"{generation['number']}, in force since {generation['loaded']}"
    yield "last reload", reload_words(answer["last_reload"])
    yield "mode", answer["mode"]
    yield "authorities", "\n".join(_authority(each) for each in answer.get("authorities", [])) or "not known"
    yield "listening on", "\n".join(f"{each['address']} ({each['kind']})" for each in answer["listening"]) or "nothing"
    yield "policies", "\n".join(_policy(each) for each in answer["policies"])
    yield "workers", "\n".join(_worker(each) for each in answer["workers"])
    yield "sessions", f"{counters['sessions_running']} running, {counters['sessions_begun']} begun"
    yield "refused", counted(counters["connections_refused"])
    yield "handshakes", "\n".join(f"{leg}: {counted(found)}" for leg, found in counters["tls_handshakes"].items())
    yield "messages", f"{counted(counters['transactions'])}; {octets(counters['content_bytes'])}"
    yield "incidents", str(counters["incidents"])
    yield "crashes", str(counters["crashes"])
    yield "blocked", str(answer["blocked"])


def _policy(policy: dict[str, Any]) -> str:
    return f"{policy['name']}: {policy['sessions']} sessions{'' if policy['enabled'] else ', not enabled'}"


def _authority(authority: dict[str, Any]) -> str:
    crossed = authority["crossed_until"]
    also = f"; those who trust the one before verify it until {crossed[:10]}" if crossed else ""
    return (
        f"{authority['authority']}: {authority['name']}, until {authority['valid_until'][:10]}, "
        f"SHA-256 {authority['sha256'][:16]}...{also}"
    )


def _worker(worker: dict[str, Any]) -> str:
    if not worker["answers"]:
        return f"process {worker['pid'] or 'none'}: DOES NOT ANSWER ({worker['because']})"
    return (
        f"process {worker['pid']}: {worker['state']}, generation {worker['generation']}, {worker['sessions']} sessions"
    )


def _suspected(answer: dict[str, Any]) -> Iterator[str]:
    now, folder = datetime.now(UTC), Path(answer["configuration"]).parent
    is_explicit = answer["mode"] == InterceptionMode.EXPLICIT.value
    for document in answer["suspected"]:
        suspicion = suspicion_of(document, now)
        if suspicion is not None:
            first, *more = suspicion.advice(folder, suspicion.proxy_action, shares_address=is_explicit)
            yield f"warning: {first}"
            yield from more


@click.command()
@gateway_options
@click.option(
    "--limit",
    type=click.IntRange(0, MAX_SESSIONS),
    default=100,
    show_default=True,
    help="How many to show; the oldest are.",
)
@format_option
def sessions(configuration_file: Path, socket_path: Path | None, limit: int, output: str) -> None:
    """Show the sessions that are under way: who with whom, what they are at, TLS of both legs, octets."""
    with reach(configuration_file, socket_path) as gateway:
        answer = gateway.ask("sessions", limit=limit)
        if output == "json":
            click.echo(json.dumps(answer, indent=2))
            return
        Console().print(sessions_table(answer["sessions"]))
        if answer["left_out"]:
            click.echo(f"{answer['left_out']} younger ones are not shown; see --limit")


_HEADINGS = ("Session", "Client", "Upstream", "State", "Age", "Idle", "Messages", "Octets")


def sessions_table(found: Sequence[dict[str, Any]]) -> Table:
    """Return a table of sessions."""
    table = Table()
    for heading in _HEADINGS:
        table.add_column(heading, overflow="fold", no_wrap=heading == "Session")
    for each in found:
        table.add_row(*(Text(cell) for cell in _session_cells(each)))  # a Text, so that no name is taken for markup
    return table


def _session_cells(each: dict[str, Any]) -> tuple[str, ...]:
    passed = each["octets"]
    downgraded = " (downgraded)" if each["downgraded"] else ""
    inspected = (
        "" if each["inspected"] == "yes" else f"\nnot inspected: {each['inspected'].removeprefix('no, because ')}"
    )
    return (
        each["session"],
        f"{each['client']} {each['helo']}\n{on_leg(each['client_tls'])}",
        f"{each['upstream']} {each['policy']}\n{on_leg(each['upstream_tls'])}{downgraded}",
        f"{each['state']['client']}\n{each['state']['upstream']}{inspected}",
        gap(each["seconds"]),
        gap(each["idle"]),
        str(each["transactions"]),
        f"{octets(passed['client_in'])} in\n{octets(passed['client_out'])} out",
    )
