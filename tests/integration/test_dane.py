"""DANE for SMTP through the whole gateway: unbound validates, and an upstream shows this certificate or that."""

from __future__ import annotations

import ssl
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.integration.lab.client import connect
from tests.integration.lab.gateway import Gateway, Setup
from tests.integration.lab.laboratory import Lab
from tests.integration.lab.ports import HOST, wait_until
from tests.integration.lab.recorder import RecordingUpstream, Script
from tests.integration.lab.unbound import INSECURE, SIGNED, SLOW, Unbound
from tests.pki import DAY, NOW, Pair, Wanted, make_intermediate, make_leaf, make_root

MX = f"mx.{SIGNED}"
ROOT = make_root()
CHAIN = make_intermediate(ROOT, "Issuing CA")
SERVER = make_leaf(CHAIN, Wanted((MX,)))
STALE = make_leaf(None, Wanted(("elsewhere.test",), not_before=NOW - 20 * DAY, not_after=NOW - 10 * DAY))
OTHER = make_leaf(None)

DANE = {"name": "dane", "recipient": "dane"}
PREFERRED = {"name": "preferred", "recipient": "preferred"}


def public_key(certificate: x509.Certificate) -> bytes:
    return certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def tlsa(usage: int, certificate: x509.Certificate) -> str:
    """A record of a certificate's key, as SHA-256."""
    return f"{usage} 1 1 {sha256(public_key(certificate)).hexdigest()}"


def under_root(leaf: Pair) -> Pair:
    """A leaf whose server sends the root as well, as DANE-TA asks of it."""
    return replace(leaf, issuers=(*leaf.issuers, ROOT.certificate))


@dataclass
class World:
    """A gateway, its upstream, and what is published of it."""

    lab: Lab
    resolver: Unbound
    upstream: RecordingUpstream

    def publish(self, domain: str, *records: str) -> None:
        """Publish a domain with a mail exchanger of its own at the upstream, and TLSA records of that."""
        host = f"mx.{domain}"
        self.resolver.add(domain, "MX", f"10 {host}.")
        self.resolver.add(host, "A", HOST)
        if records:
            self.resolver.add(self.owner(domain), "TLSA", *records)

    def owner(self, domain: str) -> str:
        return f"_{self.upstream.smtp_port}._tcp.mx.{domain}"

    def gateway(self, *rules: Mapping[str, object], dane: str = "ignore") -> Gateway:
        setup = Setup(
            rules=rules or (DANE,),  # type: ignore[arg-type]
            policy={"peer_policies": {"dane": dane}},
            main={"resolver": {"servers": [self.resolver.endpoint], "timeout": "2s"}},
            metrics=True,
        )
        return self.lab.gateway(self.upstream, setup)

    def send(self, gateway: Gateway, domain: str) -> tuple[int, bytes]:
        """Send a message; return the reply to its recipient, and see that it arrived if that was accepted."""
        with connect(gateway, "clear", self.lab.trusting_proxy) as client:
            assert client.mail("a@client.test")[0] == 250
            code, text = client.rcpt(f"b@{domain}")
            if code == 250:
                assert client.data(b"Subject: x\r\n\r\nhello\r\n")[0] == 250
        return code, text[:5]

    def because(self, gateway: Gateway) -> set[str]:
        return {
            recipient["because"]
            for record in gateway.records
            for recipient in record.get("recipients", ())
            if recipient.get("because")
        }


@pytest.fixture
def world(lab: Lab, resolver: Unbound) -> World:
    return World(lab, resolver, lab.showing(SERVER))


ACCEPTED = (250, b"2.0.0")
REFUSED = (450, b"4.7.5")
UNKNOWN = (451, b"4.4.3")


# What a domain publishes, by its name; `insecure` and `slow` are zones of their own.
PUBLISHED: dict[str, Sequence[str]] = {
    "good": (tlsa(3, SERVER.certificate),),
    "wrong": (tlsa(3, OTHER.certificate),),
    "rolling": (tlsa(3, OTHER.certificate), tlsa(3, SERVER.certificate)),
    "unusable": (tlsa(1, SERVER.certificate),),
    "nothing": (),
    "bogus": (tlsa(3, SERVER.certificate),),
    "bogus-mx": (tlsa(3, SERVER.certificate),),
    "bogus-host": (tlsa(3, SERVER.certificate),),
}


