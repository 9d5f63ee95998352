"""``smtpproxy firewall`` as it is typed, in a network of its own: what it says, what it does, and how it ends."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import IO, Final

import pytest

from tests.firewall.namespaces import WAIT_S, Row, everything

PROGRAM: Final = Path(sys.executable).with_name("smtpproxy")
CONFIGURATION: Final = "config/smtpproxy.yaml"
RULE: Final = ("pref", "465", "fwmark", "0x8000000/0xc000000", "lookup", "25465")
_LIMIT_S: Final = 60.0
_INSIDE: Final = ("--inside", "10.9.0.0/24", "--inside", "fd09::/64")
_WITHOUT_PROGRAMS: Final = (
    *("unshare", "--mount", "sh", "-c", 'mount -t tmpfs tmpfs /usr/sbin && PATH=/nonexistent exec "$@"', "sh"),
)
_WITHOUT_THE_RIGHT: Final = ("setpriv", "--bounding-set", "-net_admin")

# Says which signals come, and ends with 3 at the last of them.
_LISTENER: Final = """
import signal, sys
numbers = [signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM]
signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
print("ready", flush=True)
while True:
    came = signal.sigwait(numbers)
    print(signal.Signals(came).name, flush=True)
    if came == signal.SIGTERM:
        sys.exit(3)
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("made") / "gateway"
    subprocess.run([PROGRAM, "init", *_INSIDE, home], check=True, capture_output=True, timeout=_LIMIT_S)
    return home


