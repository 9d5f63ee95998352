"""Load a configuration: every file, every certificate, every mistake at once."""

from __future__ import annotations

import socket
from itertools import chain
from types import MappingProxyType
from typing import TYPE_CHECKING

from smtpproxy.config.actions import make_actions, notice_unused
from smtpproxy.config.balancers import check_balancers
from smtpproxy.config.certificates import CertificateLoader, Keys
from smtpproxy.config.document import Document, read_document
from smtpproxy.config.folder import read_folder
from smtpproxy.config.gateway_file import (
    AdminSection,
    CertificatesSection,
    EmbeddedSection,
    GatewaySection,
    InterceptionSection,
    KeyPairSection,
    MainFile,
    RecordsSection,
    SpoolSection,
)
from smtpproxy.config.home import Home
from smtpproxy.config.listening import check_listening
from smtpproxy.config.lists import read_lists
from smtpproxy.config.policy_checks import PolicyChecks
from smtpproxy.config.problems import ConfigurationErrors, Report
from smtpproxy.config.profile_loader import ProfileLoader
from smtpproxy.config.profiles import make_profiles
from smtpproxy.config.published import MtaStsSection, TlsrptSection, socket_of
from smtpproxy.config.resolver import ResolverSection, check_resolver, resolver_settings
from smtpproxy.config.section import part, problems
from smtpproxy.config.shipped import ACTIONS, LISTS, PROFILES
from smtpproxy.config.values import Configuration, EmbeddedServer, Gateway, Interception, SpoolSettings
from smtpproxy.policy.model import PortKind
from smtpproxy.spool import directory_problem
from smtpproxy.tls.names import ascii_name

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from smtpproxy.policy.entries import Entries
    from smtpproxy.policy.model import ProxyAction


def keys_here(_workers: int | None) -> Keys:
    """Have the keys of the authorities opened by this process."""
    return Keys.HERE


def keys_elsewhere(_workers: int | None) -> Keys:
    """Have the keys of the authorities left alone."""
    return Keys.ELSEWHERE


def keys_nowhere(_workers: int | None) -> Keys:
    """Have them left alone where nothing is signed."""
    return Keys.NOWHERE


def load_configuration(
    path: Path, host_name: str | None = None, *, keys: Callable[[int | None], Keys] = keys_here
) -> Configuration:
    """Load the main file and what stands beside it.

    Args:
        path: the main file; the folders ``proxy-actions``, ``tls-profiles`` and ``lists`` are looked for beside it.
        host_name: this machine's, for a gateway without a name; asked of the system if left out.
        keys: returns where the authorities' keys are used, for a number of workers as the file has it.

    Raises:
        ConfigurationErrors: every mistake in every file, and every certificate that cannot be used.
    """
    report = Report()
    folder = path.parent
    documents = read_folder(folder / PROFILES, report)
    profiles = make_profiles(documents, report)
    lists = read_lists(folder / LISTS, report)
    own = read_folder(folder / ACTIONS, report)
    actions = make_actions(own, profiles, lists, report)
    try:
        document = read_document(path)
    except ConfigurationErrors as errors:
        report.include(errors)
        raise ConfigurationErrors(report.problems, report.notices) from None
    loader = ProfileLoader(documents, profiles, Home.of(path), report)
    gateway = part(GatewaySection, document, "gateway")
    certificates = CertificateLoader(document, Home.of(path), report, keys(gateway.workers if gateway else None))
    assembly = _Assembly(document, path.absolute(), report, host_name or socket.gethostname(), certificates)
    configuration = assembly.assemble(actions, own, lists, loader)
    report.conclude()
    if configuration is None:
        raise AssertionError("a configuration without problems is complete")
    return configuration