@pytest.fixture
def published(world: World) -> World:
    if world.resolver.publishes(f"good.{SIGNED}"):
        return world
    for name, records in PUBLISHED.items():
        world.publish(f"{name}.{SIGNED}", *records)
    world.publish(INSECURE, tlsa(3, SERVER.certificate))
    world.resolver.spoil(world.owner(f"bogus.{SIGNED}"), "TLSA")
    world.resolver.spoil(f"bogus-mx.{SIGNED}", "MX")
    world.resolver.spoil(f"mx.bogus-host.{SIGNED}", "A")
    world.resolver.publish()
    return world


@pytest.mark.parametrize(
    ("domain", "demanded", "honoured"),
    [
        (f"good.{SIGNED}", ACCEPTED, ACCEPTED),
        (f"rolling.{SIGNED}", ACCEPTED, ACCEPTED),
        (f"wrong.{SIGNED}", REFUSED, REFUSED),
        (f"unusable.{SIGNED}", REFUSED, ACCEPTED),
        (f"nothing.{SIGNED}", REFUSED, ACCEPTED),
        (f"none.{SIGNED}", REFUSED, ACCEPTED),
        (f"bogus.{SIGNED}", UNKNOWN, UNKNOWN),
        (f"bogus-mx.{SIGNED}", UNKNOWN, UNKNOWN),
        (f"bogus-host.{SIGNED}", UNKNOWN, UNKNOWN),
        (INSECURE, REFUSED, ACCEPTED),
        (SLOW, UNKNOWN, UNKNOWN),
    ],
)
def test_dane_demanded_and_honoured(
    domain: str, demanded: tuple[int, bytes], honoured: tuple[int, bytes], published: World
) -> None:
    gateway = published.gateway(DANE)
    assert published.send(gateway, domain) == demanded
    gateway = published.gateway(PREFERRED, dane="use")
    assert published.send(gateway, domain) == honoured


def test_a_silent_resolver_keeps_nobody_waiting_for_long(published: World) -> None:
    gateway = published.gateway(DANE)
    begun = time.monotonic()
    assert published.send(gateway, f"really.{SLOW}") == UNKNOWN
    assert time.monotonic() - begun < 4


def test_where_nobody_demands_or_honours_dane_nothing_is_looked_up(published: World) -> None:
    gateway = published.gateway(PREFERRED)
    misses = gateway.metrics["smtpproxy_cache_misses_total", "dns-answers"]
    assert published.send(gateway, f"wrong.{SIGNED}") == ACCEPTED
    assert gateway.metrics["smtpproxy_cache_misses_total", "dns-answers"] == misses


def test_the_record_says_why(published: World) -> None:
    gateway = published.gateway(DANE)
    for domain in (f"unusable.{SIGNED}", f"nothing.{SIGNED}", f"wrong.{SIGNED}", f"wrong.{SIGNED}", INSECURE):
        published.send(gateway, domain)
    wanted = {"dane-mismatched", "dane-unusable", "dane-absent", "dane-insecure"}  # the wrong one is known at last
    wait_until(lambda: published.because(gateway) >= wanted, "the records tell")


def test_of_a_servers_own_certificate_neither_dates_nor_names_nor_issuers_count(world: World) -> None:
    domain = f"stale.{SIGNED}"
    world.publish(domain, tlsa(3, STALE.certificate))
    world.resolver.publish()
    world.lab.showing(STALE)
    assert world.send(world.gateway(DANE), domain) == ACCEPTED


def test_a_key_is_rolled_over_without_a_gap(world: World) -> None:
    domain = f"rollover.{SIGNED}"
    world.publish(domain, tlsa(3, SERVER.certificate), tlsa(3, OTHER.certificate))
    world.resolver.publish()
    gateway = world.gateway(DANE)
    for pair, reply in ((SERVER, ACCEPTED), (OTHER, ACCEPTED), (STALE, REFUSED)):
        world.lab.showing(pair)
        assert world.send(gateway, domain) == reply


