"""The two transition tables: what they promise as a whole."""

from __future__ import annotations

import pytest

from docs.draw_states import FOLDER, drawings
from smtpproxy.errors import ProtocolError
from smtpproxy.session.states import (
    CLIENT,
    DIALOGUE,
    TRANSACTION,
    UPSTREAM,
    ClientState,
    ClientStep,
    ClientTrigger,
    UpstreamState,
    UpstreamStep,
    step_client,
    step_upstream,
)
from smtpproxy.smtp.commands import Verb


@pytest.mark.parametrize("name", drawings())
def test_the_drawings_are_current(name: str) -> None:
    assert (FOLDER / name).read_text() == drawings()[name], "run `python docs/draw_states.py`"


def test_there_are_no_drawings_of_what_is_no_more() -> None:
    assert {path.name for path in FOLDER.iterdir()} == set(drawings())


def test_every_state_has_its_row() -> None:
    assert set(CLIENT) == set(ClientState)
    assert set(UPSTREAM) == set(UpstreamState)


def test_every_step_moves_some_state() -> None:
    assert {step for row in CLIENT.values() for step in row} >= set(ClientStep)
    assert {step for row in UPSTREAM.values() for step in row} == set(UpstreamStep)


def test_every_state_can_be_reached() -> None:
    assert {target for row in CLIENT.values() for target in row.values()} == set(ClientState) - {ClientState.CONNECTED}
    assert {target for row in UPSTREAM.values() for target in row.values()} == set(UpstreamState) - {UpstreamState.IDLE}


def test_every_state_but_the_last_can_be_left_for_it() -> None:
    assert {state for state, row in CLIENT.items() if row.get(ClientStep.CLOSE) is not ClientState.CLOSED} == {
        ClientState.CLOSED
    }
    assert {state for state, row in UPSTREAM.items() if row.get(UpstreamStep.CLOSE) is not UpstreamState.CLOSED} == {
        UpstreamState.CLOSED
    }


def test_commands_are_for_the_dialogue_only() -> None:
    with_verbs = {state for state, row in CLIENT.items() if any(isinstance(trigger, Verb) for trigger in row)}
    assert with_verbs == DIALOGUE


def test_content_comes_behind_data_and_data_behind_a_recipient() -> None:
    assert _ways_to(C.CONTENT) == {(C.RECIPIENTS, Verb.DATA)}
    assert {way for way in _ways_to(C.RECIPIENTS) if way[0] is not C.RECIPIENTS} == {(C.SENDER, Verb.RCPT)}
    assert C.CONTENT in TRANSACTION
    assert C.IDENTIFIED not in TRANSACTION


def test_the_dot_goes_out_of_content_only_and_is_answered_once() -> None:
    assert [state for state, row in UPSTREAM.items() if UpstreamStep.DOT in row] == [
        UpstreamState.CONTENT,
        UpstreamState.CHUNK,
    ]
    assert [state for state, row in UPSTREAM.items() if UpstreamStep.ANSWERED in row] == [UpstreamState.FINAL]


def test_tls_is_begun_where_the_client_has_said_ehlo_in_clear() -> None:
    assert [state for state, row in CLIENT.items() if Verb.STARTTLS in row] == [C.IDENTIFIED]
    assert CLIENT[C.SECURING][ClientStep.SECURED] is C.GREETED


def test_a_refused_certificate_leads_to_no_other_connection() -> None:
    assert set(UPSTREAM[UpstreamState.REFUSED]) == {UpstreamStep.CLOSE}


def test_a_step_that_is_not_in_the_table_is_an_error() -> None:
    with pytest.raises(ProtocolError, match="out-of-order"):
        step_client(C.GREETED, Verb.MAIL)
    with pytest.raises(ProtocolError, match="out-of-order"):
        step_upstream(UpstreamState.READY, UpstreamStep.DOT)
    assert step_client(C.IDENTIFIED, Verb.MAIL) is C.SENDER
    assert step_upstream(UpstreamState.CONTENT, UpstreamStep.DOT) is UpstreamState.FINAL


def _ways_to(target: ClientState) -> set[tuple[ClientState, ClientTrigger]]:
    return {(state, trigger) for state, row in CLIENT.items() for trigger, to in row.items() if to is target}


C = ClientState
