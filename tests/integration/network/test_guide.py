"""docs/gateway.md, followed word for word: from a bare Debian box with two interfaces to inspected mail."""

from __future__ import annotations

import json
import re
import shutil
import ssl
import subprocess
from contextlib import ExitStack
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.firewall import namespaces
from tests.integration.lab import pages, postfix, systemd
from tests.integration.lab.client import MODES, Mode
from tests.integration.lab.laboratory import trusting
from tests.integration.lab.ports import wait_until
from tests.integration.lab.postfix_instance import Place
from tests.integration.network import bare_box, topology
from tests.integration.network.bare_box import BareBox
from tests.integration.network.clients import Client
from tests.integration.network.topology import CLIENT, ONE, OUTSIDE, VERSIONS, Addresses, Network

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.integration.lab.laboratory import Authorities

PAGE: Final = systemd.PROJECT / "docs" / "gateway.md"
RECORDS: Final = "/var/lib/smtpproxy/records.jsonl"
EXPORTED: Final = "smtp-proxy-authority.pem"

# The page sends mail to example.net; there is no DNS on these machines.
_MAIN_CF: Final = f"virtual_mailbox_domains = example.net {postfix.DOMAIN}\nsmtpd_peername_lookup = no\n"

SERVES: Final = re.compile(r"serving: (\d+ workers, )?0 sessions, generation 1")  # one process on a single core


@dataclass(frozen=True)
class Walk:
    """What there is when the ten commands have been typed.

    Args:
        network: the machines.
        box: the gateway's.
        server: the mail server at `ONE`, as it would be without any gateway.
        folder: the client's.
        internet: who trusts what is trusted everywhere.
        typed: each command, and how it ended.
    """

    network: Network
    box: BareBox
    server: postfix.Postfix
    folder: Path
    internet: ssl.SSLContext
    typed: list[tuple[pages.Step, subprocess.CompletedProcess[str]]]

    @property
    def trusting(self) -> ssl.SSLContext:
        """What a client has that was given the exported certificate, and trusts nothing else."""
        return ssl.create_default_context(cafile=str(self.folder / EXPORTED))

    @property
    def records(self) -> list[dict[str, Any]]:
        path = self.box.path(RECORDS)
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def type(self, step: pages.Step) -> subprocess.CompletedProcess[str]:
        """Have a step done where it says."""
        if step.where == "gateway":
            return self.box.run(step.command)
        with self.network.client.entered():
            return subprocess.run(
                ["sh", "-c", f"exec 2>&1; {step.command}"],
                cwd=self.folder,
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )

    def follow(self, section: str) -> None:
        """Do what a section says; each command must do what it is said to."""
        for step in pages.steps(PAGE)[section]:
            judge(step, self.type(step))

    def transaction(self, queue_id: str) -> dict[str, Any]:
        """Return the record of a message that a server took."""

        def found() -> list[dict[str, Any]]:
            messages = [each for each in self.records if each["record"] == "transaction"]
            return [each for each in messages if queue_id in json.dumps(each)]

        wait_until(lambda: bool(found()), "the message is on record")
        (record,) = found()
        return record


def judge(step: pages.Step, ended: subprocess.CompletedProcess[str]) -> None:
    assert ended.returncode == 0, f"{step.command}\n{ended.stdout}"
    assert step.agrees_with(ended.stdout), f"{step.command}\n{ended.stdout}"


def mail_server(authorities: Authorities, machine: namespaces.Namespace, addresses: Addresses) -> postfix.Postfix:
    place = Place("all", "all", (25, 465), machine.entered, _MAIN_CF)
    return postfix.make(authorities.internet, names=(postfix.NAME, *addresses.values()), place=place)


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory, authorities: Authorities) -> Iterator[Walk]:
    if reason := namespaces.why_not() or postfix.why_not() or systemd.why_not() or bare_box.why_not():
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("guide")
    with ExitStack() as stack:
        network = topology.make()
        stack.callback(topology.remove, network)
        server = mail_server(authorities, network.one, ONE)
        stack.callback(server.close)
        box = BareBox(network.active, folder, authorities.internet)
        stack.callback(box.close)
        made = Walk(network, box, server, folder, trusting(authorities.internet), [])
        made.typed.extend((step, made.type(step)) for step in pages.steps(PAGE)["Ten commands"])
        shutil.copy(box.path(f"/root/{EXPORTED}"), folder)
        yield made


def host(endpoint: str) -> str:
    """Return the address of ``address:port``."""
    return str(ip_address(endpoint.rpartition(":")[0].strip("[]")))


def test_ten_commands_do_what_is_said_of_them(walk: Walk) -> None:
    assert len(walk.typed) == 10
    for step, ended in walk.typed:
        judge(step, ended)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("way", MODES)
def test_mail_is_inspected_and_neither_end_knows(walk: Walk, way: Mode, version: int) -> None:
    queue_id = Client(walk.network.client, walk.trusting).deliver(ONE[version], way)
    assert f"{queue_id}: client=unknown[{CLIENT[version]}]" in walk.server.log
    record = walk.transaction(queue_id)
    assert host(record["client"]) == CLIENT[version]
    assert host(record["destination"]) == host(record["upstream"]) == ONE[version]
    assert record["inspected"] == "yes"
    assert (record["client_tls"] is None) is (way == "clear")
    assert record["upstream_tls"]["version"] == "TLSv1.3"


