"""Judge MAIL and RCPT by what was offered and by the limits, before policy and upstream do.

Source: RFC 5321 s4.1.1.3 (parameters belong to offered extensions); RFC 1870 s6.1 (SIZE); RFC 6531 s3.5 (SMTPUTF8);
RFC 3030 s3 (BINARYMIME); RFC 8689 s4.2.1 (REQUIRETLS).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from smtpproxy.policy.decision import Refuse
from smtpproxy.policy.model import General
from smtpproxy.smtp import catalogue
from smtpproxy.smtp.addresses import Path
from smtpproxy.smtp.capabilities import Capabilities
from smtpproxy.smtp.commands import Mail, Rcpt
from smtpproxy.smtp.parameters import PARAMETER_EXTENSION, Parameter
from smtpproxy.smtp.replies import Reply
from smtpproxy.tls.names import ascii_name

_BINARY: Final = b"BINARYMIME"


def refuse_mail(mail: Mail, offered: Capabilities, general: General) -> Refuse | None:
    """Return why MAIL cannot pass, or ``None``."""
    if mail.require_tls and not offered.offers("REQUIRETLS"):
        return Refuse(catalogue.REQUIRETLS_NOT_KEPT, "requiretls-not-offered")
    unoffered_body = mail.body == _BINARY and not offered.offers("BINARYMIME")
    if unoffered_body or _asks_unoffered(mail.parameters, offered):
        return Refuse(catalogue.BAD_PARAMETER, "parameter-not-offered")
    if mail.size is not None and mail.size > general.max_message_size:
        return Refuse(catalogue.MESSAGE_TOO_BIG, "message-too-big")
    return _refuse_path(mail.path, mail, general, catalogue.BAD_SENDER)


def refuse_rcpt(rcpt: Rcpt, mail: Mail, offered: Capabilities, general: General) -> Refuse | None:
    """Return why RCPT cannot pass in the transaction that ``mail`` began, or ``None``."""
    if _asks_unoffered(rcpt.parameters, offered):
        return Refuse(catalogue.BAD_PARAMETER, "parameter-not-offered")
    if not mail.smtputf8 and any(not (each.value or b"").isascii() for each in rcpt.parameters):  # RFC 6533 s3
        return Refuse(catalogue.BAD_PARAMETER, "parameter-8bit")
    return _refuse_path(rcpt.path, mail, general, catalogue.BAD_RECIPIENT)


def _asks_unoffered(parameters: Sequence[Parameter], offered: Capabilities) -> bool:
    return any(not offered.offers(PARAMETER_EXTENSION.get(each.name, "")) for each in parameters)


def _refuse_path(path: Path, mail: Mail, general: General, reply: Reply) -> Refuse | None:
    if len(path.octets) > general.max_address_length:
        return Refuse(reply, "address-too-long")
    if path.is_8bit and not mail.smtputf8:
        return Refuse(reply, "address-8bit")
    if _is_spelled_oddly(path.domain):
        return Refuse(reply, "address-domain")
    return None


def _is_spelled_oddly(domain: bytes) -> bool:
    """Return whether no rule could tell whose domain this is, while upstream may map it to one that a rule names."""
    return not domain.isascii() and ascii_name(domain.decode()) is None
