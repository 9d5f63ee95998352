"""What certificates are judged with: the gateway's trust and TLS profile, or the system's without a gateway."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from smtpproxy.admin.exits import CommandError, ExitStatus
from smtpproxy.config.certificates import CertificateLoader
from smtpproxy.config.document import read_document
from smtpproxy.config.folder import predefined_documents, read_folder
from smtpproxy.config.gateway_file import MainFile
from smtpproxy.config.home import Home
from smtpproxy.config.near import suggestion
from smtpproxy.config.problems import Report
from smtpproxy.config.profile_loader import ProfileLoader
from smtpproxy.config.profiles import make_profiles
from smtpproxy.config.resolver import ResolverSection, resolver_settings
from smtpproxy.config.section import whole
from smtpproxy.config.shipped import PROFILES
from smtpproxy.policy.model import TlsProfile
from smtpproxy.tls.names import ascii_name
from smtpproxy.transport.profile_files import ProfileFiles
from smtpproxy.transport.trust import SYSTEM, TrustStore, load_trust

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from smtpproxy.config.values import Configuration, ResolverSettings

USUAL_PROFILE: Final = "TLS-Client.Standard"
_NAMELESS: Final = "localhost.localdomain"


@dataclass(frozen=True, slots=True)
class Verifier:
    """Judges certificates as a gateway does.

    Args:
        profile: versions, suites, and what an invalid certificate leads to.
        files: whom chains must come from, and what else goes with the profile.
        helo: the name that servers are told.
        resolver: whom to ask of names.
        trust: whom the hosts of MTA-STS policies are verified against.
        origin: the configuration file, ``None`` for the system's trust.
    """

    profile: TlsProfile
    files: ProfileFiles
    helo: str
    resolver: ResolverSettings
    trust: TrustStore
    origin: Path | None


def load_verifier(configuration_file: Path | None, profile: str) -> Verifier:
    """Load a trust store and a profile; no key is opened.

    Args:
        configuration_file: the main file, ``None`` for the system's trust and the predefined profiles.
        profile: the name of one.

    Raises:
        ConfigurationErrors: there are mistakes in what is needed.
        CommandError: there is no such profile.
        TrustError: the system has no authorities.
    """
    if configuration_file is None:
        known = make_profiles(predefined_documents(PROFILES), Report())
        trust, resolver = load_trust(SYSTEM), resolver_settings(ResolverSection())
        return Verifier(_chosen(known, profile), ProfileFiles(trust), _host_name(), resolver, trust, None)
    report = Report()
    documents = read_folder(configuration_file.parent / PROFILES, report)
    known = make_profiles(documents, report)
    if profile in known:
        report.conclude()
    chosen = _chosen(known, profile)
    document = read_document(configuration_file)
    main, home = whole(MainFile, document), Home.of(configuration_file)
    trusted = CertificateLoader(document, home, report).trusted(main.certificates.trusted, ("certificates", "trusted"))
    files = ProfileLoader(documents, {profile: chosen}, home, report).load(trusted)
    report.conclude()
    if trusted is None:
        raise AssertionError("trust that cannot be loaded is a problem")
    return Verifier(
        profile=chosen,
        files=files.get(profile, ProfileFiles(trusted)),
        helo=main.gateway.name or _host_name(),
        resolver=resolver_settings(main.resolver),
        trust=trusted,
        origin=configuration_file,
    )


def files_of(configuration: Configuration, profile: TlsProfile) -> ProfileFiles:
    """Return what a configuration has for a profile."""
    return configuration.profiles.get(profile.name, ProfileFiles(configuration.certificates.trusted))


def _chosen(known: Mapping[str, TlsProfile | None], name: str) -> TlsProfile:
    found = known.get(name)
    if found is None:
        names = sorted(known)
        message = f"there is no TLS profile '{name}'{suggestion(name, names)}; known are {', '.join(names)}"
        raise CommandError(message, ExitStatus.USAGE)
    return found


def _host_name() -> str:
    return ascii_name(socket.gethostname()) or _NAMELESS
