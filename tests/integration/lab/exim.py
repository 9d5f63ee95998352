"""An Exim of our own, from the folder that `tests/debian-packages` unpacks it into; all its files under one root.

Debian's mail servers exclude each other, so Postfix is installed and Exim is not. Everything that it does it does as
its own user (`deliver_drop_privilege`).
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import trustme

from tests.integration.lab.ports import HOST, free_ports, listens, wait_until

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.integration.lab.client import Mode

DOMAIN = "exim.test"
NAME = "mx.exim.test"
USER = "Debian-exim"

_UNPACKED = Path(__file__).parents[3] / ".debian_cache" / "exim" / "usr" / "sbin" / "exim4"

_CONFIGURATION = """\
exim_path = {program}
spool_directory = {root}/spool
log_file_path = {root}/log/%s
pid_file_path = {root}/spool/exim.pid
primary_hostname = {name}
keep_environment =
deliver_drop_privilege = true
local_interfaces = {host}
daemon_smtp_ports = {smtp_port} : {smtps_port}
tls_on_connect_ports = {smtps_port}
tls_advertise_hosts = *
tls_certificate = {root}/config/server.pem
tls_privatekey = {root}/config/server.key
chunking_advertise_hosts = *
smtputf8_advertise_hosts = *
accept_8bitmime = true
message_size_limit = 60M
dkim_verify_signers =
host_lookup =
rfc1413_query_timeout = 0s
log_selector = +smtp_connection +tls_cipher +received_recipients
acl_smtp_rcpt = check

begin acl
check:
  accept

begin routers
here:
  driver = accept
  domains = {domain}
  transport = maildir
onward:
  driver = manualroute
  route_list = * {host}
  self = send
  transport = smarthost

begin transports
maildir:
  driver = appendfile
  directory = {root}/mail
  maildir_format
  create_directory
  envelope_to_add
  return_path_add
smarthost:
  driver = smtp
  allow_localhost
  hosts_try_fastopen =
{smarthost}
begin retry
* * F,1h,1m
"""


@dataclass(frozen=True)
class Smarthost:
    """Where mail for other domains goes.

    Args:
        port: its port at the loopback address.
        mode: in clear, STARTTLS that is required, or implicit TLS; the certificate is checked.
        trusted: whom that certificate is to come from.
        server_name: the name that it is to bear.
        chunking: whether content may go as BDAT.
    """

    port: int
    mode: Mode
    trusted: bytes
    server_name: str
    chunking: bool = True


def why_not() -> str | None:
    """Why Exim cannot run here, ``None`` if it can."""
    if _program() is None:
        return "exim is neither installed nor unpacked by tests/debian-packages"
    if os.getuid() != 0:
        return "exim needs root"
    return None


def _program() -> str | None:
    return str(_UNPACKED) if _UNPACKED.exists() else shutil.which("exim4", path="/usr/sbin")


def make(authority: trustme.CA, smarthost: Smarthost | None = None) -> Exim:
    """Start one whose certificate ``authority`` signs."""
    issued = authority.issue_cert(NAME, HOST, key_type=trustme.KeyType.ECDSA)
    return Exim(issued.cert_chain_pems[0].bytes(), issued.private_key_pem.bytes(), smarthost)


class Exim:
    """Takes mail for any address at ``exim.test`` into one Maildir; sends other mail to its smarthost."""

    def __init__(self, certificate: bytes, key: bytes, smarthost: Smarthost | None = None) -> None:
        self._root = Path(tempfile.mkdtemp(prefix="exim-"))
        self._program = _program() or ""
        self.smtp_port, self.smtps_port = free_ports(2)
        self._configure(certificate, key, smarthost)
        self._daemon = self._start("-bdf")
        wait_until(lambda: listens(self.smtps_port), "Exim listens")

    @property
    def log(self) -> str:
        path = self._root / "log" / "main"
        return path.read_text() if path.exists() else ""

    @property
    def dialogue(self) -> str:
        """What the daemon says of itself on its terminal; with `debug` all that it hears and answers."""
        return (self._root / "terminal").read_text(errors="replace")

    def delivered(self, message_id: str) -> bytes:
        """Return the message that ``message_id`` became, once it is in the Maildir."""
        sign = f"\tid {message_id}".encode()
        wait_until(lambda: f"{message_id} Completed" in self.log, f"Exim has delivered {message_id}")
        (found,) = (
            content
            for entry in (self._root / "mail" / "new").iterdir()
            if sign in (content := entry.read_bytes()).partition(b"\n\n")[0]
        )
        return found

    def debug(self) -> None:
        """Run the daemon anew so that it tells the whole dialogue, without the content."""
        self._end()
        self._daemon = self._start("-bdf", "-d-all+receive")
        wait_until(lambda: listens(self.smtps_port), "Exim listens again")

    def send(self, recipients: Sequence[str], message: bytes, *options: str) -> str:
        """Hand in a message and deliver it at once; return what was said on the terminal, with ``-v`` the dialogue."""
        command = [*self._command, "-odi", "-oi", "-f", "sender@client.test", *options, *recipients]
        done = subprocess.run(command, input=message, capture_output=True, check=False, timeout=120)
        return done.stderr.decode(errors="replace")

    def close(self) -> None:
        self._end()
        shutil.rmtree(self._root)

    @property
    def _command(self) -> list[str]:
        return [self._program, "-C", str(self._root / "config" / "exim.conf")]

    def _start(self, *options: str) -> subprocess.Popen[bytes]:
        with (self._root / "terminal").open("wb") as terminal:
            return subprocess.Popen(
                [*self._command, *options], stdout=terminal, stderr=terminal, stdin=subprocess.DEVNULL
            )

    def _end(self) -> None:
        self._daemon.terminate()
        self._daemon.wait(20)

    def _configure(self, certificate: bytes, key: bytes, smarthost: Smarthost | None) -> None:
        user = pwd.getpwnam(USER)
        self._root.chmod(0o755)
        for folder in ("config", "spool", "log", "mail"):
            (self._root / folder).mkdir()
            os.chown(self._root / folder, user.pw_uid, user.pw_gid)
        os.chown(self._root / "config", 0, 0)
        for name, octets in (("server.pem", certificate), ("server.key", key)):
            path = self._root / "config" / name
            path.write_bytes(octets)
            os.chown(path, 0, user.pw_gid)
            path.chmod(0o640)
        configuration = _CONFIGURATION.format(
            program=self._program,
            root=self._root,
            name=NAME,
            domain=DOMAIN,
            host=HOST,
            smtp_port=self.smtp_port,
            smtps_port=self.smtps_port,
            smarthost=self._transport_options(smarthost),
        )
        (self._root / "config" / "exim.conf").write_text(configuration)

    def _transport_options(self, smarthost: Smarthost | None) -> str:
        if smarthost is None:
            return ""
        (self._root / "config" / "trusted.pem").write_bytes(smarthost.trusted)
        options = [
            f"port = {smarthost.port}",
            f"protocol = {'smtps' if smarthost.mode == 'smtps' else 'smtp'}",
            f"hosts_require_tls = {'' if smarthost.mode == 'clear' else '*'}",
            f"hosts_avoid_tls = {'*' if smarthost.mode == 'clear' else ''}",
            f"hosts_try_chunking = {'*' if smarthost.chunking else ''}",
            f"tls_verify_certificates = {self._root}/config/trusted.pem",
            "tls_verify_hosts = *",
            f"tls_sni = {smarthost.server_name}",
            "tls_verify_cert_hostnames =",
        ]
        return "".join(f"  {option}\n" for option in options)
