from __future__ import annotations

from ipaddress import ip_network
from time import process_time

from smtpproxy.policy.entries import Entries
from smtpproxy.policy.rules import Audience, EncryptionRule, Mode, RecipientEncryption
from smtpproxy.policy.shadowing import clients_may_meet, networks_cover, shadows, taken


def rule(name: str, to: str, recipient: str = "required", mode: Mode = Mode.ENFORCE) -> EncryptionRule:
    audience = Audience(to=Entries.of(to.split()))
    return EncryptionRule(name, recipient=RecipientEncryption(recipient), audience=audience, mode=mode)


def test_one_that_takes_all_is_named_alone() -> None:
    rules = [
        rule("a", "a.example"),
        rule("b", "b.example"),
        rule("all", "a.example b.example"),
        rule("c", "a.example b.example"),
    ]
    assert [each.name for each in shadows(rules, 3)] == ["all"]
    assert [each.name for each in shadows(rules, 2)] == ["a", "b"]
    assert shadows(rules, 1) == []


def test_a_monitor_takes_nothing() -> None:
    rules = [rule("a", "*", mode=Mode.MONITOR), rule("b", "b.example")]
    assert shadows(rules, 1) == []
    assert taken(rules, 1) == []


def test_the_first_that_takes_an_entry_is_blamed() -> None:
    rules = [
        rule("a", "x.example"),
        rule("b", "x.example y.example", "dane"),
        rule("c", "x.example y.example z.example", "none"),
    ]
    found = [(other.name, sorted(map(str, entries))) for other, entries in taken(rules, 2)]
    assert found == [("a", ["x.example"]), ("b", ["y.example"])]


def test_networks() -> None:
    ten = (ip_network("10.0.0.0/8"),)
    assert networks_cover(None, ten)
    assert networks_cover(None, None)
    assert not networks_cover(ten, None)
    assert networks_cover((ip_network("10.0.0.0/9"), ip_network("10.128.0.0/9")), ten)
    assert not networks_cover(ten, (ip_network("10.0.0.0/8"), ip_network("::/0")))
    inside, v6 = Audience(client=(ip_network("10.1.0.0/16"),)), Audience(client=(ip_network("2001:db8::/32"),))
    assert clients_may_meet(Audience(client=ten), inside)
    assert not clients_may_meet(Audience(client=ten), v6)
    assert clients_may_meet(Audience(), v6)


def test_a_long_list_costs_little_beside_reading_it() -> None:
    texts = [f"{number}.example" for number in range(50_000)]
    begin = process_time()
    lists = [Entries.of(texts) for _ in range(4)]
    read = process_time() - begin
    rules = [EncryptionRule(str(number), audience=Audience(to=each)) for number, each in enumerate(lists)]
    begin = process_time()
    assert [len(shadows(rules, number)) for number in range(4)] == [0, 1, 1, 1]
    assert process_time() - begin < 10 * read
