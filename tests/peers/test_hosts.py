"""How many questions one domain asks at a time."""

from __future__ import annotations

from typing import cast

import dns.rdata
from dns.rdataclass import IN
from dns.rdatatype import RdataType
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock

from smtpproxy.peers.hosts import HOSTS_AT_A_TIME, Found, Hosts
from smtpproxy.peers.messages import Question, Resolution
from smtpproxy.peers.resolver import Resolver
from smtpproxy.policy.knowledge import Answer

DOMAIN = "example.com"


class SlowServers:
    """Answers for the mail exchangers at once, for their addresses when the test says so."""

    def __init__(self, hosts: int) -> None:
        self.names = [f"mx{number}.example.com" for number in range(hosts)]
        self.waiting: list[Deferred[Resolution]] = []
        self.timeout_s = 5.0

    def resolve(self, question: Question) -> Deferred[Resolution]:
        if question.kind is RdataType.MX:
            records = tuple(dns.rdata.from_text(IN, RdataType.MX, f"10 {name}.") for name in self.names)
            return succeed(Resolution(Answer.FOUND, name=DOMAIN, records=records))
        self.waiting.append(Deferred())
        return self.waiting[-1]


def test_a_domain_with_many_slow_mail_exchangers_takes_few_turns() -> None:
    servers, found = SlowServers(20), list[Found]()
    Deferred.fromCoroutine(Hosts(Clock(), cast("Resolver", servers)).find(DOMAIN, None)).addCallback(found.append)
    asked = 0
    while servers.waiting:
        assert len(servers.waiting) <= 2 * HOSTS_AT_A_TIME
        asked += 1
        servers.waiting.pop(0).callback(Resolution(Answer.ABSENT))
    assert asked == 2 * len(servers.names)
    assert [host.name for host in found[0].knowledge.hosts] == sorted(servers.names)
