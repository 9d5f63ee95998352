"""The proxy as a user runs it: ``twistd smtpproxy`` with configuration files in a home of its own."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import trustme
import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.integration.lab.ports import HOST, free_ports, listens, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from tests.integration.lab.laboratory import Authorities

NAME = "gateway.test"
_BEGUN = "reload begun"
PROGRAMS = Path(sys.executable).parent


@dataclass(frozen=True)
class Setup:
    """What a test wants of the gateway; everything else is the shipped default.

    Args:
        direction: of the one policy.
        tls_support: of the one policy.
        source: its networks.
        rules: the encryption rules.
        general: keys of the proxy action's ``general``.
        action: further keys of the proxy action.
        starttls: further keys of its ``starttls``; TLS that broke is not remembered unless they say so.
        policy: further keys of the policy.
        interception: further keys of that section.
        main: further keys of the main file.
        lists: entries of each list by its name.
        stores: the main file's key.
        profile: keys of the TLS profile.
        trusted: further authorities for upstream certificates, PEM.
        server_names: one Proxy Server certificate for each.
        metrics: whether Prometheus may ask.
        drain_timeout: of the gateway.
        workers: how many processes handle the mail.
    """

    direction: str = "outbound"
    tls_support: str = "enabled"
    source: tuple[str, ...] = ("127.0.0.0/8",)
    rules: tuple[Mapping[str, str], ...] = ({"name": "default", "sender": "optional", "recipient": "preferred"},)
    general: Mapping[str, Any] = field(default_factory=dict)
    action: Mapping[str, Any] = field(default_factory=dict)
    starttls: Mapping[str, Any] = field(default_factory=dict)
    policy: Mapping[str, Any] = field(default_factory=dict)
    interception: Mapping[str, Any] = field(default_factory=dict)
    main: Mapping[str, Any] = field(default_factory=dict)
    lists: Mapping[str, Sequence[str]] = field(default_factory=dict)
    stores: Mapping[str, Any] = field(default_factory=dict)
    profile: Mapping[str, Any] = field(default_factory=dict)
    trusted: bytes = b""
    server_names: tuple[str, ...] = ("mail.inside.test",)
    metrics: bool = False
    drain_timeout: str = "10s"
    workers: int = 1


@dataclass(frozen=True)
class Upstream:
    """Where the gateway sends the mail."""

    smtp_port: int
    smtps_port: int
    host: str = HOST


class Starter(Protocol):
    """Whoever starts the program."""

    def start(self, command: Sequence[str | Path], folder: Path, log: Path) -> subprocess.Popen[bytes]:
        """Start it in a folder, with its output at the end of a log."""

    def is_up(self, port: int) -> bool:
        """Whether what was started serves a port."""


class Terminal:
    """Starts the program as a user does."""

    def start(self, command: Sequence[str | Path], folder: Path, log: Path) -> subprocess.Popen[bytes]:
        with log.open("ab") as output:
            return subprocess.Popen(command, cwd=folder, stdout=output, stderr=subprocess.STDOUT)

    def is_up(self, port: int) -> bool:
        return listens(port)


class Gateway:
    """One running proxy; tests that want the same of it may share it, each from its own ``begin``."""

    def __init__(
        self, home: Path, setup: Setup, upstream: Upstream, authorities: Authorities, *, starter: Starter | None = None
    ) -> None:
        self.home = home
        self._authorities = authorities
        self.smtp_port, self.smtps_port, self.metrics_port = free_ports(3)
        _write_certificates(home / "certs", setup, authorities)
        _write_configuration(home / "config", setup, upstream, (self.smtp_port, self.smtps_port, self.metrics_port))
        self._starter = starter or Terminal()
        self._log_path = home / "twistd.log"
        self._log_begins = self._records_begin = 0
        self._told_to_end = False
        self._records_path = home / "var" / "records.jsonl"
        self._first_port = self.smtps_port if setup.tls_support == "required" else self.smtp_port
        self.start()

    def start(self) -> None:
        """Start it; again, when it has ended."""
        self._process = self._starter.start(self.command, self.home, self._log_path)
        wait_until(lambda: self._starter.is_up(self._first_port) or not self.alive, "the gateway is up")
        assert self.alive, self.log

    @property
    def command(self) -> list[str | Path]:
        """The program with its arguments."""
        return [
            *(PROGRAMS / "twistd", "--nodaemon", "--pidfile=", "smtpproxy"),
            *("--config", self.configuration),
        ]

    @property
    def configuration(self) -> Path:
        return self.home / "config" / "smtpproxy.yaml"

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    @property
    def pid(self) -> int:
        """Of the process that was started, the supervisor if there are several workers."""
        return self._process.pid

    @property
    def log(self) -> str:
        """What was logged since ``begin``."""
        return self._log_path.read_bytes()[self._log_begins :].decode(errors="replace")

    @property
    def records(self) -> list[dict[str, Any]]:
        """The JSON documents since ``begin``."""
        return self._read_records(self._records_begin)

    @property
    def all_records(self) -> list[dict[str, Any]]:
        """The JSON documents since the gateway was started first."""
        return self._read_records(0)

    def _read_records(self, begin: int) -> list[dict[str, Any]]:
        octets = self._records_path.read_bytes()[begin:]
        whole, _, _ = octets.rpartition(b"\n")  # the last may be under way
        return [json.loads(line) for line in whole.splitlines()]

    @property
    def metrics(self) -> dict[tuple[str, ...], float]:
        """Every metric's value by its name and the values of its labels."""
        with urllib.request.urlopen(f"http://{HOST}:{self.metrics_port}/metrics", timeout=20) as answer:
            text = answer.read().decode()
        families = text_string_to_metric_families(text)
        return {(one.name, *one.labels.values()): one.value for family in families for one in family.samples}

    @property
    def rss_octets(self) -> int:
        pages = int(Path(f"/proc/{self._process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    @property
    def children(self) -> set[int]:
        """The processes that it has begun."""
        pid = self._process.pid
        return {int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}

    @property
    def sockets(self) -> set[str]:
        """The kernel's names of the sockets that are open."""
        return {name for name in self._descriptors() if name.startswith("socket:")}

    @property
    def open_files(self) -> set[str]:
        """The files, sockets and pipes that are open."""
        return set(self._descriptors())

    def _descriptors(self) -> Iterator[str]:
        for entry in Path(f"/proc/{self._process.pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):  # closed since it was listed
                yield str(entry.readlink())

    def begin(self) -> None:
        self._records_begin = self._records_path.stat().st_size if self._records_path.exists() else 0
        self._log_begins = self._log_path.stat().st_size

    def judge(self) -> None:
        """Assert that nothing went wrong inside since ``begin``."""
        print(self.log)  # noqa: T201 - shown beside a test that fails
        assert self.alive, "the gateway died during the test"
        assert "Traceback" not in self.log

    def run_another(self, pid_file: Path) -> subprocess.CompletedProcess[str]:
        """Run a second one of the same configuration, which finds the ports taken, and return how it ended."""
        return subprocess.run(
            [PROGRAMS / "twistd", "--nodaemon", f"--pidfile={pid_file}", "smtpproxy", "--config", self.configuration],
            cwd=self.home,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def tell(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command of ours for this gateway."""
        return subprocess.run(
            [PROGRAMS / "smtpproxy", *words, "--config", self.configuration],
            cwd=self.home,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def ask(self, *words: str) -> Any:  # noqa: ANN401 - each command has its own
        """Return what a command answers as JSON."""
        done = self.tell(*words, "--format", "json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    @property
    def control(self) -> Path:
        """Where its control socket is."""
        return self.home / "var" / "control.sock"

    def wait(self) -> int:
        """Wait until it has ended by itself, and return its exit status."""
        self._told_to_end = True
        return self._process.wait(30)

    def edit(self, change: Callable[[dict[str, Any]], None], file: str = "smtpproxy.yaml") -> None:
        """Change what is in a configuration file."""
        path = self.home / "config" / file
        content = yaml.safe_load(path.read_text())
        change(content)
        path.write_text(yaml.safe_dump(content, sort_keys=False))

    def renew_certificate(self, name: str) -> None:
        """Give a Proxy Server certificate a successor, with a key of its own."""
        _write_server_certificate(self.home / "certs", name, self._authorities)

    def hang_up(self) -> None:
        """Ask it to reload, as log rotation and an administrator do."""
        self._process.send_signal(signal.SIGHUP)

    def reload(self) -> str:
        """Have it reload, and return what it logged from the beginning of the reload to its end."""
        begun = self.log.count(_BEGUN)
        self.hang_up()
        wait_until(lambda: len(self._reloads) > begun or not self.alive, "the gateway has reloaded")
        assert self.alive, self.log
        return self._reloads[begun]

    @property
    def _reloads(self) -> list[str]:
        """The log of each reload that is over."""
        return re.findall(rf"{_BEGUN}\n((?:.*\n)*?.* (?:reloaded: |reload refused, ).*\n)", self.log)

    def terminate(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Ask it to end, as an administrator would; a second time, not to wait for anything."""
        self._told_to_end = True
        self._process.send_signal(number)

    def stop(self) -> None:
        """End it in order, to be started again."""
        self._process.terminate()
        self.await_end()

    def await_end(self) -> None:
        """Wait until it has ended in order."""
        assert self._process.wait(20) == 0, self.log
        self._told_to_end = False

    def pause(self) -> None:
        """Have it hang."""
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Have it hang no longer."""
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it as a crash would."""
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        """End it, and assert that it ends in order."""
        self.begin()
        if not self._told_to_end:
            self.terminate()
        try:
            status = self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            status = self._process.wait()
        assert status == 0, self.log
        assert "Traceback" not in self.log, self.log


def _write_certificates(folder: Path, setup: Setup, authorities: Authorities) -> None:
    (folder / "trusted").mkdir(parents=True)
    if setup.trusted:
        (folder / "trusted" / "further.pem").write_bytes(setup.trusted)
    (folder / "trusted" / "internet.pem").write_bytes(authorities.internet.cert_pem.bytes())
    for name, authority in (("proxy-authority", authorities.proxy), ("untrusted-authority", authorities.untrusted)):
        _write_pair(folder / name, authority.cert_pem.bytes(), authority.private_key_pem.bytes())
    for name in setup.server_names:
        _write_server_certificate(folder, name, authorities)


def _write_server_certificate(folder: Path, name: str, authorities: Authorities) -> None:
    issued = authorities.inside.issue_cert(name, key_type=trustme.KeyType.ECDSA)
    chain = b"".join(blob.bytes() for blob in issued.cert_chain_pems)
    _write_pair(folder / name, chain, issued.private_key_pem.bytes())


def _write_pair(stem: Path, certificate: bytes, key: bytes) -> None:
    stem.with_name(f"{stem.name}.pem").write_bytes(certificate)
    key_path = stem.with_name(f"{stem.name}.key")
    key_path.touch(0o600)
    key_path.write_bytes(key)


def _write_configuration(folder: Path, setup: Setup, upstream: Upstream, ports: tuple[int, int, int]) -> None:
    kind = "client" if setup.direction == "outbound" else "server"
    files: dict[str, object] = {
        "smtpproxy.yaml": _gateway_file(setup, upstream, ports),
        "proxy-actions/Action.yaml": {
            "kind": kind,
            "tls": {"action": "inspect", "profile": "Profile"},
            "starttls": {
                "enabled": True,
                "profile": "Profile",
                "fallback_memory": "0s",
                "rules": [dict(rule) for rule in setup.rules],
                **setup.starttls,
            },
            "general": dict(setup.general),
            **setup.action,
        },
        "tls-profiles/Profile.yaml": {"minimum_protocol": "tls1.2", **setup.profile},
    }
    (folder / "lists").mkdir(parents=True, exist_ok=True)
    for name, entries in setup.lists.items():
        (folder / "lists" / f"{name}.txt").write_text("".join(f"{entry}\n" for entry in entries))
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(content, sort_keys=False))


def _gateway_file(setup: Setup, upstream: Upstream, ports: tuple[int, int, int]) -> dict[str, object]:
    return {
        "gateway": {"name": NAME, "workers": setup.workers, "drain_timeout": setup.drain_timeout},
        "interception": {
            "mode": "explicit",
            "listen": [HOST],
            "ports": {"smtp": [ports[0]], "smtps": [ports[1]]},
            **setup.interception,
        },
        "policies": [
            {
                "name": "Test policy",
                "direction": setup.direction,
                "source": list(setup.source),
                "destination": ["any"],
                "tls_support": setup.tls_support,
                "proxy_action": "Action",
                "upstream": {"host": upstream.host, "smtp": upstream.smtp_port, "smtps": upstream.smtps_port},
                "source_address": "gateway",
                **setup.policy,
            }
        ],
        "records": {"file": "var/records.jsonl"},
        **setup.main,
        "stores": dict(setup.stores),
        "admin": {"metrics": f"{HOST}:{ports[2]}"} if setup.metrics else {},
        "certificates": {
            "proxy_server": [
                {"certificate": f"certs/{name}.pem", "key": f"certs/{name}.key"} for name in setup.server_names
            ],
            "proxy_authority": {"certificate": "certs/proxy-authority.pem", "key": "certs/proxy-authority.key"},
            "untrusted_authority": {
                "certificate": "certs/untrusted-authority.pem",
                "key": "certs/untrusted-authority.key",
            },
            "trusted": "certs/trusted",
        },
    }
