from __future__ import annotations

import re

import pytest

from smtpproxy.smtp import catalogue
from smtpproxy.smtp.replies import Reply, ReplyReader

OWN = {name: value for name, value in vars(catalogue).items() if isinstance(value, Reply)}

AGREED = {
    "MUST_STARTTLS": (530, "5.7.0"),
    "STARTTLS_NOT_OFFERED": (502, "5.5.1"),
    "SECOND_STARTTLS": (503, "5.5.1"),
    "TLS_NOT_READY": (454, "4.7.0"),
    "BEHIND_UPSTREAM_STARTTLS": (421, "4.7.0"),
    "EARLY_TALK": (554, "5.5.1"),
    "OTHER_PROTOCOL": (554, "5.5.1"),
    "PIPELINED_STARTTLS": (554, "5.5.1"),
    "TLS_NOT_OFFERED_REJECT": (550, "5.7.4"),
    "TLS_NOT_OFFERED_TEMPFAIL": (450, "4.7.4"),
    "TLS_REFUSED_TEMPFAIL": (450, "4.7.5"),
    "TLS_REFUSED_REJECT": (550, "5.7.5"),
    "SESSION_TLS_REFUSED": (421, "4.7.5"),
    "SENDER_NOT_VERIFIED": (550, "5.7.1"),
    "LOOK_UP_FAILED": (451, "4.4.3"),
    "TOO_MANY_RECIPIENTS": (452, "4.5.3"),
    "MESSAGE_TOO_BIG": (552, "5.3.4"),
    "BAD_SENDER": (501, "5.1.7"),
    "BAD_RECIPIENT": (553, "5.1.3"),
    "BARE_NEWLINE": (550, "5.5.2"),
    "BARE_CR": (550, "5.5.2"),
    "BAD_PARAMETER": (501, "5.5.4"),
    "SYNTAX": (501, "5.5.4"),
    "LINE_TOO_LONG": (500, "5.5.2"),
    "BAD_LINE": (500, "5.5.2"),
    "UNKNOWN_COMMAND": (500, "5.5.1"),
    "NOT_IMPLEMENTED": (502, "5.5.1"),
    "OUT_OF_ORDER": (503, "5.5.1"),
    "NO_VALID_RECIPIENTS": (503, "5.5.1"),
    "UPSTREAM_UNREACHABLE": (421, "4.4.1"),
    "UPSTREAM_LOST": (451, "4.4.2"),
    "UPSTREAM_GONE": (421, "4.4.2"),
    "UPSTREAM_BROKE": (451, "4.5.0"),
    "UPSTREAM_BROKE_CLOSING": (421, "4.5.0"),
    "IDLE": (421, "4.4.2"),
    "TOO_OLD": (421, "4.4.2"),
    "LOOP": (421, "4.4.6"),
    "DENIED": (554, "5.7.1"),
    "CLIENT_NOT_TOLD": (421, "4.3.5"),
    "SHUTTING_DOWN": (421, "4.3.2"),
    "TOO_MANY_ERRORS": (421, "4.7.0"),
    "TOO_MANY_SESSIONS": (421, "4.7.0"),
    "INTERNAL": (421, "4.3.0"),
    "GO_AHEAD_TLS": (220, "2.0.0"),
    "OK": (250, "2.0.0"),
    "BYE": (221, "2.0.0"),
    "START_CONTENT": (354, None),
    "AUTH_IN_CLEAR": (538, "5.7.11"),
    "AUTH_MECHANISM": (504, "5.5.4"),
    "AUTH_SYNTAX": (501, "5.5.2"),
    "REQUIRETLS_NOT_KEPT": (550, "5.7.30"),
    "BINARY_NEEDS_BDAT": (503, "5.5.1"),
    "CHUNK_TAKEN": (250, "2.0.0"),
    "HEADERS_TOO_BIG": (552, "5.3.4"),
    "HEADERS_UNCLEAR": (550, "5.5.2"),
    "RULE_DENIED": (554, "5.7.1"),
    "STORE_FAILED": (451, "4.3.0"),
}


def test_codes_are_those_that_users_were_promised() -> None:
    assert {name: (reply.code, reply.enhanced) for name, reply in OWN.items()} == AGREED


@pytest.mark.parametrize("reply", OWN.values(), ids=OWN.keys())
def test_own_reply_is_one_short_line_that_our_own_reader_takes(reply: Reply) -> None:
    wire = reply.to_wire()
    assert len(wire) <= 512
    assert len(reply.lines) == 1
    reader = ReplyReader()
    reader.feed(wire)
    assert reader.next_reply() == reply


@pytest.mark.parametrize("reply", OWN.values(), ids=OWN.keys())
def test_own_reply_names_nothing_from_inside(reply: Reply) -> None:
    assert not re.search(r"upstream|proxy|policy|rule|backend|gateway|python|twisted", reply.text, re.IGNORECASE)
