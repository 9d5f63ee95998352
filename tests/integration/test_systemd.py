"""The unit as it is shipped, under a systemd of our own: rights, restart, crash, reload, watchdog, socket unit."""

from __future__ import annotations

import re
import smtplib
import ssl
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
import yaml

from tests.integration.lab import systemd
from tests.integration.lab.newcomers import Newcomers, enter
from tests.integration.lab.ports import HOST, wait_until
from tests.integration.lab.systemd import PROJECT, Systemd

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

UNIT: Final = "smtpproxy"
FIREWALL: Final = "smtpproxy-firewall"
DEPLOY: Final = PROJECT / "deploy"
HOME: Final = "/etc/smtpproxy"
MAIN_FILE: Final = f"{HOME}/config/smtpproxy.yaml"
LOG: Final = "/var/log/smtpproxy.log"
MAILDIR: Final = "/var/lib/smtpproxy/maildir/new"
CAPABILITIES: Final = 1 << 10 | 1 << 13  # capabilities(7): CAP_NET_BIND_SERVICE, CAP_NET_RAW
WATCHDOG_S: Final = 2
EXPOSURE: Final = 20  # tenths, of systemd-analyze's ten points; without any restriction it is 96
SLACK_S: Final = 8.0
"""A restart begins several processes, here on a machine with other work."""


# There is no journal, and Python is not where Debian has it.
LABORATORY: Final = f"""[Service]
StandardOutput=append:{LOG}
StandardError=inherit
Environment=LD_LIBRARY_PATH=/media/python/lib
"""
WATCHDOG: Final = f"[Service]\nWatchdogSec={WATCHDOG_S}s\n"


DEMONSTRATION: Final = f"""
set -e
/opt/smtpproxy/bin/smtpproxy init --demo {HOME}
chgrp smtpproxy {HOME}/certs/*.key
chmod 0640 {HOME}/certs/*.key
"""


