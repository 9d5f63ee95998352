"""Write reports as tlsrpt-collectd reads them: JSON, one datagram a delivery attempt.

The keys are those of libtlsrpt, version 1 of its protocol, which no document describes: tlsrpt-reporter's
`TLSRPTCollectdSQLite` and `render_report` read them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final, TypeAlias

from smtpproxy.policy.tls_report import Detail, Judged, PolicyType, ResultType

Document: TypeAlias = dict[str, object]

_VERSION: Final = "1"
_TYPES: Final = {PolicyType.TLSA: 1, PolicyType.STS: 2, PolicyType.NO_POLICY_FOUND: 9}
CODES: Final = {
    ResultType.STARTTLS_NOT_SUPPORTED: 201,
    ResultType.CERTIFICATE_HOST_MISMATCH: 202,
    ResultType.CERTIFICATE_NOT_TRUSTED: 203,
    ResultType.CERTIFICATE_EXPIRED: 204,
    ResultType.VALIDATION_FAILURE: 205,
    ResultType.STS_POLICY_FETCH_ERROR: 301,
    ResultType.STS_POLICY_INVALID: 302,
    ResultType.STS_WEBPKI_INVALID: 303,
    ResultType.TLSA_INVALID: 304,
    ResultType.DNSSEC_INVALID: 305,
    ResultType.DANE_REQUIRED: 306,
}


def datagram_of(domain: str, record: str, judged: Sequence[Judged]) -> bytes:
    """Return a report on its way.

    Args:
        domain: that it is for.
        record: by which the domain asks for it, as it was published.
        judged: how the session did, by each policy.
    """
    document = {"dpv": _VERSION, "d": domain, "pr": record, "policies": [_policy(each) for each in judged]}
    return json.dumps(document, separators=(",", ":")).encode()


def _policy(judged: Judged) -> Document:
    document: Document = {"policy-type": _TYPES[judged.kind], "policy-domain": judged.domain}
    if judged.strings:
        document["policy-string"] = judged.strings
    if judged.hosts:
        document["mx-host"] = judged.hosts
    if judged.details:
        document["failure-details"] = [_detail(each) for each in judged.details]
    return {**document, "t": len(judged.details), "f": int(judged.failed)}


def _detail(detail: Detail) -> Document:
    document: Document = {"c": CODES[detail.result], "n": detail.host, "r": str(detail.address)}
    if detail.words:
        document["a"] = detail.words
    if detail.code:
        document["f"] = detail.code
    return document