class Box:
    """The gateway's machine, with a configuration.

    Args:
        row: where it stands.
        home: the folder of the configuration.
    """

    def __init__(self, row: Row, home: Path) -> None:
        self.machine = row.gateway
        self.home = home

    def edit(self, before: str, after: str) -> None:
        """Write something else into the configuration."""
        file = self.home / CONFIGURATION
        text = file.read_text()
        assert before in text
        file.write_text(text.replace(before, after))

    def firewall(self, *words: str | Path, under: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
        """Run the command to its end."""
        command = [*under, PROGRAM, "firewall", *words]
        with self.machine.entered():
            return subprocess.run(command, cwd=self.home, capture_output=True, text=True, timeout=_LIMIT_S, check=False)

    def start(self, *words: str | Path) -> subprocess.Popen[str]:
        """Begin to run it."""
        with self.machine.entered():
            return subprocess.Popen(
                [PROGRAM, "firewall", *words],
                cwd=self.home,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )

    @property
    def everything(self) -> tuple[str, ...]:
        return everything(self.machine)

    @property
    def has_table(self) -> bool:
        return "table inet smtpproxy" in self.machine.run("nft", "list", "tables")


@pytest.fixture
def box(row: Row, made: Path, tmp_path: Path) -> Box:
    home = tmp_path / "gateway"
    shutil.copytree(made, home)
    return Box(row, home)


def test_apply_twice_changes_nothing_and_remove_leaves_nothing(box: Box) -> None:
    before = box.everything
    first = box.firewall("apply")
    assert (first.returncode, first.stderr) == (0, NOTICES)
    assert first.stdout == "applied: mode tproxy, 2 policies, ports 25, 465, on_stop: block\n"
    applied = box.everything
    second = box.firewall("apply")
    assert (second.returncode, second.stdout, second.stderr) == (0, first.stdout, first.stderr)
    assert box.everything == applied != before
    for _ in range(2):
        removed = box.firewall("remove")
        assert (removed.returncode, removed.stdout) == (0, "removed: the table, its rules and its routes\n")
        assert box.everything == before


NOTICES: Final = "".join(
    f"notice: policy 'Inbound mail': who dials {host}, this machine itself, is told 421\n"
    for host in ("10.9.0.1", "fd09::1")
)


def test_what_is_printed_does_what_apply_does(box: Box) -> None:
    printed = box.firewall("print", under=_WITHOUT_THE_RIGHT)
    assert (printed.returncode, printed.stderr) == (0, "")
    box.machine.run("sh", "-ec", printed.stdout)
    by_hand = box.everything
    assert box.firewall("check").stdout == f"{NOTICES}ok: mode tproxy, 2 policies, ports 25, 465, on_stop: block\n"
    box.firewall("remove")
    box.firewall("apply")
    assert box.everything == by_hand


def test_print_for_programs(box: Box) -> None:
    document = json.loads(box.firewall("print", "--format", "json").stdout)
    assert (document["mode"], document["on_stop"]) == ("tproxy", "block")
    assert document["nft"] in box.firewall("print").stdout
    assert ["ip", "-6", "rule", "add", *RULE] in document["ip"]


_FORWARD: Final = "type filter hook forward priority filter; policy"

NFT_DIFFERENCES: Final = {
    "delete table inet smtpproxy": ["the table inet smtpproxy is missing"],
    "add element inet smtpproxy policy_1_source_4 { 10.8.0.0/24 }": [
        "the set policy_1_source_4 has 10.8.0.0/24 besides"
    ],
    "delete element inet smtpproxy policy_1_source_4 { 10.9.0.0/24 }": ["the set policy_1_source_4 lacks 10.9.0.0/24"],
    "add set inet smtpproxy friends { type ipv4_addr; }": ["the set friends is not wanted"],
    "add counter inet smtpproxy visits": ["the table has the counter visits, which is not wanted"],
    "add chain inet smtpproxy own": ["the chain own is not wanted"],
    "flush chain inet smtpproxy blocked": ["the chain blocked lacks the rule 'counter drop'"],
    "insert rule inet smtpproxy intercept accept": ["the chain intercept has the rule 'accept' besides"],
    "add chain inet smtpproxy forward { policy drop; }": [
        f"the chain forward has '{_FORWARD} drop;' instead of '{_FORWARD} accept;'"
    ],
    "flush chain inet smtpproxy forward; delete chain inet smtpproxy forward": ["the chain forward is missing"],
    "flush chain inet smtpproxy divert; "
    "add rule inet smtpproxy divert socket transparent 1 meta mark set meta mark & 0xf3ffffff | 0x08000000 accept; "
    "add rule inet smtpproxy divert socket wildcard 1 return": ["the chain divert has its rules in another order"],
    "add table inet smtpproxy { flags dormant; }": [
        "the table has something that nft cannot list, such as a flag, which is not wanted"
    ],
}


@pytest.mark.parametrize(("command", "differences"), NFT_DIFFERENCES.items())
def test_each_difference_of_the_table_is_said(box: Box, command: str, differences: list[str]) -> None:
    box.firewall("apply")
    box.machine.run("nft", command)
    _says_and_mends(box, differences)


IP_DIFFERENCES: Final = {
    ("rule", "del", *RULE): "rule: pref 465 fwmark 0x8000000/0xc000000 lookup 25465 is missing",
    ("rule", "add", "pref", "99", "lookup", "25465"): "rule: pref 99 lookup 25465 is not wanted",
    ("route", "flush", "table", "25465"): "route: local default dev lo table 25465 is missing",
    ("route", "add", "blackhole", "default", "metric", "9", "table", "25465"): (
        "route: blackhole default dev lo table 25465 is not wanted"
    ),
}


@pytest.mark.parametrize("version", ["4", "6"])
@pytest.mark.parametrize(("words", "difference"), IP_DIFFERENCES.items())
def test_each_difference_of_routing_is_said(box: Box, words: tuple[str, ...], difference: str, version: str) -> None:
    box.firewall("apply")
    box.machine.ip(f"-{version}", *words)
    wanted = f"ip -{version} {difference}"
    _says_and_mends(
        box, [wanted if version == "6" else wanted.replace("blackhole default dev lo", "blackhole default")]
    )


def _says_and_mends(box: Box, differences: list[str]) -> None:
    checked = box.firewall("check")
    assert checked.returncode == 65
    assert checked.stdout == "".join(f"difference: {each}\n" for each in differences) + NOTICES
    assert checked.stderr == "make them vanish with: smtpproxy firewall apply\n"
    document = json.loads(box.firewall("check", "--format", "json").stdout)
    assert document["differences"] == differences
    assert [each["fault"] for each in document["findings"]] == [False, False]
    assert box.firewall("apply").returncode == 0
    assert box.firewall("check").returncode == 0


def test_a_fault_of_the_machine_is_a_status_too(box: Box) -> None:
    box.firewall("apply")
    box.machine.parameter("net.ipv4.tcp_fwmark_accept", 1)
    try:
        checked = box.firewall("check")
        document = json.loads(box.firewall("check", "--format", "json").stdout)
    finally:
        box.machine.parameter("net.ipv4.tcp_fwmark_accept", 0)
    assert checked.returncode == 65
    assert "fault: net.ipv4.tcp_fwmark_accept is 1: " in checked.stdout
    assert "ok: " not in checked.stdout
    assert document["differences"] == []
    assert any(each["fault"] for each in document["findings"])


@pytest.mark.parametrize("on_stop", ["block", "pass"])
def test_stop_does_what_the_table_says(box: Box, on_stop: str) -> None:
    box.edit("on_stop: block", f"on_stop: {on_stop}")
    before = box.everything
    assert box.firewall("stop").stdout == "nothing was applied\n"
    box.firewall("apply")
    applied = box.everything
    (box.home / CONFIGURATION).write_text("no configuration")
    stopped = box.firewall("stop")
    assert (stopped.returncode, stopped.stderr) == (0, "")
    assert stopped.stdout.startswith(f"on_stop: {on_stop}: ")
    assert box.everything == (applied if on_stop == "block" else before)


@pytest.mark.parametrize("way_out", ["apply", "remove"])
def test_a_table_that_cannot_be_read_stays_until_somebody_decides(box: Box, way_out: str) -> None:
    box.firewall("apply")
    box.machine.run("nft", "add table inet smtpproxy { flags dormant; }")
    stopped = box.firewall("stop")
    assert (stopped.returncode, stopped.stdout) == (69, "")
    said = "the table has something that nft cannot list, such as a flag; apply or remove it"
    assert stopped.stderr == f"smtpproxy: {said}\n"
    assert box.has_table
    assert box.firewall(way_out).returncode == 0
    assert box.firewall("stop").returncode == 0


@pytest.mark.parametrize("command", ["print", "apply", "check", "run"])
def test_a_broken_configuration_is_status_78_and_changes_nothing(box: Box, command: str) -> None:
    box.firewall("apply")
    applied = box.everything
    box.edit("on_stop: block", "on_stop: perhaps")
    words = ("--", "touch", box.home / "started") if command == "run" else ()
    ended = box.firewall(command, *words)
    assert (ended.returncode, ended.stdout) == (78, "")
    assert "interception.on_stop" in ended.stderr
    assert box.everything == applied
    assert not (box.home / "started").exists()


COMMANDS: Final = [("apply",), ("check",), ("remove",), ("stop",), ("run", "--", "touch", "started")]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
@pytest.mark.parametrize(
    ("under", "status", "said"),
    [
        (_WITHOUT_THE_RIGHT, 77, "it takes CAP_NET_ADMIN, so run this as root"),
        (_WITHOUT_PROGRAMS, 69, r"(ip|nft) is not installed; on Debian: apt install (iproute2|nftables)"),
    ],
    ids=["77", "69"],
)
def test_without_right_or_program(
    box: Box, command: tuple[str, ...], under: tuple[str, ...], status: int, said: str
) -> None:
    before = box.everything
    ended = box.firewall(*command, under=under)
    if (command, status) == (("stop",), 69):  # a gateway that needs no help of the kernel has these neither
        assert (ended.returncode, ended.stderr) == (0, "")
    else:
        assert (ended.returncode, ended.stdout) == (status, "")
        assert re.search(said, ended.stderr)
        assert "Traceback" not in ended.stderr
    assert box.everything == before
    assert not (box.home / "started").exists()


def _dial_the_gateway(box: Box) -> None:
    """Have nothing wanted of the kernel."""
    for before, after in (
        ("mode: tproxy", "mode: explicit"),
        ("source_address: client", "source_address: gateway"),
        ("upstream: original_destination", "upstream: {host: mx.example.net}"),
    ):
        box.edit(before, after)


def test_where_nothing_is_wanted_no_program_has_to_be_there(box: Box) -> None:
    _dial_the_gateway(box)
    for command in ("apply", "stop"):
        ended = box.firewall(command, under=_WITHOUT_PROGRAMS)
        assert ended.returncode == 0, ended.stderr


def test_another_mode_has_what_is_not_wanted_removed(box: Box) -> None:
    before = box.everything
    box.firewall("apply")
    _dial_the_gateway(box)
    checked = box.firewall("check")
    assert checked.returncode == 65
    assert "difference: the table inet smtpproxy is there, and the configuration wants none\n" in checked.stdout
    assert box.firewall("apply").returncode == 0
    assert box.everything == before


def _line(stream: IO[str] | None) -> str:
    assert stream is not None
    return stream.readline().strip()


@pytest.mark.parametrize("on_stop", ["block", "pass"])
def test_run_passes_signals_on_and_then_does_what_on_stop_says(box: Box, on_stop: str) -> None:
    box.edit("on_stop: block", f"on_stop: {on_stop}")
    with box.start("run", "--", sys.executable, "-c", _LISTENER) as running:
        try:
            assert _line(running.stdout) == "ready"
            assert box.firewall("check").returncode == 0
            for name in ("HUP", "INT", "QUIT", "USR1", "USR2", "TERM"):
                running.send_signal(signal.Signals[f"SIG{name}"])
                assert _line(running.stdout) == f"SIG{name}"
            _, said = running.communicate(timeout=WAIT_S)
        finally:
            running.terminate()
    assert running.returncode == 3
    assert said.startswith(f"on_stop: {on_stop}: ")
    assert box.has_table is (on_stop == "block")


def test_run_ends_as_what_it_ran(box: Box) -> None:
    box.edit("on_stop: block", "on_stop: pass")
    assert box.firewall("run", "--", "sh", "-c", "exit 7").returncode == 7
    assert box.firewall("run", "--", "sh", "-c", "kill -KILL $$").returncode == 128 + signal.SIGKILL
    missing = box.firewall("run", "--", "/nonexistent/twistd", "--nodaemon")
    assert missing.returncode == 69
    assert missing.stderr.splitlines() == [
        "on_stop: pass: removed",
        "smtpproxy: /nonexistent/twistd: No such file or directory",
    ]
    assert not box.has_table


def test_run_tells_of_a_table_that_it_cannot_read_at_the_end(box: Box) -> None:
    ended = box.firewall("run", "--", "nft", "add table inet smtpproxy { flags dormant; }")
    assert ended.returncode == 69
    assert "apply or remove it" in ended.stderr
    assert box.has_table