def steps() -> list[str]:
    """Return the commands of deploy/README.md; the first block gets programs, which are here already."""
    blocks = re.findall(r"^```\n(.*?)^```", (DEPLOY / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    not_yet = "editor ", "systemctl enable", "systemctl status"
    return [command for command in "".join(blocks[1:3]).splitlines() if not command.startswith(not_yet)]


class Box:
    """A machine with the gateway installed, before the embedded server."""

    def __init__(self, folder: Path) -> None:
        self.systemd = Systemd(folder)
        shared = self.systemd.path("/opt/smtpproxy/share/smtpproxy")
        shared.mkdir(parents=True)
        (shared / "deploy").symlink_to("/media/project/deploy")
        self.systemd.take(DEPLOY / "smtpproxy.socket", "/etc/systemd/system/smtpproxy.socket")
        for unit in (UNIT, FIREWALL):
            drop_in = self.systemd.path(f"/etc/systemd/system/{unit}.service.d/laboratory.conf")
            drop_in.parent.mkdir()
            drop_in.write_text(LABORATORY)
        drop_in.parent.with_name(f"{UNIT}.service.d").joinpath("watchdog.conf").write_text(WATCHDOG)
        for command in steps():
            self.systemd.run("sh", "-c", command)
        self.systemd.run("sh", "-c", DEMONSTRATION)
        text = self.systemd.path(f"{HOME}/config/demo.yaml").read_text()
        self.configuration = text.replace("smtp: [2525], smtps: [4650]", "smtp: [25], smtps: [465]")
        self.configure(lambda _: None)

    def configure(self, change: Callable[[dict[str, Any]], None]) -> None:
        """Write what the demonstration has, with a change."""
        main = yaml.safe_load(self.configuration)
        change(main)
        self.systemd.path(MAIN_FILE).write_text(yaml.safe_dump(main, sort_keys=False))

    def do(self, verb: str, unit: str = UNIT, *, check: bool = True) -> str:
        done = self.systemd.run("systemctl", verb, unit, check=check)
        return done.stdout + done.stderr

    def shown(self, name: str) -> str:
        return self.systemd.shown(UNIT, name)

    def signal(self, name: str) -> None:
        """Send the gateway a signal."""
        self.systemd.run("kill", f"-{name}", self.shown("MainPID"))

    def serves(self, *, generation: int) -> bool:
        """Return whether systemd is told so, of however many workers this machine's cores make."""
        workers = f"{self.processes} workers, " if self.processes > 1 else ""
        return self.shown("StatusText") == f"serving: {workers}0 sessions, generation {generation}"

    @property
    def processes(self) -> int:
        """How many handle mail."""
        return len(set(re.findall(r"worker (\d+) is process", self.log))) or 1

    @property
    def taken_up(self) -> int:
        """How many sockets that listened already were taken up since the last start."""
        return self.log.rpartition(" starting up.")[2].count("listening again on")

    @property
    def log(self) -> str:
        return self.systemd.path(LOG).read_text()

    @property
    def messages(self) -> list[bytes]:
        return [entry.read_bytes() for entry in self.systemd.path(MAILDIR).iterdir()]

    @property
    def network(self) -> Path:
        return Path(f"/proc/{self.systemd.pid}/ns/net")

    @property
    def has_table(self) -> bool:
        """Whether the kernel has the gateway's table."""
        return "table inet smtpproxy" in self.systemd.run("nft", "list", "tables").stdout

    def inside(self, act: Callable[[], None]) -> None:
        """Do something with this machine's network."""
        failures: list[BaseException] = []

        def run() -> None:
            enter(self.network)
            try:
                act()
            except BaseException as error:  # noqa: BLE001 - it is the test's
                failures.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
        if failures:
            raise failures[0]

    def close(self) -> None:
        self.systemd.close()


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    if reason := systemd.why_not():
        pytest.skip(reason)
    made = Box(tmp_path_factory.mktemp("systemd"))
    yield made
    made.close()


@pytest.fixture
def box(machine: Box) -> Iterator[Box]:
    """The machine with the gateway running and nothing in its mailbox."""
    machine.configure(lambda _: None)
    machine.do("reset-failed", check=False)
    machine.do("start")
    for entry in machine.systemd.path(MAILDIR).glob("*"):
        entry.unlink()
    yield machine
    print(machine.log)  # noqa: T201 - shown beside a test that fails
    machine.do("stop")
    machine.systemd.path(LOG).write_text("")


def _send(box: Box, way: str, content: bytes) -> None:
    context = ssl.create_default_context(cadata=box.systemd.path(f"{HOME}/certs/proxy-authority.pem").read_text())
    context.check_hostname = False

    def send() -> None:
        if way == "smtps":
            client: smtplib.SMTP = smtplib.SMTP_SSL(HOST, 465, "client.test", timeout=30, context=context)
        else:
            client = smtplib.SMTP(HOST, 25, "client.test", timeout=30)
            client.starttls(context=context)
        with client:
            client.sendmail("a@client.test", ["b@example.test"], content)

    box.inside(send)


def test_it_serves_with_the_two_rights_that_it_needs_and_no_other(box: Box) -> None:
    assert box.serves(generation=1)
    status = box.systemd.path(f"/proc/{box.shown('MainPID')}/status").read_text()
    facts = dict(re.findall(r"^(\w+):\t(.*)$", status, re.MULTILINE))
    uid = box.systemd.run("id", "-u", "smtpproxy").stdout.strip()
    assert facts["Uid"].split() == [uid] * 4
    for name in ("CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(facts[name], 16) == CAPABILITIES
    assert (facts["NoNewPrivs"], facts["Seccomp"]) == ("1", "2")
    contents = {way: b"Subject: x\r\n\r\nover %b\r\n" % way.encode() for way in ("starttls", "smtps")}
    for way, content in contents.items():
        _send(box, way, content)
    assert sorted(box.messages) == sorted(contents.values())


def test_a_restart_refuses_and_stalls_nobody(box: Box) -> None:
    newcomers = Newcomers(25, box.network)
    newcomers.over(lambda: box.do("restart"))
    assert newcomers.failures == []
    assert newcomers.slowest_s < SLACK_S
    assert sorted(box.messages) == sorted(newcomers.sent)
    assert box.shown("NFileDescriptorStore") == str(2 * box.processes)
    wait_until(lambda: box.taken_up == 2 * box.processes, "every process has taken its sockets up")


def test_a_crash_is_mended_and_connections_wait_for_it(box: Box) -> None:
    before = box.shown("MainPID")

    def wait_for_the_next() -> None:
        while not is_served():
            pass

    def is_served() -> bool:
        """A worker that is left over may still have one, and tell it to come again."""
        try:
            with smtplib.SMTP(HOST, 25, "client.test", timeout=30) as client:
                return client.noop()[0] == 250
        except smtplib.SMTPConnectError as error:
            if error.smtp_code == 421:
                return False
            raise

    box.signal("KILL")
    box.inside(wait_for_the_next)
    assert box.shown("MainPID") not in {before, "0"}
    assert box.shown("NRestarts") == "1"


def test_a_reload_tells_of_its_mistakes_and_changes_nothing_then(box: Box) -> None:
    box.configure(lambda main: main.update(nonsense=True))
    box.do("reload", check=False)
    assert "nonsense: unknown key" in box.log
    assert "reload begun" not in box.log
    box.configure(lambda _: None)
    box.do("reload")
    wait_until(lambda: box.serves(generation=2), "the reload is over")
    assert box.shown("SubState") == "running"


def test_a_gateway_that_hangs_is_ended_and_started_anew(box: Box) -> None:
    before = box.shown("MainPID")
    box.signal("STOP")
    wait_until(lambda: box.shown("Result") == "watchdog" or box.shown("MainPID") not in {before, "0"}, "systemd acts")
    wait_until(lambda: box.shown("SubState") == "running" and box.shown("MainPID") != before, "a new one serves")


def test_a_mistake_in_the_configuration_is_not_tried_again(box: Box) -> None:
    box.do("stop")
    box.configure(lambda main: main.update(nonsense=True))
    box.do("start", check=False)
    assert (box.shown("ActiveState"), box.shown("ExecMainStatus"), box.shown("NRestarts")) == ("failed", "78", "0")
    box.do("reset-failed")


def test_connections_to_other_addresses_may_be_taken(box: Box) -> None:
    box.do("stop")
    box.configure(lambda main: main["interception"].update(mode="tproxy", listen=["0.0.0.0"]))  # noqa: S104
    box.do("start")
    assert box.serves(generation=1)


def test_a_socket_unit_starts_it_and_keeps_who_waits(box: Box) -> None:
    box.do("stop")
    box.configure(lambda main: main["interception"].update(listen=["0.0.0.0", "::"]))  # noqa: S104
    box.do("start", "smtpproxy.socket")
    try:
        assert box.shown("ActiveState") == "inactive"
        _send(box, "starttls", b"Subject: x\r\n\r\nby activation\r\n")
        assert box.messages == [b"Subject: x\r\n\r\nby activation\r\n"]
        wait_until(lambda: box.taken_up == 4 * box.processes, "every process has taken its sockets up")
        newcomers = Newcomers(25, box.network)
        newcomers.over(lambda: box.do("restart"))
        assert newcomers.failures == []
        assert box.shown("NFileDescriptorStore") == "0"
    finally:
        box.do("stop", "smtpproxy.socket")


def _stands_in_the_path(on_stop: str) -> Callable[[dict[str, Any]], None]:
    def change(main: dict[str, Any]) -> None:
        main["interception"].update(mode="tproxy", listen=["0.0.0.0"], on_stop=on_stop)  # noqa: S104

    return change


def _restart(box: Box, change: Callable[[dict[str, Any]], None]) -> None:
    box.do("stop")
    box.configure(change)
    box.do("start")


def test_a_table_that_blocks_outlives_the_gateway(box: Box) -> None:
    assert not box.has_table  # nothing is to be redirected
    _restart(box, _stands_in_the_path("block"))
    try:
        assert box.has_table
        box.do("stop")
        assert box.has_table
        assert "on_stop: block: the table stays" in box.log
    finally:
        box.configure(lambda _: None)
        box.do("start")
    assert not box.has_table


def test_a_table_that_lets_pass_goes_with_the_gateway(box: Box) -> None:
    _restart(box, _stands_in_the_path("pass"))
    assert box.has_table
    box.do("stop")
    assert not box.has_table


def test_a_table_that_lets_pass_goes_with_a_gateway_that_crashed_for_good(box: Box) -> None:
    _restart(box, _stands_in_the_path("pass"))
    box.configure(lambda main: main.update(nonsense=True))
    box.signal("KILL")
    wait_until(lambda: box.shown("ActiveState") == "failed", "it cannot be started again")
    assert not box.has_table
    box.configure(_stands_in_the_path("pass"))
    box.do("reset-failed")


def test_a_gateway_that_crashed_has_its_table_again(box: Box) -> None:
    _restart(box, _stands_in_the_path("pass"))
    before = box.shown("MainPID")
    box.signal("KILL")
    wait_until(lambda: box.shown("MainPID") not in {before, "0"}, "a new one begins")
    wait_until(lambda: box.shown("SubState") == "running", "it serves")
    assert box.has_table
    assert "on_stop: pass: removed" in box.log


def test_a_reload_tells_the_kernel_too(box: Box) -> None:
    box.configure(_stands_in_the_path("pass"))
    box.do("reload")
    assert box.has_table
    box.configure(lambda _: None)
    box.do("reload")
    assert not box.has_table


def test_a_table_that_blocks_is_there_before_the_network(box: Box) -> None:
    box.do("stop")
    box.configure(_stands_in_the_path("pass"))
    box.do("start", FIREWALL)
    assert not box.has_table
    box.configure(_stands_in_the_path("block"))
    box.do("restart", FIREWALL)
    assert box.has_table
    assert box.shown("ActiveState") == "inactive"
    box.do("stop", FIREWALL)
    box.systemd.run("/opt/smtpproxy/bin/smtpproxy", "firewall", "remove")


@pytest.mark.parametrize("verb", ["restart", "reload"])
@pytest.mark.parametrize("on_stop", ["block", "pass"])
def test_the_table_comes_back_when_nftables_has_thrown_it_away(box: Box, verb: str, on_stop: str) -> None:
    box.do("start", "nftables")
    _restart(box, _stands_in_the_path(on_stop))
    box.do("start", FIREWALL)
    box.systemd.run("nft", "flush", "ruleset")
    box.do(verb, "nftables")
    wait_until(lambda: box.has_table, "the table is there again")
    box.systemd.run("/opt/smtpproxy/bin/smtpproxy", "firewall", "check", "-c", MAIN_FILE)
    for unit in ("nftables", FIREWALL):
        box.do("stop", unit)


def test_the_units_are_well_formed_and_leave_little_exposed(box: Box) -> None:
    for unit in ("smtpproxy.service", "smtpproxy-firewall.service", "smtpproxy.socket"):
        verified = box.systemd.run("systemd-analyze", "verify", f"/etc/systemd/system/{unit}")
        assert verified.stdout + verified.stderr == ""
    box.systemd.run(
        *("systemd-analyze", "security", "--offline=true", f"--threshold={EXPOSURE}"),
        "/media/project/deploy/smtpproxy.service",
    )


def test_keepalived_and_haproxy_understand_their_examples(box: Box) -> None:
    box.systemd.run("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "eth1")
    checked = box.systemd.run("keepalived", "-t", "-f", "/media/project/deploy/keepalived/keepalived.conf")
    assert checked.stdout + checked.stderr == ""
    box.systemd.run("haproxy", "-c", "-f", "/media/project/deploy/haproxy/haproxy.cfg")
