from __future__ import annotations

import socket

import pytest

from smtpproxy.transport.transparent import make_transparent, original_destination


@pytest.mark.parametrize(("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_a_connection_that_nobody_redirected_has_no_other_destination(family: int, host: str) -> None:
    with socket.create_server((host, 0), family=family) as listener:
        dialled = listener.getsockname()[:2]
        with socket.create_connection(dialled, 10), listener.accept()[0] as accepted:
            assert original_destination(accepted) in {None, dialled}  # the latter where connections are tracked


@pytest.mark.parametrize(("family", "foreign"), [(socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")])
def test_a_transparent_socket_can_be_bound_to_the_address_of_another_machine(family: int, foreign: str) -> None:
    with socket.socket(family) as ordinary, pytest.raises(OSError, match="assign requested address"):
        ordinary.bind((foreign, 0))
    with socket.socket(family) as made:
        try:
            make_transparent(made)
        except PermissionError:
            pytest.skip("needs CAP_NET_RAW or CAP_NET_ADMIN")
        made.bind((foreign, 0))
        assert made.getsockname()[0] == foreign
