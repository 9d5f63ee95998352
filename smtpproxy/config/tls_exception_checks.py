"""Find exceptions of TLS that never match, and tell that what they let pass is judged by nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

from smtpproxy.config.entries import check_lists, resolve
from smtpproxy.config.lists import LIST
from smtpproxy.config.near import some
from smtpproxy.config.problems import shown
from smtpproxy.config.section import part
from smtpproxy.config.tls_exceptions import StartTlsExceptionSection, TlsExceptionSection
from smtpproxy.policy.coverage import Block, atoms, covers_atom
from smtpproxy.policy.entries import Entries
from smtpproxy.policy.model import TlsAction

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from smtpproxy.config.document import Document
    from smtpproxy.config.problems import Report
    from smtpproxy.policy.coverage import Atom

    ExceptionForm: TypeAlias = type[TlsExceptionSection | StartTlsExceptionSection]
    Lists: TypeAlias = Mapping[str, Entries]
    Earlier: TypeAlias = list[tuple[int, Entries]]

_SECTIONS: Final[Mapping[str, ExceptionForm]] = {"tls": TlsExceptionSection, "starttls": StartTlsExceptionSection}

_UNSEEN: Final = {
    "tls": "what passes uninspected is seen by no encryption rule and no message rule",
    "starttls": "what passes inside TLS is seen by no encryption rule and no message rule; mail in clear is",
}
_NOTHING: Final = {
    "tls": "has neither a name nor a network, so nothing of it matches: nobody knows addresses of mail yet",
    "starttls": "has no network, so nothing of it matches: with STARTTLS names come too late",
}


def check_exceptions(document: Document, lists: Lists, report: Report) -> None:
    """Report each list that is not there; notice exceptions that never match, and what no rule sees."""
    for section, form in _SECTIONS.items():
        earlier: Earlier = []
        written = document.get(section, "exceptions")
        for number in range(len(written) if isinstance(written, list) else 0):
            loc = (section, "exceptions", number)
            check_lists(document, (*loc, "match"), lists, report)
            exception = part(form, document, *loc)
            if exception is not None:
                for place, message in _idle(section, exception.match, earlier, lists):
                    report.notice(document.problem((*loc, *place), message))
                earlier.append((number + 1, resolve(exception.match, lists)))
        _notice_unseen(document, section, report)


def _notice_unseen(document: Document, section: str, report: Report) -> None:
    """Tell it once, at the first key that lets TLS pass."""
    written = document.get(section, "exceptions")
    numbers = range(len(written) if isinstance(written, list) else 0)
    places = [(section, "action"), *((section, "exceptions", number, "action") for number in numbers)]
    passing = (place for place in places if document.get(*place) == TlsAction.ALLOW.value)
    first = next(passing, None)
    if first is not None:
        report.notice(document.problem(first, _UNSEEN[section]))


def _idle(
    section: str, match: Sequence[str], earlier: Earlier, lists: Lists
) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Yield what never matches of an exception, with its place in it."""
    wanted = resolve(match, lists)
    hidden_by = _hidden_by(section, wanted, earlier)
    if hidden_by:
        which = f"exception {hidden_by[0]}" if len(hidden_by) == 1 else f"exceptions {some(hidden_by)}"
        takes = "takes" if len(hidden_by) == 1 else "take"
        yield (), f"never matches, since {which} before it {takes} all that it names; move it up, or take it out"
        return
    for number, text in enumerate(match):
        named = lists.get(text.removeprefix(LIST)) if text.startswith(LIST) else None
        if named is not None and not named.everything and named.count and not _counting(section, named):
            yield ("match", number), f"{shown(text)} {_NOTHING[section]}"


def _hidden_by(section: str, wanted: Entries, earlier: Earlier) -> list[str]:
    """Return the earlier exceptions that leave nothing to one, each with a part of what those before it left."""
    everything = [str(number) for number, entries in earlier if entries.everything]
    if wanted.everything or everything:
        return everything[:1]
    left = _counting(section, wanted)
    found = []
    for number, entries in earlier if left else ():
        still = [atom for atom in left if not covers_atom(entries, atom)]
        if len(still) < len(left):
            found.append(str(number))
        left = still
    return [] if left else found


def _counting(section: str, entries: Entries) -> list[Atom]:
    """Return the entries that can match: addresses of mail never do, names only on a port that begins with TLS."""
    names_count = section == "tls"
    return [each for each in atoms(entries) if isinstance(each, Block) or (names_count and "@" not in each)]
