"""Postfix as the server behind the proxy."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import subprocess
from typing import TYPE_CHECKING, Final

import trustme

from tests.integration.lab.ports import HOST, free_ports, wait_until
from tests.integration.lab.postfix_instance import HERE, Place, PostfixInstance, why_not

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["DOMAIN", "NAME", "PASSWORD", "USER", "Postfix", "make", "why_no_sasl", "why_not"]

DOMAIN: Final = "postfix.test"
NAME: Final = "mx.postfix.test"
USER: Final = "user"
PASSWORD: Final = "pass word"

_MAIN_CF: Final = """\
myhostname = {name}
mydestination =
local_recipient_maps =
virtual_mailbox_domains = {domain}
virtual_mailbox_base = {{root}}/mail
virtual_mailbox_maps = static:inbox/
virtual_uid_maps = static:{uid}
virtual_gid_maps = static:{gid}
virtual_mailbox_limit = 0
mynetworks =
smtpd_relay_restrictions = reject_unauth_destination
smtpd_tls_security_level = may
smtpd_tls_cert_file = {{root}}/config/server.pem
smtpd_tls_key_file = {{root}}/config/server.key
smtpd_tls_received_header = yes
smtpd_tls_loglevel = 1
"""

_SASL_CF: Final = """\
smtpd_sasl_auth_enable = yes
smtpd_tls_auth_only = yes
smtpd_sasl_authenticated_header = yes
smtpd_sasl_local_domain = {name}
"""

_SASL_CONF: Final = """\
pwcheck_method: auxprop
auxprop_plugin: sasldb
sasldb_path: {root}/config/sasl/sasldb2
mech_list: PLAIN LOGIN CRAM-MD5 SCRAM-SHA-256
"""

_MASTER_CF: Final = """\
{smtp_port} inet n - n - - smtpd {options}
{smtps_port} inet n - n - - smtpd {options} -o smtpd_tls_wrappermode=yes
virtual unix - n n - - virtual
"""


def why_no_sasl() -> str | None:
    """Why Postfix cannot authenticate clients here, ``None`` if it can."""
    return None if shutil.which("saslpasswd2", path="/usr/sbin") else "sasl2-bin is not installed"


def make(
    authority: trustme.CA, options: str = "", *, names: Sequence[str] = (NAME, HOST), place: Place = HERE
) -> Postfix:
    """Start one whose certificate ``authority`` signs."""
    issued = authority.issue_cert(*names, key_type=trustme.KeyType.ECDSA)
    return Postfix(issued.cert_chain_pems[0].bytes(), issued.private_key_pem.bytes(), options, place)


class Postfix(PostfixInstance):
    """Takes mail for any address at ``postfix.test`` over clear, STARTTLS and implicit TLS, into one Maildir.

    Inside TLS `USER` may authenticate with `PASSWORD`, where Cyrus SASL is installed. ``options`` are smtpd's: ``-v``
    logs the whole dialogue.
    """

    def __init__(self, certificate: bytes, key: bytes, options: str = "", place: Place = HERE) -> None:
        self.smtp_port, self.smtps_port = place.ports or free_ports(2)
        nobody = pwd.getpwnam("nobody")
        main = _MAIN_CF + (_SASL_CF if why_no_sasl() is None else "")
        super().__init__(
            main.format(name=NAME, domain=DOMAIN, uid=nobody.pw_uid, gid=nobody.pw_gid),
            _MASTER_CF.format(smtp_port=self.smtp_port, smtps_port=self.smtps_port, options=options),
            {"server.pem": certificate, "server.key": key},
            self.smtps_port,
            place,
        )
        (self.root / "mail").mkdir()
        os.chown(self.root / "mail", nobody.pw_uid, nobody.pw_gid)
        if why_no_sasl() is None:
            self._make_user()

    def delivered(self, queue_id: str) -> bytes:
        """Return the message that ``queue_id`` became, once it is in the Maildir."""
        return self.delivered_to_all(queue_id)[0]

    def delivered_to_all(self, queue_id: str) -> list[bytes]:
        """Return the message once for each of its recipients, as soon as all have it."""
        sign = f" id {queue_id}".encode()
        wait_until(lambda: f"{queue_id}: removed" in self.log, f"Postfix has delivered {queue_id}")
        contents = (entry.read_bytes() for entry in (self.root / "mail" / "inbox" / "new").iterdir())
        return [content for content in contents if sign in content.partition(b"\n\n")[0]]

    def wait_until_idle(self) -> None:
        """Return when every connection has ended and every queued message is delivered."""

        def is_idle() -> bool:
            log = self.log
            connected, gone = log.count("]: connect from"), log.count("]: disconnect from")
            return connected == gone and log.count("(queue active)") == log.count(": removed")

        wait_until(is_idle, "Postfix is idle")

    def received_header(self, queue_id: str) -> str:
        """Return Postfix's own trace of the connection that brought ``queue_id``."""
        head = self.delivered(queue_id).partition(b"\n\n")[0].decode(errors="replace")
        found = re.search(r"^Received: .*?(?=^\S)", head, re.MULTILINE | re.DOTALL)
        assert found is not None
        return found.group()

    def _make_user(self) -> None:
        # Debian's Postfix looks here, whatever cyrus_sasl_config_path says.
        folder = self.config / "sasl"
        folder.mkdir()
        (folder / "smtpd.conf").write_text(_SASL_CONF.format(root=self.root))
        subprocess.run(
            ["/usr/sbin/saslpasswd2", "-p", "-c", "-f", folder / "sasldb2", "-u", NAME, USER],
            input=PASSWORD.encode(),
            check=True,
        )
        os.chown(folder / "sasldb2", pwd.getpwnam("postfix").pw_uid, -1)
