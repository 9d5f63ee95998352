"""An unbound of our own: a validating resolver with a signed zone, its own trust anchor, and zones that are not well.

`signed.test` is signed and trusted, `insecure.test` is neither, and nobody answers for `slow.test`. It reaches nothing
but loopback.
"""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

import dns.dnssec
import dns.message
import dns.name
import dns.query
import dns.rdatatype
import dns.zone
from cryptography.hazmat.primitives.asymmetric import ec
from dns.dnssectypes import Algorithm
from dns.rdtypes.dnskeybase import Flag

from tests.integration.lab.ports import HOST, free_ports, wait_until

if TYPE_CHECKING:
    from types import TracebackType

    from dns.rdtypes.ANY.RRSIG import RRSIG

SIGNED: Final = "signed.test"
INSECURE: Final = "insecure.test"
SLOW: Final = "slow.test"

_PROGRAM = "/usr/sbin/unbound"
_LIFETIME_S = 7 * 24 * 60 * 60
_POLL_S = 0.2

_CONFIGURATION = """\
server:
  directory: "{folder}"
  chroot: ""
  username: ""
  pidfile: ""
  use-syslog: no
  logfile: ""
  log-servfail: yes
  interface: {host}@{port}
  access-control: 127.0.0.0/8 allow
  num-threads: 1
  do-not-query-localhost: no
  do-ip6: no
  module-config: "validator iterator"
  trust-anchor: "{anchor}"
  local-zone: "test." nodefault
{zones}
stub-zone:
  name: "{slow}."
  stub-addr: {host}@{silent}
auth-zone:
  name: "."
  zonefile: "root.zone"
  for-upstream: yes
  for-downstream: no
  fallback-enabled: no
"""

_ROOT_ZONE = """\
. 300 IN SOA ns.test. hostmaster.test. 1 3600 600 86400 60
. 300 IN NS ns.test.
"""

_ZONE = """\
auth-zone:
  name: "{name}."
  zonefile: "{name}.zone"
  for-upstream: yes
  for-downstream: no
  fallback-enabled: no
"""


def why_not() -> str | None:
    """Why unbound cannot run here, ``None`` if it can."""
    return None if Path(_PROGRAM).exists() else "unbound is not installed"


@dataclass
class _Zone:
    """Records by owner, as lines of a zone file, and those whose signature is to be broken."""

    name: str
    records: list[str] = field(default_factory=list)
    spoilt: set[tuple[str, str]] = field(default_factory=set)

    def made(self, serial: int) -> dns.zone.Zone:
        head = f"@ 300 IN SOA ns.{self.name}. hostmaster.{self.name}. {serial} 3600 600 86400 60\n@ 300 IN NS ns\n"
        text = head + "ns 300 IN A 127.0.0.1\n" + "\n".join(dict.fromkeys(self.records))
        return dns.zone.from_text(text + "\n", origin=f"{self.name}.", relativize=False)


class Unbound:
    """Serves what tests publish."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="unbound-"))
        (self.port,) = free_ports(1)
        self._silent = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._silent.bind((HOST, 0))
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._dnskey = dns.dnssec.make_dnskey(self._key.public_key(), Algorithm.ECDSAP256SHA256, Flag.ZONE | Flag.SEP)
        self._zones = {name: _Zone(name) for name in (SIGNED, INSECURE)}
        self._serial = 1
        self._write()
        self._configure()
        with (self._folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [_PROGRAM, "-d", "-c", self._folder / "unbound.conf"], stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
        wait_until(self._serves, "unbound serves its zones")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def endpoint(self) -> str:
        """As ``resolver.servers`` has it."""
        return f"{HOST}:{self.port}"

    @property
    def log(self) -> str:
        return (self._folder / "log").read_text(errors="replace")

    def add(self, name: str, kind: str, *values: str) -> None:
        """Have records published next time; names end in one of the zones."""
        zone = self._zone_of(name)
        zone.records += [f"{name}. 300 IN {kind} {value}" for value in values]

    def publishes(self, name: str) -> bool:
        """Whether something of that name was added."""
        return any(record.startswith(f"{name}. ") for record in self._zone_of(name).records)

    def spoil(self, name: str, kind: str) -> None:
        """Have the signature of records published broken next time."""
        self._zone_of(name).spoilt.add((name, kind))

    def publish(self) -> None:
        """Serve everything that was added so far."""
        self._serial += 1
        self._write()
        self._process.send_signal(signal.SIGHUP)
        wait_until(self._serves, "unbound serves what was published")

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(20)
        self._silent.close()
        shutil.rmtree(self._folder)

    def _zone_of(self, name: str) -> _Zone:
        return next(zone for zone in self._zones.values() if f".{name}".endswith(f".{zone.name}"))

    def _serves(self) -> bool:
        assert self._process.poll() is None, self.log
        query = dns.message.make_query(f"{INSECURE}.", "SOA")
        try:
            response = dns.query.udp(query, HOST, port=self.port, timeout=_POLL_S)
        except (dns.exception.Timeout, OSError):
            return False
        return any(rrset.rdtype == dns.rdatatype.SOA and rrset[0].serial == self._serial for rrset in response.answer)

    def _write(self) -> None:
        for zone in self._zones.values():
            made = zone.made(self._serial)
            if zone.name == SIGNED:
                dns.dnssec.sign_zone(made, keys=[(self._key, self._dnskey)], lifetime=_LIFETIME_S)
            for name, kind in zone.spoilt:
                _break_signature(made, name, kind)
            made.to_file(str(self._folder / f"{zone.name}.zone"), relativize=False)

    def _configure(self) -> None:
        anchor = dns.dnssec.make_ds(f"{SIGNED}.", self._dnskey, "SHA256").to_text()
        text = _CONFIGURATION.format(
            folder=self._folder,
            host=HOST,
            port=self.port,
            silent=self._silent.getsockname()[1],
            anchor=f"{SIGNED}. DS {anchor}",
            zones="".join(_ZONE.format(name=name) for name in self._zones),
            slow=SLOW,
        )
        (self._folder / "unbound.conf").write_text(text)
        (self._folder / "root.zone").write_text(_ROOT_ZONE)


def _break_signature(zone: dns.zone.Zone, name: str, kind: str) -> None:
    """Turn a bit of the signature, as somebody does who changes the record on its way."""
    rdataset = zone.find_rdataset(f"{name}.", "RRSIG", covers=dns.rdatatype.from_text(kind))
    signature: RRSIG = rdataset[0]
    broken = bytes([signature.signature[0] ^ 1]) + signature.signature[1:]
    rdataset.clear()  # type: ignore[no-untyped-call]
    rdataset.add(signature.replace(signature=broken), 300)
