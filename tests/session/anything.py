"""What either side may say, from the fitting to the hostile, and under which policies."""

from __future__ import annotations

from hypothesis import strategies as st

from smtpproxy.policy.entries import Entries
from smtpproxy.policy.envelopes import EnvelopeCondition, MailboxCondition, Mailboxes
from smtpproxy.policy.message_edits import AddHeader, SetEncryption
from smtpproxy.policy.messages import Condition, Final, HeaderCondition, MessageRule, SizeCondition
from smtpproxy.policy.model import Authentication, BareNewline, CertificateValidation, General, PortKind
from smtpproxy.policy.rules import Offer, RecipientEncryption, SenderEncryption
from smtpproxy.policy.tls_level import TlsLevelHeader
from smtpproxy.policy.wildcards import Wildcard
from tests.session.playbook import Setting

COMMANDS = [
    b"EHLO client.test\r\n",
    b"HELO client.test\r\n",
    b"MAIL FROM:<a@client.test>\r\n",
    b"MAIL FROM:<a@client.test> SIZE=999\r\n",
    b"RCPT TO:<b@mx.test>\r\n",
    b"DATA\r\n",
    b"RSET\r\n",
    b"NOOP\r\n",
    b"VRFY b\r\n",
    b"STARTTLS\r\n",
    b"nonsense\r\n",
    b"DATA\r\ncontent\r\n.\r\n",
    b"EHLO client.test\r\nMAIL FROM:<a@client.test>\r\nRCPT TO:<b@mx.test>\r\nDATA\r\n",
    b"MAIL FROM:<a@client.test>\r\nRCPT TO:<b@mx.test>\r\nRCPT TO:<c@mx.test>\r\nBDAT 7 LAST\r\ncontent",
    b"BDAT 3\r\nabc",
    b"BDAT 2\r\n\r\nBDAT 0 LAST\r\nNOOP\r\n",
    b"BDAT 6\r\nx: y\r\nEHLO client.test\r\n",
    b"x-TLSLevel: Require\r\n\r\nok\r\n.\r\n",
    b"BDAT 28\r\nx-TLSLevel: Require\r\n\r\nabcde",
    b"BDAT 20\r\nSubject: spam\r\n\r\nok\r\n",
    b"BDAT 2000 LAST\r\nx",
    b"AUTH PLAIN AGEAYg==\r\n",
    b"AUTH LOGIN\r\n",
    b"dXNlcg==\r\n",
    b"ETRN mx.test\r\n",
    b"NO",
    b"OP\r\n",
]
HOSTILE = [
    b"QUIT\r\n",
    b"BDAT x\r\n",
    b"NOOP\n",
    b"GET / HTTP/1.1\r\n",
    b"\r\n",
    b"NO\0OP\r\n",
    b".\r\n",
    b"DATA\r\n\n.\n",
]
CONTENT = [
    b"line\r\n",
    b"Subject: spam\r\n\r\n",
    b".\r\n",
    b"\r\n.\r\n",
    b"..\r\n",
    b"a\nb\r\n",
    b"\n.\n",
    b"\r",
    b"\n",
    b".",
    b"x" * 300,
    b"\0\xff",
]
REPLIES = [
    b"220 mx.test\r\n",
    b"250 Ok\r\n",
    b"250-mx.test\r\n250 STARTTLS\r\n",
    b"250-mx.test\r\n250-SIZE 1000\r\n250-PIPELINING\r\n250-CHUNKING\r\n250 8BITMIME\r\n",
    b"250-mx.test\r\n250-PIPELINING\r\n250-CHUNKING\r\n250 AUTH LOGIN PLAIN\r\n",
    b"334 VXNlcm5hbWU6\r\n",
    b"354 go on\r\n",
    b"421 closing\r\n",
    b"450 later\r\n",
    b"550 never\r\n",
    b"250 one\r\n250 two\r\n",
    b"250-",
    b"2",
    b"nonsense\r\n",
    b"250 Ok\n",
    b"\r\n",
]
_PATTERN = HeaderCondition(b"Subject", Wildcard("*spam*"))
NEVER_IN_CLEAR = (MessageRule("never in clear", then=(SetEncryption(RecipientEncryption.REQUIRED),)),)
_ELSEWHERE = EnvelopeCondition(recipient=MailboxCondition(Mailboxes(Entries.of(["elsewhere.test"]))))
RULES = [
    NEVER_IN_CLEAR,
    (MessageRule("elsewhere", Condition(envelope=_ELSEWHERE), final=Final.DENY),),
    (),
    (),
    (MessageRule("mark", then=(AddHeader(b"X-Seen", b"yes"),)),),
    (MessageRule("no spam", Condition(headers=(_PATTERN,)), final=Final.DENY),),
    (MessageRule("big", Condition(size=SizeCondition(over=10)), (AddHeader(b"X-Big", b"yes"),)),),
    (
        MessageRule("mark", then=(AddHeader(b"X-Seen", b"yes"),)),
        MessageRule("no spam", Condition(headers=(_PATTERN,)), final=Final.DENY),
        MessageRule("big", Condition(size=SizeCondition(over=10)), (AddHeader(b"X-Big", b"yes"),)),
    ),
    (MessageRule("not big", Condition(size=SizeCondition(over=10)), final=Final.DENY),),
]
LUCK, BAD_LUCK = st.integers(0, 11), 11
OCTETS = st.binary(min_size=1, max_size=20)
SETTINGS = st.builds(
    Setting,
    kind=st.sampled_from([PortKind.SMTP, PortKind.SMTP, PortKind.SMTPS]),
    sender=st.sampled_from(SenderEncryption),
    recipient=st.sampled_from(RecipientEncryption),
    offer=st.sampled_from(Offer),
    validation=st.sampled_from(CertificateValidation),
    authentication=st.builds(Authentication, plaintext=st.booleans()),
    message_rules=st.sampled_from(RULES),
    tls_level_header=st.builds(TlsLevelHeader, honour=st.booleans()),
    general=st.builds(
        General,
        bare_newline=st.sampled_from(BareNewline),
        max_message_size=st.sampled_from([20, 1000]),
        max_recipients=st.integers(1, 3),
    ),
)
