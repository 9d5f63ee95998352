"""Make TLS profiles of their files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from smtpproxy.config.profile_file import ProfileFile
from smtpproxy.config.section import part, problems
from smtpproxy.policy.profiles import profile_notices, profile_problem, unexamined_key
from smtpproxy.transport.suites import SuiteError, expand_suites

if TYPE_CHECKING:
    from collections.abc import Mapping

    from smtpproxy.config.document import Document
    from smtpproxy.config.problems import Report
    from smtpproxy.policy.model import TlsProfile


_IN_VAIN = "only chains that are looked at can be examined; choose certificate_validation: audit or enforce"


def make_profiles(documents: Mapping[str, Document | None], report: Report) -> dict[str, TlsProfile | None]:
    """Return each profile by its name, ``None`` for one with mistakes."""
    return {name: _make_profile(name, document, report) if document else None for name, document in documents.items()}


def _make_profile(name: str, document: Document, report: Report) -> TlsProfile | None:
    report.problems.extend(problems(ProfileFile, document))
    file = part(ProfileFile, document)
    if file is None:
        return None
    profile = file.profile(name, _suites(file, document, report))
    refused = profile_problem(profile)
    if refused:
        report.problem(document.problem(("pfs",), refused))
    in_vain = unexamined_key(profile)
    if in_vain:
        report.problem(document.problem((in_vain,), _IN_VAIN))
    for key, notice in profile_notices(profile):
        report.notice(document.problem((key,), notice))
    return profile


def _suites(file: ProfileFile, document: Document, report: Report) -> tuple[str, ...]:
    try:
        return expand_suites(file.ciphers, file.minimum_protocol, file.pfs) if file.ciphers else ()
    except SuiteError as error:
        report.problem(document.problem(("ciphers",), str(error)))
        return ()
