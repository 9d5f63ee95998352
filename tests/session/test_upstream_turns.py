"""Upstreams that change their mind, and names that nobody vouches for."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from smtpproxy.policy.model import Esmtp
from smtpproxy.session.events import ClientHelloSeen, Upgraded
from smtpproxy.session.legs import Leg
from smtpproxy.smtp import catalogue
from tests.session.playbook import (
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
    upstream,
    with_recipient,
)

FIRST, SECOND = ip_address("198.51.100.1"), ip_address("198.51.100.2")


def offers_late() -> Playbook:
    """A session in a transaction, whose upstream offers STARTTLS behind another EHLO only, and refuses EHLO inside."""
    book = with_recipient(keywords="CHUNKING")
    (book >> client("EHLO client.test") << to_upstream("EHLO client.test")).done()
    (book >> upstream(ehlo_reply("CHUNKING,STARTTLS")) << to_upstream("STARTTLS")).done()
    book >> upstream("220 go on")
    book.skip() >> Upgraded(Leg.UPSTREAM, tls_facts("mx.test"))
    return book.skip()


def test_ehlo_that_is_refused_inside_tls_leaves_nothing_of_what_was_said_in_clear() -> None:
    book = offers_late()
    book >> upstream("450 not now")
    assert to_client(catalogue.UPSTREAM_GONE.to_wire()) in book.pending()
    assert session_of(book).ended == "upstream-refused-hello"


@pytest.mark.parametrize("reply", ["450 not now", "550 no"])
def test_the_first_ehlo_may_be_refused_inside_tls_and_said_again(reply: str) -> None:
    book = greeted()
    book >> client("EHLO client.test")
    (book.skip() >> upstream(ehlo_reply("STARTTLS")) << to_upstream("STARTTLS")).done()
    book >> upstream("220 go on")
    (book.skip() >> Upgraded(Leg.UPSTREAM, tls_facts("mx.test")) << to_upstream("EHLO client.test")).done()
    if reply.startswith("5"):
        (book >> upstream(reply) << to_upstream("HELO client.test")).done()
    (book >> upstream(reply) << to_client(reply)).done()
    (book >> client("EHLO client.test") << to_upstream("EHLO client.test")).done()


@pytest.mark.parametrize(("host", "kept"), [("mx.test", True), ("198.51.100.1", False)])
def test_a_name_that_was_learnt_is_no_promise_of_requiretls(host: str, *, kept: bool) -> None:
    esmtp = Esmtp(allow=frozenset({"REQUIRETLS"}))
    book = greeted(Setting(host=host, esmtp=esmtp), address=FIRST, name="mx.test")
    book >> client("EHLO client.test")
    book.skip() >> upstream(ehlo_reply("STARTTLS"))
    book.skip() >> upstream("220 go on")
    book.skip() >> Upgraded(Leg.UPSTREAM, tls_facts("mx.test"))
    book.skip() >> upstream(ehlo_reply("REQUIRETLS"))
    book.skip() >> client("STARTTLS")
    book.skip() >> ClientHelloSeen(client_hello())
    book.skip() >> Upgraded(Leg.CLIENT, tls_facts())
    book.skip() >> client("EHLO client.test")
    sent = b"".join(getattr(each, "data", b"") for each in book.pending())
    assert (b"REQUIRETLS" in sent) is kept
