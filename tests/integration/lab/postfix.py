"""A Postfix of our own: its folders under one temporary root, its ports free ones, the system's untouched."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.integration.lab.ports import HOST, free_ports, listens, wait_until

DOMAIN = "postfix.test"
NAME = "mx.postfix.test"

_MAIN_CF = """\
compatibility_level = 3.6
queue_directory = {root}/queue
data_directory = {root}/data
daemon_directory = {daemons}
command_directory = /usr/sbin
mail_owner = postfix
setgid_group = postdrop
myhostname = {name}
mydestination =
alias_maps =
local_recipient_maps =
virtual_mailbox_domains = {domain}
virtual_mailbox_base = {root}/mail
virtual_mailbox_maps = static:inbox/
virtual_uid_maps = static:{uid}
virtual_gid_maps = static:{gid}
virtual_mailbox_limit = 0
mailbox_size_limit = 0
message_size_limit = 60000000
inet_interfaces = {host}
inet_protocols = ipv4
mynetworks =
smtpd_relay_restrictions = reject_unauth_destination
smtputf8_enable = yes
smtpd_tls_security_level = may
smtpd_tls_cert_file = {certificate}
smtpd_tls_key_file = {key}
smtpd_tls_received_header = yes
smtpd_tls_loglevel = 1
maillog_file = {root}/mail.log
maillog_file_prefixes = {root}
"""

_MASTER_CF = """\
{host}:{smtp_port} inet n - n - - smtpd
{host}:{smtps_port} inet n - n - - smtpd -o smtpd_tls_wrappermode=yes
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
tlsmgr unix - - n 1000? 1 tlsmgr
proxymap unix - - n - - proxymap
virtual unix - n n - - virtual
error unix - - n - - error
retry unix - - n - - error
anvil unix - - n - 1 anvil
postlog unix-dgram n - n - 1 postlogd
"""


def why_not() -> str | None:
    """Why Postfix cannot run here, ``None`` if it can."""
    if shutil.which("postfix", path="/usr/sbin:/usr/local/sbin") is None:
        return "postfix is not installed"
    if os.getuid() != 0:
        return "postfix needs root"
    return None


class Postfix:
    """Takes mail for any address at ``postfix.test`` over clear, STARTTLS and implicit TLS, into one Maildir."""

    def __init__(self, certificate: bytes, key: bytes) -> None:
        # Postfix drops root: every folder above its own must let others pass, which pytest's do not.
        self._root = Path(tempfile.mkdtemp(prefix="postfix-"))
        self.smtp_port, self.smtps_port = free_ports(2)
        self._configure(certificate, key)
        subprocess.run(["/usr/sbin/postfix", "-c", str(self._root / "config"), "check"], check=True)
        # In a session of its own: when it ends it signals its whole process group.
        self._master = subprocess.Popen(
            [self._daemons() / "master", "-c", str(self._root / "config"), "-d"], start_new_session=True
        )
        wait_until(lambda: listens(self.smtps_port), "Postfix listens")

    @property
    def log(self) -> str:
        path = self._root / "mail.log"
        return path.read_text() if path.exists() else ""

    def delivered(self, queue_id: str) -> bytes:
        """Return the message that ``queue_id`` became, once it is in the Maildir."""
        sign = f" id {queue_id}".encode()
        wait_until(lambda: f"{queue_id}: removed" in self.log, f"Postfix has delivered {queue_id}")
        (found,) = (
            content
            for entry in (self._root / "mail" / "inbox" / "new").iterdir()
            if sign in (content := entry.read_bytes()).partition(b"\n\n")[0]
        )
        return found

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

    def close(self) -> None:
        self._master.terminate()
        self._master.wait(20)
        shutil.rmtree(self._root)

    def _configure(self, certificate: bytes, key: bytes) -> None:
        nobody = pwd.getpwnam("nobody")
        self._root.chmod(0o755)
        for folder in ("config", "queue", "data", "mail"):
            (self._root / folder).mkdir()
        os.chown(self._root / "data", pwd.getpwnam("postfix").pw_uid, -1)
        os.chown(self._root / "mail", nobody.pw_uid, nobody.pw_gid)
        certificate_path, key_path = self._root / "config" / "server.pem", self._root / "config" / "server.key"
        certificate_path.write_bytes(certificate)
        key_path.write_bytes(key)
        key_path.chmod(0o600)
        shutil.copy("/etc/postfix/dynamicmaps.cf", self._root / "config")
        main = _MAIN_CF.format(
            root=self._root,
            daemons=self._daemons(),
            name=NAME,
            domain=DOMAIN,
            uid=nobody.pw_uid,
            gid=nobody.pw_gid,
            host=HOST,
            certificate=certificate_path,
            key=key_path,
        )
        (self._root / "config" / "main.cf").write_text(main)
        master = _MASTER_CF.format(host=HOST, smtp_port=self.smtp_port, smtps_port=self.smtps_port)
        (self._root / "config" / "master.cf").write_text(master)

    @staticmethod
    def _daemons() -> Path:
        return Path("/usr/lib/postfix/sbin")
