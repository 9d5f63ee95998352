"""The medians of a measurement as tables: for a terminal and as Markdown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.runs import DIRECT, PROJECT, Run, Runs
from benchmarks.workloads import AIMS, WORKLOADS, Aim, Measure

if TYPE_CHECKING:
    from benchmarks.measurement import Measurement

YARDSTICKS = ("sslsplit", "haproxy", "postfix", "before")


@dataclass(frozen=True, slots=True)
class Table:
    """A table, its figures as text.

    Args:
        name: the workload, or what else it is about.
        title: in words.
        head: of the columns.
        rows: as many cells as the head has.
        notes: on what is not in it.
    """

    name: str
    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()


def text(measurement: Measurement) -> str:
    """Return all tables for a terminal."""
    return "\n\n".join(_as_text(table) for table in (aims(measurement.runs), *_workloads(measurement.runs)))


def markdown(measurement: Measurement) -> str:
    """Return all tables as Markdown, each with what makes it again."""
    runs = measurement.runs
    parts = [_as_markdown(aims(runs), "### Aims", measurement.command())]
    for table in _workloads(runs):
        heading = f"### `{table.name}`: {table.title}"
        again = filter(None, (table.name, WORKLOADS[table.name].twin))
        parts.append(_as_markdown(table, heading, measurement.command(*again)))
    return "\n\n".join([*parts, _participants(measurement)])


def aims(runs: Runs) -> Table:
    """Return what is aimed at beside what was reached, as far as it was measured."""
    head = ("workload", "measured in", "aim", "reached", "")
    return Table("aims", "aim and reached", head, tuple(row for aim in AIMS if (row := _aim_row(runs, aim))))


def _aim_row(runs: Runs, aim: Aim) -> tuple[str, ...] | None:
    reached = runs.ratio((PROJECT, aim.workload), aim.yardstick)
    if reached is None:
        return None
    peer, workload = aim.yardstick
    asked = f"{aim.most:g} x {peer}" + ("" if workload == aim.workload else f"'s {workload}")
    verdict = "met" if reached <= aim.most else "missed"
    return aim.workload, WORKLOADS[aim.workload].measure.value, asked, f"{reached:.2f} x", verdict


def _workloads(runs: Runs) -> list[Table]:
    return [_workload(runs, workload) for workload in runs.workloads()]


def _workload(runs: Runs, workload: str) -> Table:
    work = WORKLOADS[workload]
    yardsticks = [name for name in YARDSTICKS if runs.yardstick(name, workload)]
    ratios = tuple(f"x {name}" for name in yardsticks)
    if work.measure is Measure.MEMORY:
        head = ("", work.measure.value, *ratios, "errors")
    else:
        rest = ("p50 ms", "p99 ms", "errors", "seen")
        head = ("", work.measure.value, *ratios, f"{_unit(work.measure)}/s", "x direct", *rest)
    served = [peer for peer in runs.peers(workload) if runs.median(peer, workload) is not None]
    rows = tuple(_row(runs, peer, workload, yardsticks) for peer in served)
    failed = [peer for peer in runs.peers(workload) if peer not in served]
    notes = tuple(f"{peer}: {_first_error(runs.of(peer, workload)) or 'not measured'}" for peer in failed)
    return Table(workload, work.title, head, rows, notes)


def _row(runs: Runs, peer: str, workload: str, yardsticks: list[str]) -> tuple[str, ...]:
    mine = runs.of(peer, workload)
    figure = "-" if peer == DIRECT else _figure(runs.median(peer, workload))
    ratios = tuple(_ratio(runs, peer, workload, name) for name in yardsticks)
    errors = str(sum(run.seen["errors"] for run in mine))
    if error := _first_error(mine):
        errors += f": {error}"
    if WORKLOADS[workload].measure is Measure.MEMORY:
        return peer, figure, *ratios, errors
    rate = _figure(runs.median(peer, workload, lambda run: run.per_s))
    share = _figure(runs.share_of_direct(peer, workload))
    latencies = tuple(_figure(runs.median(peer, workload, of)) for of in (_p50_ms, _p99_ms))
    return peer, figure, *ratios, rate, share, *latencies, errors, _seen(mine)


def _p50_ms(run: Run) -> float:
    return run.seen["p50_ms"]


def _p99_ms(run: Run) -> float:
    return run.seen["p99_ms"]


def _ratio(runs: Runs, peer: str, workload: str, yardstick: str) -> str:
    theirs = runs.yardstick(yardstick, workload)
    return _figure(runs.ratio((peer, workload), (yardstick, theirs))) if theirs and peer != DIRECT else "-"


def _unit(measure: Measure) -> str:
    return {Measure.MESSAGE: "messages", Measure.MEBIBYTE: "MiB"}.get(measure, "sessions")


def _first_error(runs: list[Run]) -> str:
    return next((run.seen["first_error"] for run in runs if run.seen["errors"]), "")


def _seen(runs: list[Run]) -> str:
    """Return what the two legs really did of what the workload is about."""
    work = WORKLOADS[runs[0].workload]
    messages = sum(run.taken["messages"] for run in runs)
    seen = []
    if work.mode != "clear" and work.messages == 1:
        upstream = _percent(sum(run.taken["resumed"] for run in runs), sum(run.taken["handshakes"] for run in runs))
        client = _percent(sum(run.seen["resumed"] for run in runs), sum(run.seen["sessions"] for run in runs))
        seen.append(f"resumed: client {client}, upstream {upstream}")
    if work.pipelining:
        seen.append(f"pipelined upstream {_percent(sum(run.taken['grouped'] for run in runs), messages)}")
    if work.chunk_octets:
        seen.append(f"BDAT upstream {_percent(sum(run.taken['chunked'] for run in runs), messages)}")
    return ", ".join(seen)


def _percent(part: int, whole: int) -> str:
    return f"{part / whole:.0%}" if whole else "-"


def _figure(value: float | None) -> str:
    """Return a figure with three digits that count."""
    if value is None:
        return "-"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def _as_text(table: Table) -> str:
    lines = (table.head, *table.rows)
    widths = [max(len(line[column]) for line in lines) for column in range(len(table.head))]
    body = [
        "  " + "  ".join(cell.ljust(width) if cell[:1].isalpha() else cell.rjust(width) for cell, width in pairs)
        for pairs in (list(zip(line, widths, strict=True)) for line in lines)
    ]
    notes = [f"  {note}" for note in table.notes]
    return "\n".join([f"{table.name}: {table.title}", *(line.rstrip() for line in body), *notes])


def _as_markdown(table: Table, heading: str, command: str) -> str:
    lines = [table.head, tuple("---" for _ in table.head), *table.rows]
    body = ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines]
    notes = ["", "Not measured: " + "; ".join(table.notes) + "."] if table.notes else []
    return "\n".join([heading, "", f"`{command}`", "", *body, *notes])


def _participants(measurement: Measurement) -> str:
    rows = tuple((name, *about) for name, about in measurement.peers.items())
    table = Table("", "", ("who", "how", "version"), rows)
    return _as_markdown(table, "### Who took part", measurement.command()) + f"\n\nMachine: {measurement.machine}."
