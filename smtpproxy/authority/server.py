"""Choose among the configured Proxy Server certificates by the client's SNI.

Source: RFC 6066 s3 (server name); RFC 9525 s6.3 (wildcards).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography import x509

from smtpproxy.tls.names import ascii_name, covers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from smtpproxy.authority.credentials import Credential


class ServerCredentials:
    """The Proxy Server certificates, in the order of the configuration.

    Args:
        credentials: at least one; the first is shown where no other fits.

    Raises:
        ValueError: there is none.
    """

    def __init__(self, credentials: Sequence[Credential]) -> None:
        if not credentials:
            raise ValueError("there is no Proxy Server certificate")
        self._default = credentials[0]
        self._names = [(name, credential) for credential in credentials for name in _dns_names(credential)]
        self._exact = dict(reversed(self._names))

    def choose(self, server_name: str | None) -> Credential:
        """Return the credential for ``server_name``: an exact name beats a wildcard, then the first listed wins."""
        reference = ascii_name(server_name) if server_name else None
        if reference is None:
            return self._default
        exact = self._exact.get(reference)
        if exact is not None:
            return exact
        return next((credential for name, credential in self._names if covers(name, reference)), self._default)


def choosing_names(presented: Sequence[Sequence[str]]) -> list[tuple[str, ...]]:
    """Return the names by which each certificate is chosen; the default is chosen by all others too.

    Args:
        presented: the DNS names of each certificate, in the order of the configuration.
    """
    taken: set[str] = set()
    chosen = []
    for names in presented:
        first = [name for name in dict.fromkeys(map(str.lower, names)) if name not in taken and _chooses(name)]
        chosen.append(tuple(first))
        taken.update(first)
    return chosen


def _chooses(name: str) -> bool:
    """Whether there is a server name that ``name`` covers."""
    sample = name.replace("*", "any")
    return ascii_name(sample) == sample and covers(name, sample)


def _dns_names(credential: Credential) -> list[str]:
    try:
        names = credential.certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return [name.lower() for name in names.get_values_for_type(x509.DNSName)]