def test_below_an_anchor_the_name_counts(world: World) -> None:
    for name in ("named", "other"):
        world.publish(f"{name}.{SIGNED}", tlsa(2, ROOT.certificate))
    world.resolver.publish()
    world.lab.showing(under_root(make_leaf(CHAIN, Wanted((f"mx.named.{SIGNED}",)))))
    gateway = world.gateway(DANE)
    assert [world.send(gateway, f"named.{SIGNED}") for _ in range(3)] == [ACCEPTED] * 3
    assert world.upstream.connections[-1].resumed  # the chain that was sent once is still known
    assert world.send(gateway, f"other.{SIGNED}") == REFUSED


def test_an_anchor_whose_key_is_published_whole_need_not_be_sent(world: World) -> None:
    domain = f"key.{SIGNED}"
    world.publish(domain, f"2 1 0 {public_key(CHAIN.certificate).hex()}")
    world.resolver.publish()
    leaf = make_leaf(CHAIN, Wanted((domain,)))
    world.lab.showing(replace(leaf, issuers=()))
    assert world.send(world.gateway(DANE), domain) == ACCEPTED


def test_an_alias_of_a_mail_exchanger_has_its_records_at_its_end(world: World) -> None:
    world.resolver.add(f"alias.{SIGNED}", "MX", f"10 mx.alias.{SIGNED}.")
    world.resolver.add(f"mx.alias.{SIGNED}", "CNAME", f"end.{SIGNED}.")
    world.resolver.add(f"end.{SIGNED}", "A", HOST)
    world.resolver.add(f"_{world.upstream.smtp_port}._tcp.end.{SIGNED}", "TLSA", tlsa(3, SERVER.certificate))
    world.resolver.publish()
    assert world.send(world.gateway(DANE), f"alias.{SIGNED}") == ACCEPTED


def test_an_alias_into_an_insecure_zone_is_not_secure(world: World) -> None:
    domain = f"leads-away.{SIGNED}"
    world.resolver.add(domain, "MX", f"10 mx.{domain}.")
    world.resolver.add(f"mx.{domain}", "CNAME", f"mx.{INSECURE}.")
    world.resolver.add(world.owner(domain), "TLSA", tlsa(3, SERVER.certificate))
    world.publish(INSECURE, tlsa(3, SERVER.certificate))
    world.resolver.publish()
    gateway = world.gateway(DANE)
    assert world.send(gateway, domain) == REFUSED
    wait_until(lambda: "dane-insecure" in world.because(gateway), "the record tells")


def test_a_domain_without_mx_is_its_own_mail_exchanger(world: World) -> None:
    domain = f"itself.{SIGNED}"
    world.resolver.add(domain, "A", HOST)
    world.resolver.add(f"_{world.upstream.smtp_port}._tcp.{domain}", "TLSA", tlsa(3, SERVER.certificate))
    world.resolver.publish()
    assert world.send(world.gateway(DANE), domain) == ACCEPTED


def test_a_server_that_is_no_mail_exchanger_of_the_domain_is_not_the_right_one(world: World) -> None:
    domain = f"elsewhere.{SIGNED}"
    world.resolver.add(domain, "MX", f"10 mx.{domain}.")
    world.resolver.add(f"mx.{domain}", "A", "127.0.0.99")
    world.resolver.add(world.owner(domain), "TLSA", tlsa(3, SERVER.certificate))
    world.resolver.publish()
    gateway = world.gateway(DANE)
    assert world.send(gateway, domain) == REFUSED
    wait_until(lambda: "dane-no-host" in world.because(gateway), "the record tells")


@pytest.mark.parametrize(
    ("script", "reply"),
    [(Script(starttls=False), (550, b"5.7.4")), (Script(handshake=False), REFUSED)],
    ids=["not offered", "handshake fails"],
)
def test_where_records_are_published_mail_never_goes_in_clear(
    script: Script, reply: tuple[int, bytes], published: World
) -> None:
    upstream = published.lab.showing(SERVER, script)
    gateway = published.gateway(PREFERRED, dane="use")
    assert published.send(gateway, f"good.{SIGNED}") == reply
    assert published.send(gateway, f"unusable.{SIGNED}") == reply
    assert upstream.messages == []
    assert published.send(gateway, f"nothing.{SIGNED}") == ACCEPTED
    assert len(upstream.messages) == 1


