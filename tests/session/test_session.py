"""One message through a session, from the connection to the end of both legs."""

from __future__ import annotations

from smtpproxy.audit import SessionRecord, Status, TransactionRecord
from smtpproxy.endpoint import Endpoint
from smtpproxy.session.actions import Close, Connect, End, How
from smtpproxy.session.events import ClientConnected, UpstreamConnected
from smtpproxy.session.legs import Leg
from tests.session.playbook import Playbook, client, to_client, to_upstream, upstream


def test_a_message_passes_in_clear() -> None:
    book = Playbook()
    (
        book
        >> ClientConnected()
        << Connect(Endpoint("mx.test", 25))
        >> UpstreamConnected()
        >> upstream("220 mx.test ESMTP")
        << to_client("220 mx.test ESMTP")
        >> client("EHLO client.test")
        << to_upstream("EHLO client.test")
        >> upstream(b"250-mx.test\r\n250-SIZE 1000\r\n250-X-SECRET\r\n250 8BITMIME\r\n")
        << to_client(b"250-mx.test\r\n250-8BITMIME\r\n250-PIPELINING\r\n250-SIZE 1000\r\n250 LIMITS RCPTMAX=1000\r\n")
        >> client("mail from: <a@client.test> SIZE=10")
        << to_upstream("MAIL FROM:<a@client.test> SIZE=10")
        >> upstream("250 2.1.0 Ok")
        << to_client("250 2.1.0 Ok")
        >> client("RCPT TO:<b@mx.test>")
        << to_upstream("RCPT TO:<b@mx.test>")
        >> upstream("250 2.1.5 Ok")
        << to_client("250 2.1.5 Ok")
        >> client("DATA")
        << to_upstream("DATA")
        >> upstream("354 go on")
        << to_client("354 go on")
        >> client(b"Subject: hello\r\n\r\nbody\r\n.\r\n")
        << to_upstream(b"Subject: hello\r\n\r\nbody\r\n.\r\n")
        >> upstream("250 2.0.0 queued as 4711")
        << to_client("250 2.0.0 queued as 4711")
        >> client("QUIT")
        << to_upstream("QUIT")
        >> upstream("221 2.0.0 bye")
        << to_client("221 2.0.0 bye")
        << Close(Leg.CLIENT, How.FLUSH)
        << Close(Leg.UPSTREAM, How.FLUSH)
        << End()
    ).done()
    transaction, session = book.records
    assert isinstance(transaction, TransactionRecord)
    assert isinstance(session, SessionRecord)
    assert [(each.address, each.status) for each in transaction.recipients] == [(b"b@mx.test", Status.ACCEPTED)]
    assert (transaction.inspected, transaction.ambiguous_delivery, transaction.size_octets) == (True, False, 24)
    assert (session.ended, session.transactions, session.removed) == ("quit", 1, ("X-SECRET",))
