"""Commands and replies: each in its order, one for one."""

from __future__ import annotations

import pytest

from smtpproxy.session.actions import Close, End, How
from smtpproxy.session.legs import Leg
from tests.session.playbook import client, greeted, identified, to_client, to_upstream, upstream


@pytest.mark.parametrize("line", ["NOOP", "RSET", "VRFY postmaster", "HELP"])
def test_what_is_legal_before_ehlo_gets_upstreams_own_reply(line: str) -> None:
    book = greeted()
    (
        book
        >> client(line)
        << to_upstream(line)
        >> upstream("252 as upstream says")
        << to_client("252 as upstream says")
        >> client("EHLO client.test")
        << to_upstream("EHLO client.test")
    ).done()


def test_quit_before_ehlo() -> None:
    book = greeted()
    (
        book
        >> client("QUIT")
        << to_upstream("QUIT")
        >> upstream("221 bye")
        << to_client("221 bye")
        << Close(Leg.CLIENT, How.FLUSH)
        << Close(Leg.UPSTREAM, How.FLUSH)
        << End()
    ).done()


def test_a_second_ehlo_that_upstream_refuses_changes_nothing() -> None:
    book = identified()
    (
        book
        >> client("MAIL FROM:<a@client.test>")
        << to_upstream("MAIL FROM:<a@client.test>")
        >> upstream("250 Ok")
        << to_client("250 Ok")
        >> client("EHLO other.test")
        << to_upstream("EHLO other.test")
        >> upstream("451 not now")
        << to_client("451 not now")
        >> client("RCPT TO:<b@mx.test>")
        << to_upstream("RCPT TO:<b@mx.test>")
        >> upstream("250 Ok")
        << to_client("250 Ok")
        >> client("DATA")
        << to_upstream("DATA")
        >> upstream("354 go on")
        << to_client("354 go on")
    ).done()


def test_helo_upstream_where_ehlo_is_refused_once_more_keeps_the_leg_usable() -> None:
    book = identified()
    (
        book
        >> client("EHLO other.test")
        << to_upstream("EHLO other.test")
        >> upstream("502 no more")
        << to_upstream("HELO other.test")
        >> upstream("250 mx.test")
        << to_client("250-mx.test\r\n250-PIPELINING\r\n250 SIZE 50000000")
        >> client("MAIL FROM:<a@client.test>")
        << to_upstream("MAIL FROM:<a@client.test>")
    ).done()