class _Assembly:
    """Makes a configuration of the main file; sections are taken one by one, so that one mistake hides no other."""

    def __init__(
        self, document: Document, file: Path, report: Report, host_name: str, certificates: CertificateLoader
    ) -> None:
        self._document = document
        self._file = file
        self._home = Home.of(file)
        self._report = report
        self._host_name = host_name
        self._certificates = certificates

    def assemble(
        self,
        actions: dict[str, ProxyAction | None],
        files: dict[str, Document | None],
        lists: dict[str, Entries],
        profiles: ProfileLoader,
    ) -> Configuration | None:
        self._report.problems.extend(problems(MainFile, self._document))
        document = self._document
        interception = part(InterceptionSection, document, "interception")
        embedded = part(EmbeddedSection, document, "embedded") if document.get("embedded") is not None else None
        admin = part(AdminSection, document, "admin")
        check_listening(document, embedded, admin, self._report)
        check_balancers(document, interception, self._report)
        resolver = part(ResolverSection, document, "resolver")
        check_resolver(document, resolver, self._report)
        mta_sts = part(MtaStsSection, document, "mta_sts")
        reports = socket_of(part(TlsrptSection, document, "tlsrpt"), document, self._home, self._report)
        section = part(CertificatesSection, document, "certificates")
        certificates = self._certificates.load(section) if section else None
        profile_files = profiles.load(certificates.trusted if certificates else None)
        policies = PolicyChecks(document, actions, certificates, self._report).run(interception, embedded)
        notice_unused(files, policies, self._report)
        gateway = self._gateway()
        records = part(RecordsSection, document, "records")
        spool = self._spool()
        server = self._embedded(embedded) if embedded else None
        if self._report.problems:
            return None
        if not (interception and certificates and gateway and records and spool and admin and resolver):
            return None
        return Configuration(
            file=self._file,
            home=self._home.path,
            gateway=gateway,
            interception=_interception(interception),
            policies=policies,
            certificates=certificates,
            profiles=MappingProxyType(profile_files),
            embedded=server,
            metrics=admin.metrics,
            control=self._home.resolve(admin.control) if admin.control else None,
            records=self._home.resolve(records.file) if records.file else None,
            spool=spool,
            resolver=resolver_settings(resolver),
            private_policy_hosts=bool(mta_sts and mta_sts.private_addresses),
            tlsrpt=reports,
            lists=MappingProxyType(lists),
            notices=tuple(map(str, sorted(self._report.notices))),
        )

    def _gateway(self) -> Gateway | None:
        section = part(GatewaySection, self._document, "gateway")
        if section is None:
            return None
        name = section.name or ascii_name(self._host_name)
        if name is None:
            message = "this machine's host name is no DNS name; give one such as gw1.example.net"
            self._report.problem(self._document.problem(("gateway", "name"), message))
            return None
        return Gateway(name, section.workers, section.drain_timeout)

    def _spool(self) -> SpoolSettings | None:
        section = part(SpoolSection, self._document, "stores", "spool")
        if section is None:
            return None
        directory = self._home.resolve(section.directory)
        problem = directory_problem(directory)
        if problem:
            message = f"{problem}, so no message can be held there; name another, or change its owner or mode"
            self._report.problem(self._document.problem(("stores", "spool", "directory"), message))
        return SpoolSettings(directory, section.memory, section.limit)

    def _embedded(self, section: EmbeddedSection) -> EmbeddedServer:
        self._certificates.credential(KeyPairSection(certificate=section.certificate, key=section.key), ("embedded",))
        return EmbeddedServer(
            host=section.host,
            smtp=section.smtp,
            smtps=section.smtps,
            certificate=self._home.resolve(section.certificate),
            key=self._home.resolve(section.key),
            maildir=self._home.resolve(section.maildir),
        )


def _interception(section: InterceptionSection) -> Interception:
    ports = {PortKind.SMTP: section.ports.smtp, PortKind.SMTPS: section.ports.smtps}
    balancers = tuple(chain.from_iterable(section.trusted_balancers))
    return Interception(section.listen, MappingProxyType(ports), section.mode, balancers, section.on_stop)
