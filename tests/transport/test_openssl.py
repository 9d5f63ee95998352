from __future__ import annotations

import pytest
from OpenSSL import SSL

from smtpproxy.transport.openssl import (
    OpenSslError,
    require_openssl,
    session_reused,
    set_groups,
    verify_error_text,
    verify_result,
)
from tests.handshakes import plain_client, plain_server, shake
from tests.pki import make_leaf


def test_this_machine_has_what_is_needed() -> None:
    require_openssl()


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("smtpproxy.transport.openssl._NEEDED", ("SSL_session_reused", "SSL_of_the_future"))
    with pytest.raises(OpenSslError, match="has no SSL_of_the_future; install"):
        require_openssl()


def test_an_old_library_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SSL, "OPENSSL_VERSION_NUMBER", 0x1010111F)
    with pytest.raises(OpenSslError, match="too old"):
        require_openssl()


def test_a_resumed_session_is_told_from_a_full_handshake() -> None:
    server, client = plain_server(make_leaf(None)), plain_client()
    first = shake(server, client)
    assert not session_reused(first.client.connection)
    second = shake(server, client, first.client.connection.get_session())
    assert second.done
    assert session_reused(second.client.connection)
    assert session_reused(second.server.connection)


def test_the_verdict_on_the_chain_outlives_a_resumption() -> None:
    server, client = plain_server(make_leaf(None)), plain_client()
    first = shake(server, client)
    second = shake(server, client, first.client.connection.get_session())
    assert verify_result(first.client.connection) == verify_result(second.client.connection) == 18
    assert verify_error_text(18) == "self-signed certificate"


def test_groups_that_are_not_known_change_nothing_and_leave_no_error_behind() -> None:
    context = SSL.Context(SSL.TLS_METHOD)
    assert set_groups(context, "P-384")
    assert not set_groups(context, "P-384:no-such-group")
    outcome = shake(plain_server(make_leaf(None)), context)
    assert outcome.done
    assert outcome.client.connection.get_group_name() == "secp384r1"
    with pytest.raises(SSL.Error) as caught:
        SSL.Context(SSL.TLS_METHOD).use_certificate_file("/nowhere")
    assert not any("group" in reason for *_, reason in caught.value.args[0])
