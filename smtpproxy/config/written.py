"""The files of a configuration as they were written: those that are in use, checked but for certificates and state."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from smtpproxy.config.action_file import ActionFile
from smtpproxy.config.actions import make_actions, notice_unused
from smtpproxy.config.balancers import check_balancers
from smtpproxy.config.document import Document, read_document
from smtpproxy.config.folder import read_folder
from smtpproxy.config.gateway_file import MainFile
from smtpproxy.config.home import Home
from smtpproxy.config.listening import check_listening
from smtpproxy.config.lists import read_lists
from smtpproxy.config.policy_checks import PolicyChecks
from smtpproxy.config.problems import ConfigurationErrors, Problem, Report
from smtpproxy.config.profile_file import ProfileFile
from smtpproxy.config.profiles import make_profiles
from smtpproxy.config.published import socket_of
from smtpproxy.config.resolver import check_resolver
from smtpproxy.config.section import Section, whole
from smtpproxy.config.shipped import ACTIONS, LISTS, PROFILES, predefined

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from smtpproxy.config.document import Value
    from smtpproxy.policy.model import Policy, ProxyAction


@dataclass(frozen=True, slots=True)
class WrittenFile:
    """One file.

    Args:
        name: what other files call it, empty for the main file.
        file: its path, or ``predefined/...`` for one that ships with the program.
        is_predefined: whether it does.
        value: what was written.
        section: what was made of it.
    """

    name: str
    file: str
    is_predefined: bool
    value: Value
    section: Section


@dataclass(frozen=True, slots=True)
class WrittenConfiguration:
    """A configuration as it was written.

    Args:
        home: the folder that relative paths start at, absolute.
        files: the main file, then the proxy actions and TLS profiles that are in use.
        actions: the proxy actions that are in use or the user's own, by their name.
        lists: how many entries each list has.
        notices: what works, and should be known.
    """

    home: Path
    files: tuple[WrittenFile, ...]
    actions: Mapping[str, WrittenFile]
    lists: Mapping[str, int]
    notices: tuple[Problem, ...]


def read_written(path: Path, edited: Mapping[str, str] = MappingProxyType({})) -> WrittenConfiguration:
    """Read the files of a configuration; no certificate and no key is opened.

    Args:
        path: the main file.
        edited: what is to be read in place of a proxy action's file, by its name.

    Raises:
        ConfigurationErrors: every mistake in them.
    """
    report = Report()
    folder = path.parent
    profiles, actions = read_folder(folder / PROFILES, report), read_folder(folder / ACTIONS, report, edited)
    lists = read_lists(folder / LISTS, report)
    made = make_actions(actions, make_profiles(profiles, report), lists, report)
    document, policies = _read_main(path, made, report)
    notice_unused(actions, policies, report)
    report.conclude()
    used = list(dict.fromkeys(policy.action for policy in policies))
    own = actions.keys() - predefined(ACTIONS).keys()
    files = (
        WrittenFile("", document.file, is_predefined=False, value=document.value, section=whole(MainFile, document)),
        *_files(ActionFile, ACTIONS, actions, [action.name for action in used]),
        *_files(ProfileFile, PROFILES, profiles, [name for action in used for name in _profiles_of(action)]),
    )
    return WrittenConfiguration(
        home=Home.of(path).path,
        files=files,
        actions={
            file.name: file for file in _files(ActionFile, ACTIONS, actions, own.union(action.name for action in used))
        },
        lists={name: entries.count for name, entries in lists.items()},
        notices=tuple(sorted(report.notices)),
    )


def _read_main(
    path: Path, actions: Mapping[str, ProxyAction | None], report: Report
) -> tuple[Document, tuple[Policy, ...]]:
    document = Document(str(path))
    try:
        document = read_document(path)
        main = whole(MainFile, document)
    except ConfigurationErrors as errors:
        report.include(errors)
        return document, ()
    check_listening(document, main.embedded, main.admin, report)
    check_balancers(document, main.interception, report)
    check_resolver(document, main.resolver, report)
    socket_of(main.tlsrpt, document, Home.of(path), report)
    return document, PolicyChecks(document, actions, None, report).run(main.interception, main.embedded)


def _profiles_of(action: ProxyAction) -> tuple[str, str]:
    return action.implicit_profile.name, action.starttls.profile.name


def _files(
    section: type[Section], folder: str, documents: Mapping[str, Document | None], names: Iterable[str]
) -> Iterator[WrittenFile]:
    shipped = predefined(folder)
    for name in sorted(set(names)):
        document = documents[name]
        if document is None:
            raise AssertionError("a file in use that cannot be read is a mistake")
        yield WrittenFile(name, document.file, name in shipped, document.value, whole(section, document))