@pytest.mark.parametrize("way", ["starttls", "smtps"])
def test_who_trusts_only_servers_sees_that_somebody_is_there(walk: Walk, way: Mode) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        Client(walk.network.client, walk.internet).connect(ONE[4], way)


@pytest.mark.parametrize("version", VERSIONS)
def test_mail_from_outside_is_inspected_too(walk: Walk, authorities: Authorities, version: int) -> None:
    inside = mail_server(authorities, walk.network.client, CLIENT)
    try:
        context = walk.trusting
        context.check_hostname = False  # an address is dialled, and the certificate is for the gateway's name
        queue_id = Client(walk.network.one, context).deliver(CLIENT[version], "starttls")
        assert f"{queue_id}: client=unknown[{ONE[version]}]" in inside.log
    finally:
        inside.close()
    record = walk.transaction(queue_id)
    assert (host(record["client"]), host(record["destination"])) == (ONE[version], CLIENT[version])
    assert record["policy"] == "Inbound mail"


def test_a_box_that_masquerades_goes_on_doing_so(walk: Walk) -> None:
    machine = walk.network.active
    machine.run(
        "nft",
        "add table ip own { chain out { type nat hook postrouting priority srcnat; oifname outside masquerade; }; }",
    )
    try:
        for way in MODES:
            queue_id = Client(walk.network.client, walk.trusting).deliver(ONE[4], way)
            assert f"{queue_id}: client=unknown[{OUTSIDE['active'][4]}]" in walk.server.log
            assert host(walk.transaction(queue_id)["client"]) == CLIENT[4]
    finally:
        machine.run("nft", "delete table ip own")


@pytest.mark.skipif(shutil.which("swaks") is None, reason="swaks is not installed")
def test_a_message_that_the_page_sends_is_found_where_it_says(walk: Walk) -> None:
    walk.follow("Send a message")


def test_what_the_page_looks_at_when_nothing_arrives(walk: Walk) -> None:
    walk.follow("When nothing arrives")


def test_the_units_bring_the_table_back(walk: Walk) -> None:
    units = "smtpproxy-firewall smtpproxy"
    assert walk.box.run(f"systemctl is-enabled {units}").stdout == "enabled\nenabled\n"
    applied = ours(walk.network.active)
    assert walk.box.run(f"systemctl stop {units}").returncode == 0
    assert ours(walk.network.active) == applied, "on_stop: block"
    for _ in range(2):
        assert walk.box.run("smtpproxy firewall remove").returncode == 0  # as the next boot finds it
        assert walk.box.run(f"systemctl restart {units}").returncode == 0
        assert ours(walk.network.active) == applied
    queue_id = Client(walk.network.client, walk.trusting).deliver(ONE[4], "starttls")
    walk.transaction(queue_id)


def ours(machine: namespaces.Namespace) -> tuple[str, ...]:
    """Return all that the firewall and routing have, without what was counted."""
    rules = [machine.ip(family, "rule", "show") for family in ("-4", "-6")]
    routes = [machine.ip(family, "route", "show", "table", "all", "type", "local") for family in ("-4", "-6")]
    return (machine.run("nft", "--stateless", "list", "ruleset"), *rules, *routes)


def test_it_goes_out_of_the_path_and_comes_back(walk: Walk) -> None:
    applied = ours(walk.network.active)
    walk.follow("Out of the path")
    try:
        for way in MODES:
            queue_id = Client(walk.network.client, walk.internet).deliver(ONE[4], way)
            assert f"{queue_id}: client=unknown[{CLIENT[4]}]" in walk.server.log
        left = ours(walk.network.active)
        assert left[0] == ""
        assert "25465" not in "".join(left)
        assert walk.box.run("ls /etc/systemd/system/*.wants/smtpproxy*").returncode != 0
    finally:
        walk.follow("And back")
    assert ours(walk.network.active) == applied
    queue_id = Client(walk.network.client, walk.trusting).deliver(ONE[4], "smtps")
    walk.transaction(queue_id)


def test_the_steps_of_deploy_lead_to_a_gateway_too(walk: Walk) -> None:
    walk.follow("Out of the path")
    assert walk.box.run("rm -r /opt/smtpproxy /etc/smtpproxy /etc/sysctl.d/60-smtpproxy.conf").returncode == 0
    assert walk.box.run("userdel smtpproxy").returncode == 0
    text = (systemd.PROJECT / "deploy" / "README.md").read_text()
    commands = "".join(re.findall(r"^```\n(.*?)^```", text, re.MULTILINE | re.DOTALL)).splitlines()
    for command in (each for each in commands if not each.startswith("editor ")):
        ended = walk.box.run(f"cd {systemd.SOURCES}; {command}")
        assert ended.returncode == 0, f"{command}\n{ended.stdout}"
    assert SERVES.search(walk.box.run("systemctl status smtpproxy").stdout)
