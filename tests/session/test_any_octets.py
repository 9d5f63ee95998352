"""Octets of any kind, from either side, in any state: only actions come of it, and only commands go upstream."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smtpproxy.errors import ProtocolError
from smtpproxy.session.actions import End, Send
from smtpproxy.session.events import Received
from smtpproxy.session.legs import Leg
from smtpproxy.session.states import CONTENT, ClientState
from smtpproxy.smtp.command_parser import parse_auth_response, parse_command
from smtpproxy.smtp.commands import Command, Unknown
from tests.session.playbook import Playbook
from tests.session.stages import CLIENT_STAGES, UPSTREAM_STAGES

PIECES = st.sampled_from(
    [b"\r\n", b"\n", b"\r", b"\0", b".", b" ", b"\xff", b"\xc3\xa4", b"<>", b"MAIL FROM:", b"250 ", b"-"]
)
OCTETS = st.lists(st.one_of(PIECES, st.binary(max_size=8)), max_size=8).map(b"".join)


def parse(line: bytes) -> Command:
    """A response to a challenge has no verb."""
    try:
        return parse_auth_response(line)
    except ProtocolError:
        return parse_command(line)


def only_commands_went_upstream(book: Playbook) -> None:
    """Check what the last event led to."""
    actions = book.pending()
    for action in actions:
        if isinstance(action, Send) and action.leg is Leg.UPSTREAM:
            for line in action.data.splitlines(keepends=True):
                command = parse(line.removesuffix(b"\r\n"))
                assert not isinstance(command, Unknown)
                assert command.to_wire() == line
    assert End() not in actions[:-1]


@pytest.mark.parametrize("state", [state for state in ClientState if state not in CONTENT | {ClientState.TUNNEL}])
@settings(max_examples=20, deadline=None)
@given(pieces=st.lists(OCTETS.filter(bool), max_size=5))
def test_from_the_client(state: ClientState, pieces: list[bytes]) -> None:
    book = CLIENT_STAGES[state]()
    for piece in pieces:
        book >> Received(Leg.CLIENT, piece)
        only_commands_went_upstream(book)


@pytest.mark.parametrize("stage", UPSTREAM_STAGES)
@settings(max_examples=20, deadline=None)
@given(pieces=st.lists(OCTETS.filter(bool), max_size=5))
def test_from_upstream(stage: str, pieces: list[bytes]) -> None:
    book = UPSTREAM_STAGES[stage][0]()
    for piece in pieces:
        book >> Received(Leg.UPSTREAM, piece)
        only_commands_went_upstream(book)


@pytest.mark.parametrize("state", CLIENT_STAGES)
@settings(max_examples=20, deadline=None)
@given(pieces=st.lists(st.tuples(st.sampled_from(Leg), OCTETS.filter(bool)), max_size=8))
def test_from_both(state: ClientState, pieces: list[tuple[Leg, bytes]]) -> None:
    book = CLIENT_STAGES[state]()
    for leg, piece in pieces:
        book >> Received(leg, piece)
        book.skip()