def test_recipients_of_one_message_are_judged_each_by_its_domain(published: World) -> None:
    gateway = published.gateway(DANE)
    with connect(gateway, "clear", published.lab.trusting_proxy) as client:
        client.mail("a@client.test")
        replies = [client.rcpt(f"b@{name}.{SIGNED}")[0] for name in ("good", "wrong", "bogus", "rolling")]
        assert replies == [250, 450, 451, 250]
        assert client.data(b"Subject: x\r\n\r\nhello\r\n")[0] == 250
    assert len(published.upstream.messages) == 1


def test_the_same_holds_with_implicit_tls(world: World) -> None:
    for name, certificate in (("implicit", SERVER.certificate), ("implicit-wrong", OTHER.certificate)):
        domain = f"{name}.{SIGNED}"
        world.publish(domain)
        world.resolver.add(f"_{world.upstream.smtps_port}._tcp.mx.{domain}", "TLSA", tlsa(3, certificate))
    world.resolver.publish()
    gateway = world.gateway(DANE)
    with connect(gateway, "smtps", _anybody()) as client:
        client.mail("a@client.test")
        assert client.rcpt(f"b@implicit.{SIGNED}")[0] == 250
        assert client.rcpt(f"b@implicit-wrong.{SIGNED}")[0] == 450


# Names


def names_asked(upstream: RecordingUpstream) -> list[str | None]:
    return [connection.server_name for connection in upstream.connections]


def show_by_name(world: World, name: str) -> None:
    """Show the right certificate only to those who ask for it."""
    world.lab.showing(OTHER, Script(by_name={name: world.lab.pair_context(SERVER)}))


def test_a_recipient_that_fails_only_for_want_of_a_name_is_deferred_once(world: World) -> None:
    domain = f"by-name.{SIGNED}"
    world.publish(domain, tlsa(3, SERVER.certificate))
    world.resolver.publish()
    show_by_name(world, f"mx.{domain}")
    gateway = world.gateway({**DANE, "on_failure": {"certificate": "reject"}})
    assert [world.send(gateway, domain) for _ in range(2)] == [REFUSED, ACCEPTED]
    assert names_asked(world.upstream) == [None, f"mx.{domain}"]


def test_servers_of_domains_in_rules_are_asked_by_name_from_the_first(world: World) -> None:
    domain = f"ahead.{SIGNED}"
    world.publish(domain, tlsa(3, SERVER.certificate))
    world.resolver.publish()
    show_by_name(world, f"mx.{domain}")
    gateway = world.gateway({**DANE, "to": [domain]})
    key = ("smtpproxy_cache_entries", "server-names")
    wait_until(lambda: gateway.metrics[key] > 0, "the names are known")
    assert world.send(gateway, domain) == ACCEPTED
    assert names_asked(world.upstream) == [f"mx.{domain}"]


def test_what_is_known_outlives_a_reload_that_leaves_the_resolver_as_it_is(world: World) -> None:
    domain = f"kept.{SIGNED}"
    world.publish(domain, tlsa(3, SERVER.certificate))
    world.resolver.publish()
    gateway = world.gateway({**DANE, "name": "kept"})
    assert world.send(gateway, domain) == ACCEPTED
    misses = gateway.metrics["smtpproxy_cache_misses_total", "dns-answers"]
    assert "reloaded: " in gateway.reload()
    assert world.send(gateway, domain) == ACCEPTED
    assert gateway.metrics["smtpproxy_cache_misses_total", "dns-answers"] == misses
    gateway.edit(lambda main: main["resolver"].update(timeout="3s"))
    assert "reloaded: " in gateway.reload()
    assert gateway.metrics["smtpproxy_cache_entries", "dns-answers"] == 0


def _anybody() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
