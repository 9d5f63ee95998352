"""Several encryption rules on one session: who is judged by which, what is looked up, what is remembered."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from smtpproxy.audit import Judgement, TransactionRecord
from smtpproxy.endpoint import Endpoint
from smtpproxy.policy.entries import Entries
from smtpproxy.policy.knowledge import Answer, Knowledge, MailHost, StsMode, StsPolicy, Tlsa, TlsaSet
from smtpproxy.policy.model import PeerPolicies
from smtpproxy.policy.rules import (
    Audience,
    EncryptionRule,
    Failure,
    Mode,
    NameSources,
    OnFailure,
    RecipientEncryption,
    SenderEncryption,
)
from smtpproxy.session.actions import (
    Action,
    Close,
    Connect,
    End,
    ForgetBroken,
    How,
    LookUp,
    PauseReading,
    ResumeReading,
)
from smtpproxy.session.events import ClientHelloSeen, Closed, PeerFacts, TimedOut, Upgraded, UpstreamConnected
from smtpproxy.session.legs import Leg
from smtpproxy.session.timers import Timer
from smtpproxy.tls.facts import Chain, TlsFacts, TlsFailure, TlsReason
from tests.session.playbook import (
    SENDER,
    Playbook,
    Setting,
    client,
    client_hello,
    ehlo_reply,
    greeted,
    session_of,
    tls_facts,
    to_client,
    to_upstream,
    transaction_of,
    upstream,
)

NONE, ALLOWED, PREFERRED = RecipientEncryption.NONE, RecipientEncryption.ALLOWED, RecipientEncryption.PREFERRED
REQUIRED, VERIFIED = RecipientEncryption.REQUIRED, RecipientEncryption.VERIFIED
DANE = RecipientEncryption.DANE
UPSTREAM = ip_address("198.51.100.1")
NOT_OFFERED = (
    "550 5.7.4 Encryption required, but the receiving server does not offer it; ask its postmaster to enable TLS"
)
REFUSED = "550 5.7.5 Secure connection to the receiving server failed; ask its postmaster to check its TLS"
DEFERRED = "450 4.7.5 Secure connection to the receiving server failed, try again later"
LOOK_UP_FAILED = "451 4.4.3 The recipient's domain cannot be looked up now, try again later"


def rule(name: str, recipient: RecipientEncryption, *to: str, **more: object) -> EncryptionRule:
    """A rule for some recipients; senders may do as they like."""
    made = EncryptionRule(name, recipient=recipient, audience=Audience(to=Entries.of(to or ["*"])))
    return EncryptionRule(**{**{key: getattr(made, key) for key in made.__slots__}, **more})


def connected(*rules: EncryptionRule, host: str = "198.51.100.1", peers: PeerPolicies | None = None) -> Playbook:
    """A session behind the greeting of an upstream that is dialled by its address."""
    book = greeted(Setting(rules=rules, host=host, peer_policies=peers or PeerPolicies()), address=UPSTREAM)
    (book >> client("EHLO client.test") << to_upstream("EHLO client.test")).done()
    return book


def in_clear(*rules: EncryptionRule) -> Playbook:
    """The same behind EHLO, with an upstream that offers no TLS."""
    book = connected(*rules)
    (book >> upstream(ehlo_reply("PIPELINING"))).skip()
    return book


def on_tls(*rules: EncryptionRule, facts: TlsFacts | None = None, peers: PeerPolicies | None = None) -> Playbook:
    """The same with an upstream that is on TLS."""
    book = connected(*rules, peers=peers)
    (book >> upstream(ehlo_reply("PIPELINING,STARTTLS")) << to_upstream("STARTTLS")).done()
    book >> upstream("220 go on")
    book.skip() >> Upgraded(Leg.UPSTREAM, facts or tls_facts("mx.bank.test"))
    book.skip() >> upstream(ehlo_reply("PIPELINING"))
    return book.skip()


def sender(book: Playbook) -> Playbook:
    """Go on by a MAIL that upstream takes."""
    (book >> client(SENDER) << to_upstream(SENDER)).done()
    return (book >> upstream("250 Ok")).skip()


def answer_to(book: Playbook, recipient: str) -> str:
    """Ask for a recipient; upstream takes it if it is asked. Return what the client hears."""
    book >> client(f"RCPT TO:<{recipient}>")
    return settled(book, recipient)


def settled(book: Playbook, recipient: str) -> str:
    """Let upstream take a recipient if it was asked; return what the client hears."""
    actions: list[Action] = [each for each in book.pending() if not isinstance(each, PauseReading | ResumeReading)]
    if actions == [to_upstream(f"RCPT TO:<{recipient}>")]:
        book >> upstream("250 taken")
        actions = book.pending()
    return b"".join(getattr(each, "data", b"") for each in actions).decode().rstrip()


def looked_up(book: Playbook) -> list[LookUp]:
    """What the last event wants to know."""
    return [each for each in book.pending() if isinstance(each, LookUp)]


BANK = rule("bank", REQUIRED, "bank.test")
DEFAULT = rule("default", PREFERRED)


# Recipients and their rules


def test_each_recipient_is_judged_by_its_own_rule() -> None:
    book = sender(in_clear(BANK, DEFAULT))
    assert answer_to(book, "a@bank.test") == NOT_OFFERED
    assert answer_to(book, "b@other.test") == "250 taken"
    assert answer_to(book, "c@BANK.test") == NOT_OFFERED
    assert answer_to(book, "d@below.bank.test") == "250 taken"
    book >> Closed(Leg.CLIENT, "clean")
    book.skip()
    record = transaction_of(book)
    trace = (("bank", "applies"), ("default", "a rule before it applies"))
    assert [each.judgement for each in record.recipients] == [
        Judgement("bank", (), trace),
        Judgement("default"),
        Judgement("bank", (), trace),
        Judgement("default"),
    ]
    assert record.rules == ("bank", "default")


def test_the_first_rule_that_matches_decides() -> None:
    book = sender(in_clear(rule("one of them", NONE, "a@bank.test"), BANK, DEFAULT))
    assert answer_to(book, "a@bank.test") == "250 taken"
    assert answer_to(book, "b@bank.test") == NOT_OFFERED


def test_mail_that_no_rule_matches_is_treated_by_one_of_defaults() -> None:
    book = sender(in_clear(BANK))
    assert answer_to(book, "b@other.test") == "250 taken"


def test_a_rule_that_is_switched_off_is_told_in_the_trace() -> None:
    book = sender(in_clear(rule("off", NONE, "bank.test", enabled=False), BANK, DEFAULT))
    assert answer_to(book, "a@bank.test") == NOT_OFFERED
    book >> Closed(Leg.CLIENT, "clean")
    book.skip()
    (recipient,) = transaction_of(book).recipients
    assert recipient.judgement.trace[0] == ("off", "disabled")


def test_mail_is_refused_at_once_where_every_rule_wants_tls() -> None:
    book = in_clear(BANK, rule("all", REQUIRED))
    (book >> client(SENDER) << to_client(NOT_OFFERED)).done()
    (record,) = [each for each in book.records if isinstance(each, TransactionRecord)]
    assert record.trace == (("bank", "may apply"), ("all", "applies"))


def test_a_rule_may_be_for_some_senders_only() -> None:
    strict = rule("from the bank", REQUIRED, audience=Audience(from_=Entries.of(["bank.test"])))
    book = in_clear(strict, DEFAULT)
    (book >> client("MAIL FROM:<a@bank.test>") << to_client(NOT_OFFERED)).done()
    assert answer_to(sender(book), "b@other.test") == "250 taken"


def test_from_matches_the_clients_address_as_well() -> None:
    strict = rule("from the branch", REQUIRED, audience=Audience(from_=Entries.of(["192.0.2.0/24"])))
    book = in_clear(strict, DEFAULT)
    (book >> client(SENDER) << to_client(NOT_OFFERED)).done()


def test_a_rule_may_be_for_some_clients_only() -> None:
    other = rule("elsewhere", REQUIRED, audience=Audience(client=(ip_network("10.0.0.0/8"),)))
    assert answer_to(sender(in_clear(other, DEFAULT)), "b@other.test") == "250 taken"


def test_a_rule_may_be_for_the_address_that_upstream_is_dialled_at() -> None:
    book = in_clear(rule("this server", REQUIRED, "198.51.100.0/24"), DEFAULT)
    (book >> client(SENDER) << to_client(NOT_OFFERED)).done()


def test_another_transaction_and_rset_are_judged_anew() -> None:
    book = sender(in_clear(BANK, DEFAULT))
    assert answer_to(book, "a@bank.test") == NOT_OFFERED
    (book >> client("RSET") << to_upstream("RSET")).done()
    (book >> upstream("250 Ok")).skip()
    assert answer_to(sender(book), "b@other.test") == "250 taken"


def test_a_pipelined_group_goes_on_with_those_that_may() -> None:
    book = in_clear(BANK, DEFAULT)
    group = [SENDER, "RCPT TO:<a@bank.test>", "RCPT TO:<b@other.test>"]
    book >> client("\r\n".join(group))
    assert book.pending() == [to_upstream(f"{SENDER}\r\nRCPT TO:<b@other.test>")]
    book >> upstream("250 sender")
    book << to_client(f"250 sender\r\n{NOT_OFFERED}")
    (book >> upstream("250 taken") << to_client("250 taken")).done()


# The plan


@pytest.mark.parametrize(
    ("rules", "tried"),
    [
        ((BANK, rule("rest", NONE)), True),
        ((rule("bank", NONE, "bank.test"), rule("rest", NONE)), False),
        ((rule("bank", ALLOWED, "bank.test"), rule("rest", NONE)), False),
        ((rule("this server", NONE, "198.51.100.0/24"), DEFAULT), False),  # settled at connect
        ((rule("another server", NONE, "203.0.113.0/24"), DEFAULT), True),
        ((rule("another server", REQUIRED, "203.0.113.0/24"), rule("rest", NONE)), False),
        ((rule("watched", REQUIRED, "bank.test", mode=Mode.MONITOR), rule("rest", NONE)), False),
        ((rule("off", REQUIRED, "bank.test", enabled=False), rule("rest", NONE)), False),
    ],
)
def test_the_plan_follows_the_strongest_rule_that_can_still_apply(
    rules: tuple[EncryptionRule, ...],
    tried: bool,  # noqa: FBT001 - a column of the table
) -> None:
    book = connected(*rules)
    book >> upstream(ehlo_reply("STARTTLS"))
    assert (to_upstream("STARTTLS") in book.pending()) is tried


def test_what_a_destination_publishes_makes_the_plan_eager() -> None:
    book = connected(rule("rest", NONE), peers=PeerPolicies(dane=True))
    (book >> upstream(ehlo_reply("STARTTLS")) << to_upstream("STARTTLS")).done()


# Monitor


def test_a_rule_that_monitors_is_recorded_and_decides_nothing() -> None:
    book = sender(in_clear(rule("watched", REQUIRED, "bank.test", mode=Mode.MONITOR), DEFAULT))
    assert answer_to(book, "a@bank.test") == "250 taken"
    assert answer_to(book, "b@other.test") == "250 taken"
    book >> Closed(Leg.CLIENT, "clean")
    book.skip()
    watched, other = (each.judgement for each in transaction_of(book).recipients)
    assert (watched.rule, watched.monitored) == ("default", (("watched", "upstream-tls-not-offered"),))
    assert (other.rule, other.monitored) == ("default", ())


# Names


@pytest.mark.parametrize(
    ("match", "names", "reply"),
    [
        (NameSources(), ("bank.test",), "250 taken"),
        (NameSources(), ("*.bank.test",), "LOOK"),
        (NameSources(), ("mx.bank.test",), "LOOK"),
        (NameSources(domain=False, names=("mx.bank.test",)), ("mx.bank.test",), "250 taken"),
        (NameSources(names=("other.test",)), ("bank.test",), "250 taken"),
        (NameSources(domain=False, names=("other.test",)), ("bank.test",), "LOOK"),
    ],
)
def test_a_certificate_must_bear_a_name_that_the_rule_wants(
    match: NameSources, names: tuple[str, ...], reply: str
) -> None:
    book = sender(on_tls(rule("bank", VERIFIED, "bank.test", match=match), DEFAULT, facts=tls_facts(*names)))
    book >> client("RCPT TO:<a@bank.test>")
    wanted = reply == "LOOK"
    if wanted:
        assert looked_up(book) == [LookUp("bank.test", tlsa=False, sts=False)]
        nobody = Knowledge("bank.test", Answer.FOUND, hosts=(MailHost("mx.bank.test", 10, frozenset()),))
        book >> PeerFacts(nobody)
        reply = DEFERRED
    assert settled(book, "a@bank.test") == reply


def exchanger(*, secure: bool = False, address: str = "198.51.100.1", tlsa: TlsaSet | None = None) -> Knowledge:
    """What is known of a domain whose one mail exchanger is at an address."""
    host = MailHost(
        "mx.bank.test", 10, frozenset({ip_address(address)}), secure=secure, tlsa=tlsa or TlsaSet(Answer.ABSENT)
    )
    return Knowledge("bank.test", Answer.FOUND, secure=secure, hosts=(host,))


@pytest.mark.parametrize(
    ("match", "knowledge", "reply"),
    [
        (NameSources(mx=True), exchanger(secure=True), "250 taken"),
        (NameSources(mx=True), exchanger(address="203.0.113.1"), REFUSED),
        (NameSources(mx_insecure=True), exchanger(), "250 taken"),
        (NameSources(mx=True), Knowledge("bank.test", Answer.FAILED, sts_answer=Answer.FAILED), LOOK_UP_FAILED),
        (NameSources(), Knowledge("bank.test", Answer.FAILED), REFUSED),
    ],
)
def test_names_of_mail_exchangers_count_where_somebody_vouches_for_them(
    match: NameSources, knowledge: Knowledge, reply: str
) -> None:
    strict = rule("bank", VERIFIED, "bank.test", match=match, on_failure=OnFailure(certificate=Failure.REJECT))
    book = sender(on_tls(strict, DEFAULT))
    book >> client("RCPT TO:<a@bank.test>")
    assert looked_up(book) == [LookUp("bank.test", tlsa=False, sts=match.mx)]
    book >> PeerFacts(knowledge)
    assert settled(book, "a@bank.test") == reply


def test_a_recipient_that_fails_for_want_of_sni_is_deferred_whatever_the_rule_says() -> None:
    strict = rule("bank", VERIFIED, "bank.test", on_failure=OnFailure(certificate=Failure.REJECT))
    book = sender(on_tls(strict, DEFAULT, facts=tls_facts("shared.test", chain=Chain.INVALID)))
    book >> client("RCPT TO:<a@bank.test>")
    assert looked_up(book)
    book >> PeerFacts(exchanger())
    assert settled(book, "a@bank.test") == DEFERRED


@pytest.mark.parametrize(("name", "reply"), [(None, DEFERRED), ("mx.bank.test", DEFERRED), ("mx.other.test", REFUSED)])
def test_a_recipient_is_deferred_only_if_the_next_connection_would_ask_by_its_name(
    name: str | None, reply: str
) -> None:
    strict = rule("bank", VERIFIED, "bank.test", on_failure=OnFailure(certificate=Failure.REJECT))
    shown = replace(tls_facts("shared.test"), server_name="mx.other.test")
    book = sender(on_tls(strict, DEFAULT, facts=shown))
    book >> client("RCPT TO:<a@bank.test>")
    book.skip() >> PeerFacts(exchanger(), name)
    assert settled(book, "a@bank.test") == reply


def test_the_name_that_an_address_is_known_by_is_the_sni_of_the_next_connection() -> None:
    book = greeted(Setting(rules=(DEFAULT,), host="198.51.100.1"), address=UPSTREAM, name="mx.bank.test")
    book >> client("EHLO client.test")
    book.skip() >> upstream(ehlo_reply("STARTTLS"))
    book.skip() >> upstream("220 go on")
    (start,) = book.pending()
    assert start.request.server_name == "mx.bank.test"  # type: ignore[union-attr]


# Look-ups


def waiting() -> Playbook:
    """A session whose recipient waits for a look-up."""
    book = sender(on_tls(rule("bank", DANE, "bank.test"), DEFAULT))
    book >> client("RCPT TO:<a@bank.test>")
    assert looked_up(book) == [LookUp("bank.test", tlsa=True, sts=False)]
    return book


def test_what_comes_behind_a_look_up_waits_for_it() -> None:
    book = waiting()
    (book >> client("RCPT TO:<b@other.test>")).done()
    (book >> client("DATA")).done()
    book >> PeerFacts(Knowledge("bank.test", Answer.FAILED))
    assert to_upstream("RCPT TO:<b@other.test>\r\nDATA") in book.pending()


def test_a_look_up_that_fails_defers_the_recipient() -> None:
    book = waiting()
    book >> PeerFacts(Knowledge("bank.test", Answer.FAILED))
    assert settled(book, "a@bank.test") == LOOK_UP_FAILED


def test_a_look_up_that_takes_too_long_has_failed() -> None:
    book = waiting()
    book >> TimedOut(Timer.LOOK_UP)
    assert settled(book, "a@bank.test") == LOOK_UP_FAILED
    (book >> PeerFacts(exchanger(secure=True))).done()


def test_a_domain_is_looked_up_once_a_transaction() -> None:
    book = waiting()
    book >> PeerFacts(Knowledge("bank.test", Answer.FAILED))
    book.skip() >> client("RCPT TO:<b@bank.test>")
    assert book.pending() == [to_client(LOOK_UP_FAILED)]
    (book >> client("RSET") << to_upstream("RSET") >> upstream("250 Ok")).skip()
    sender(book) >> client("RCPT TO:<b@bank.test>")
    assert looked_up(book) == [LookUp("bank.test", tlsa=True, sts=False)]
    book >> PeerFacts(exchanger(secure=True, tlsa=published(GOOD)))
    assert settled(book, "b@bank.test") == "250 taken"


def test_who_wants_to_know_more_of_a_domain_has_it_looked_up_again() -> None:
    by_name = rule("of a mailbox", VERIFIED, "a@bank.test", match=NameSources(domain=False, mx=True))
    book = sender(on_tls(by_name, rule("bank", DANE, "bank.test"), DEFAULT))
    book >> client("RCPT TO:<a@bank.test>")
    assert looked_up(book) == [LookUp("bank.test", tlsa=False, sts=True)]
    book >> PeerFacts(exchanger(secure=True))
    assert settled(book, "a@bank.test") == "250 taken"
    book >> client("RCPT TO:<b@bank.test>")
    assert looked_up(book) == [LookUp("bank.test", tlsa=True, sts=True)]
    book >> PeerFacts(exchanger(secure=True, tlsa=published(GOOD)))
    assert settled(book, "b@bank.test") == "250 taken"
    book >> client("RCPT TO:<c@bank.test>")
    assert book.pending() == [to_upstream("RCPT TO:<c@bank.test>")]


def test_a_client_that_leaves_during_a_look_up_is_gone() -> None:
    book = waiting()
    book >> Closed(Leg.CLIENT, "reset")
    (book << Close(Leg.UPSTREAM, How.FLUSH) << End()).done()
    (book >> PeerFacts(exchanger())).done()


def test_upstream_that_refuses_mail_meanwhile_ends_the_transaction() -> None:
    book = on_tls(rule("bank", DANE, "bank.test"), DEFAULT)
    book >> client(f"{SENDER}\r\nRCPT TO:<a@bank.test>")
    assert [type(each) for each in book.pending()] == [type(to_upstream("")), LookUp]
    (book >> upstream("550 no") << to_client("550 no")).done()
    book >> PeerFacts(exchanger())
    assert book.pending() == [to_client("503 5.5.1 Bad sequence of commands")]


def test_an_address_literal_is_never_looked_up() -> None:
    strict = rule("all", DANE, on_failure=OnFailure(certificate=Failure.REJECT))
    book = sender(on_tls(strict))
    assert answer_to(book, "a@[192.0.2.1]") == REFUSED


# DANE

GOOD = Tlsa(3, 0, 0, tls_facts("mx.bank.test").peer.der)  # type: ignore[union-attr]  # it has one
OTHER = Tlsa(3, 0, 0, b"another")


def published(*records: Tlsa) -> TlsaSet:
    return TlsaSet(Answer.FOUND, secure=True, records=records)


@pytest.mark.parametrize(
    ("knowledge", "demanded", "honoured"),
    [
        (exchanger(secure=True, tlsa=published(GOOD)), "250 taken", "250 taken"),
        (exchanger(secure=True, tlsa=published(OTHER)), DEFERRED, DEFERRED),
        (exchanger(secure=True, tlsa=published(Tlsa(1, 0, 0, b"x"))), DEFERRED, "250 taken"),
        (exchanger(secure=True), DEFERRED, "250 taken"),
        (exchanger(tlsa=published(GOOD)), DEFERRED, "250 taken"),
        (exchanger(secure=True, tlsa=TlsaSet(Answer.FAILED)), LOOK_UP_FAILED, LOOK_UP_FAILED),
        (exchanger(secure=True, address="203.0.113.9", tlsa=published(GOOD)), DEFERRED, "250 taken"),
        (Knowledge("bank.test", Answer.FAILED), LOOK_UP_FAILED, LOOK_UP_FAILED),
    ],
)
def test_dane(knowledge: Knowledge, demanded: str, honoured: str) -> None:
    named = tls_facts("mx.bank.test")
    known = TlsFacts(named.version, named.cipher, server_name="mx.bank.test", peer=named.peer, chain=Chain.INVALID)
    for rules, peers, reply in (
        ((rule("bank", DANE, "bank.test"), DEFAULT), PeerPolicies(), demanded),
        ((DEFAULT,), PeerPolicies(dane=True), honoured),
    ):
        book = sender(on_tls(*rules, facts=known, peers=peers))
        book >> client("RCPT TO:<a@bank.test>")
        assert looked_up(book) == [LookUp("bank.test", tlsa=True, sts=False)]
        book >> PeerFacts(knowledge)
        assert settled(book, "a@bank.test") == reply


def test_what_is_published_keeps_mail_from_a_leg_in_clear() -> None:
    book = connected(DEFAULT, peers=PeerPolicies(dane=True))
    (book >> upstream(ehlo_reply("PIPELINING"))).skip()
    sender(book)
    book >> client("RCPT TO:<a@bank.test>")
    assert looked_up(book) == [LookUp("bank.test", tlsa=True, sts=False)]
    book >> PeerFacts(exchanger(secure=True, tlsa=published(OTHER)))
    assert settled(book, "a@bank.test") == NOT_OFFERED


# MTA-STS


def sts(mode: StsMode, *mx: str, answer: Answer = Answer.FOUND) -> Knowledge:
    """What is known of a domain with a policy."""
    policy = StsPolicy("1", mode, 86_400, mx) if mx else None
    return replace(exchanger(), sts=policy, sts_answer=answer)


@pytest.mark.parametrize(
    ("knowledge", "demanded", "honoured"),
    [
        (sts(StsMode.ENFORCE, "mx.bank.test"), "250 taken", "250 taken"),
        (sts(StsMode.ENFORCE, "other.test"), DEFERRED, DEFERRED),
        (sts(StsMode.TESTING, "other.test"), DEFERRED, "250 taken"),
        (sts(StsMode.NONE, "mx.bank.test"), DEFERRED, "250 taken"),
        (sts(StsMode.NONE, answer=Answer.ABSENT), DEFERRED, "250 taken"),
        (sts(StsMode.NONE, answer=Answer.FOUND), DEFERRED, "250 taken"),  # a record, and no policy behind it
        (sts(StsMode.NONE, answer=Answer.FAILED), LOOK_UP_FAILED, LOOK_UP_FAILED),
    ],
)
def test_mta_sts(knowledge: Knowledge, demanded: str, honoured: str) -> None:
    known = replace(tls_facts("mx.bank.test"), server_name="mx.bank.test")
    for rules, peers, reply in (
        ((rule("bank", RecipientEncryption.MTA_STS, "bank.test"), DEFAULT), PeerPolicies(), demanded),
        ((DEFAULT,), PeerPolicies(mta_sts=True), honoured),
    ):
        book = sender(on_tls(*rules, facts=known, peers=peers))
        book >> client("RCPT TO:<a@bank.test>")
        assert looked_up(book) == [LookUp("bank.test", tlsa=False, sts=True)]
        book >> PeerFacts(knowledge)
        assert settled(book, "a@bank.test") == reply


def test_names_of_mail_exchangers_count_where_an_mta_sts_policy_vouches_for_them() -> None:
    strict = rule("bank", VERIFIED, "bank.test", match=NameSources(mx=True))
    for mode, reply in ((StsMode.ENFORCE, "250 taken"), (StsMode.TESTING, DEFERRED)):
        book = sender(on_tls(strict, DEFAULT))
        book >> client("RCPT TO:<a@bank.test>")
        book.skip() >> PeerFacts(sts(mode, "*.bank.test"))
        assert settled(book, "a@bank.test") == reply


# TLS that broke of late


def met_again(*rules: EncryptionRule) -> list[Action]:
    """What is done about an upstream whose TLS broke of late, once it offers STARTTLS."""
    broken = TlsFailure(TlsReason.PEER_ALERT)
    book = greeted(Setting(rules=rules, host="198.51.100.1"), address=UPSTREAM, broken=broken)
    book >> client("EHLO client.test")
    book.skip() >> upstream(ehlo_reply("STARTTLS"))
    return book.pending()


def test_tls_that_broke_of_late_is_not_tried_where_clear_text_will_do() -> None:
    assert to_upstream("STARTTLS") not in met_again(DEFAULT)
    assert to_upstream("STARTTLS") in met_again(BANK, DEFAULT)


def test_what_was_not_tried_is_recorded_as_a_downgrade() -> None:
    broken = TlsFailure(TlsReason.PEER_ALERT)
    book = greeted(Setting(host="198.51.100.1"), address=UPSTREAM, broken=broken)
    book >> client("EHLO client.test")
    book.skip() >> upstream(ehlo_reply("STARTTLS"))
    book.skip() >> Closed(Leg.CLIENT, "clean")
    book.skip()
    record = session_of(book)
    assert (record.downgraded, record.upstream_tls_failure) == (True, broken)
    assert book.remembered == []  # it is tried again when its time is over


def test_a_fall_back_is_remembered_for_the_time_that_is_set() -> None:
    book = greeted(Setting(fallback_memory_s=42))
    book >> client("EHLO client.test")
    book.skip() >> upstream(ehlo_reply("STARTTLS"))
    (book.skip() >> Closed(Leg.UPSTREAM, "reset") << Connect(Endpoint("mx.test", 25))).done()
    book >> UpstreamConnected(UPSTREAM)
    (book >> upstream("220 mx.test") << to_upstream("EHLO client.test")).done()
    assert [(each.failure.reason, each.seconds) for each in book.remembered] == [(TlsReason.CONNECTION_CLOSED, 42)]


def test_tls_that_comes_about_again_is_told() -> None:
    setting = Setting(rules=(BANK, DEFAULT), host="198.51.100.1")
    book = greeted(setting, address=UPSTREAM, broken=TlsFailure(TlsReason.PEER_ALERT))
    book >> client("EHLO client.test")
    (book.skip() >> upstream(ehlo_reply("STARTTLS")) << to_upstream("STARTTLS")).done()
    book >> upstream("220 go on")
    book.skip() >> Upgraded(Leg.UPSTREAM, tls_facts("mx.bank.test"))
    (book.skip() >> upstream(ehlo_reply("SIZE 1")) << ForgetBroken()).skip()
    (book >> client("EHLO client.test")).skip()
    assert ForgetBroken() not in book.pending()


# Senders


def test_a_sender_is_verified_by_its_certificate() -> None:
    strict = rule("bank", PREFERRED, sender=SenderEncryption.VERIFIED)
    for names, verified in ((("client.test",), True), (("other.test",), False), ((), False)):
        book = secured(Setting(rules=(strict,)), tls_facts(*names))
        book >> client(SENDER)
        (action,) = book.pending()
        assert (action == to_upstream(SENDER)) is verified
        if not verified:
            needed = "A verified client certificate of the sender's domain is required"
            assert action == to_client(f"550 5.7.1 {needed}; ask your postmaster for one")


def secured(setting: Setting, facts: TlsFacts) -> Playbook:
    """A session on TLS on both legs, behind the client's EHLO inside it; the client showed what ``facts`` say."""
    book = greeted(setting)
    book >> client("EHLO client.test")
    book.skip() >> upstream(ehlo_reply(""))
    book.skip() >> client("STARTTLS")
    book.skip() >> ClientHelloSeen(client_hello())
    (start,) = book.pending()
    assert start.request.request_certificate  # type: ignore[union-attr]
    book >> Upgraded(Leg.CLIENT, facts)
    book.skip() >> client("EHLO client.test")
    book.skip() >> upstream(ehlo_reply(""))
    return book.skip()
