"""Postfix's before-queue proxy filter: its smtpd takes TLS, reads SMTP and passes it to the sink in clear.

It does less than the others: there is no TLS on its upstream leg. Its folders are its own, the system's are untouched.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from typing import TYPE_CHECKING

from benchmarks.peers.peer import HOST, SINK_CLEAR, Address, Peer, first_line

if TYPE_CHECKING:
    from pathlib import Path

_DAEMONS = "/usr/lib/postfix/sbin"
_STARTTLS, _IMPLICIT = 4301, 4302
_PROCESSES = 100  # Postfix's own default; a session keeps one

_MAIN_CF = f"""\
compatibility_level = 3.6
queue_directory = {{root}}/queue
data_directory = {{root}}/data
daemon_directory = {_DAEMONS}
command_directory = /usr/sbin
mail_owner = postfix
setgid_group = postdrop
myhostname = gateway.test
mydestination =
alias_maps =
local_recipient_maps =
inet_interfaces = {HOST}
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
smtpd_relay_restrictions = permit_mynetworks, reject
smtpd_peername_lookup = no
smtpd_client_connection_count_limit = 0
smtpd_client_event_limit_exceptions = static:all
smtpd_proxy_filter = {HOST}:{SINK_CLEAR}
default_process_limit = {_PROCESSES}
message_size_limit = 104857600
mailbox_size_limit = 0
smtpd_tls_security_level = may
smtpd_tls_cert_file = {{root}}/leaf.pem
smtpd_tls_key_file = {{root}}/leaf.key
maillog_file = {{root}}/mail.log
maillog_file_prefixes = {{root}}
"""

_MASTER_CF = f"""\
{HOST}:{_STARTTLS} inet n - n - - smtpd
{HOST}:{_IMPLICIT} inet n - n - - smtpd -o smtpd_tls_wrappermode=yes
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
tlsmgr unix - - n 1000? 1 tlsmgr
proxymap unix - - n - - proxymap
error unix - - n - - error
retry unix - - n - - error
anvil unix - - n - 1 anvil
postlog unix-dgram n - n - 1 postlogd
"""


def postfix(folder: Path) -> Peer | None:
    """Return Postfix with the sink as its proxy filter; ``None`` if it cannot run here."""
    if os.getuid() != 0 or shutil.which("postfix", path="/usr/sbin:/usr/local/sbin") is None:
        return None
    root = _configure(folder)
    command = (f"{_DAEMONS}/master", "-c", str(root / "config"), "-d")
    clients = {"clear": _STARTTLS, "starttls": _STARTTLS, "implicit": _IMPLICIT}
    addresses = {mode: Address(HOST, port) for mode, port in clients.items()}
    version = first_line("/usr/sbin/postconf", "-c", str(root / "config"), "mail_version")
    title = "`smtpd_proxy_filter`, upstream in clear"
    return Peer("postfix", title, command, addresses, version, most_sessions=_PROCESSES)


def _configure(folder: Path) -> Path:
    folder.chmod(0o755)  # Postfix drops root
    root = folder / "postfix"
    for part in ("config", "queue", "data"):
        (root / part).mkdir(parents=True)
    os.chown(root / "data", pwd.getpwnam("postfix").pw_uid, -1)
    for name in ("leaf.pem", "leaf.key"):
        shutil.copy(folder / name, root)
    shutil.copy("/etc/postfix/dynamicmaps.cf", root / "config")
    (root / "config" / "main.cf").write_text(_MAIN_CF.format(root=root))
    (root / "config" / "master.cf").write_text(_MASTER_CF)
    subprocess.run(["/usr/sbin/postfix", "-c", str(root / "config"), "check"], check=True, capture_output=True)
    return root
