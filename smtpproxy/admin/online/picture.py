"""Findings as a picture for people: a tree, the chain from the trusted authority down to the server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rich.text import Text
from rich.tree import Tree

from smtpproxy.admin.online.certificates import Link, links_of, tlsa_of, unused_of
from smtpproxy.admin.online.findings import Failure, Findings, address_text
from smtpproxy.admin.online.judgement import Judgement, Mark, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from smtpproxy.admin.online.findings import ShownChain
    from smtpproxy.authority.description import Description
    from smtpproxy.smtp.capabilities import Capabilities

STYLES: Final = {Mark.GOOD: "green", Mark.DOUBTFUL: "yellow", Mark.BAD: "bold red"}
_NAMES_SHOWN: Final = 12
_SOON_DAYS: Final = 30


def picture_of(found: Findings, judged: Judgement, now: datetime) -> Tree:
    """Return the tree; every text of the server is escaped, and none is taken for markup."""
    tree = Tree(_title(found), guide_style="dim")
    for label, text in _facts(found):
        tree.add(_labelled(label, text))
    if found.chain:
        _add_chain(tree, found.chain, now)
    for label, verdict in (("chain", judged.chain), ("name", judged.name), ("gateway", judged.gateway)):
        if verdict:
            tree.add(_labelled(label, _coloured(verdict)))
    if found.failure:
        tree.add(_labelled("ended", Text(failure_text(found.failure), STYLES[Mark.BAD])))
    return tree


def failure_text(failure: Failure) -> str:
    """Return a failure as a sentence."""
    words = f" ({failure.detail})" if failure.detail else ""
    return f"at {failure.stage.value}: {failure.token}{words}"


def _title(found: Findings) -> Text:
    target = found.target
    title = Text(str(target), "bold")
    if found.address and found.address != target.host:
        title.append(f" [{address_text(found.address, target.port)}]", "not bold")
    return title.append(", implicit TLS" if target.implicit else ", STARTTLS", "not bold")


def _facts(found: Findings) -> Iterator[tuple[str, Text]]:
    if found.greeting:
        yield "greeting", Text(f"{found.greeting.code} {found.greeting.text}")
    if found.clear:
        yield "in clear", Text(_keywords(found.clear))
    if found.facts:
        yield "TLS", Text(f"{found.facts.version.text} with cipher {found.facts.cipher}")
        yield "SNI", Text(found.facts.server_name or "none")
    if found.resumes is not None:
        yield "resumes", Text("yes" if found.resumes else "no")
    if found.secured:
        yield "inside TLS", Text(_keywords(found.secured))


def _keywords(offered: Capabilities) -> str:
    lines = (f"{name} {argument.decode('ascii', 'backslashreplace')}".rstrip() for name, argument in offered.keywords)
    return ", ".join(lines) or "nothing"


def _add_chain(tree: Tree, chain: ShownChain, now: datetime) -> None:
    branch = tree.add(_labelled("certificates", Text("" if chain.sent else "none")))
    for link in links_of(chain):
        branch = branch.add(_certificate(link, now))
    if tlsa := tlsa_of(chain.built[0]) if chain.built else None:
        branch.add(_labelled("TLSA", Text(tlsa)))
    for described in unused_of(chain):
        tree.add(_labelled("sent, not needed", Text(described.subject if described else "a damaged certificate")))


def _certificate(link: Link, now: datetime) -> Text:
    described = link.described
    text = Text(_subject(described), STYLES[link.mark])
    notes = [note for note in (link.note, "" if link.sent else "our own copy") if note]
    if notes:
        text.append(f"  {', '.join(notes)}", STYLES[link.mark])
    if described is not None:
        for line in _lines(described, now):
            text.append("\n").append_text(line)
    return text


def _subject(described: Description | None) -> str:
    return "a damaged certificate" if described is None else described.subject or "no subject"


def _lines(described: Description, now: datetime) -> Iterator[Text]:
    names = (*described.dns_names, *described.ip_addresses)
    if names:
        more = f", and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
        yield Text(f"for {', '.join(names[:_NAMES_SHOWN])}{more}")
    yield Text(f"{described.key}, {described.signature}", "dim")
    yield _validity(described, now)


def _validity(described: Description, now: datetime) -> Text:
    text = Text(f"{described.valid_from:%Y-%m-%d} to {described.valid_until:%Y-%m-%d}, ", "dim")
    days = (described.valid_until - now).days
    if now > described.valid_until:
        return text.append("expired", STYLES[Mark.BAD])
    if now < described.valid_from:
        return text.append("not valid yet", STYLES[Mark.BAD])
    left = f"{days} day{'' if days == 1 else 's'} left"
    return text.append(left, STYLES[Mark.DOUBTFUL if days < _SOON_DAYS else Mark.GOOD])


def _labelled(label: str, text: Text) -> Text:
    return Text(f"{label}: ", "cyan").append_text(text)


def _coloured(verdict: Verdict) -> Text:
    return Text(verdict.text, STYLES[verdict.mark])
