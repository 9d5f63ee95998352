"""The table beside the administrator's own rules: what docs/firewall.md says of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from smtpproxy.firewall.kernel import Kernel
from tests.firewall.connections import SOON_S, WAYS, works
from tests.firewall.namespaces import INSIDE, OUTSIDE, SERVER, Row
from tests.firewall.values import state

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

VERSIONS: Final = pytest.mark.parametrize("version", [4, 6])
EACH_WAY: Final = pytest.mark.parametrize("way", WAYS)

INPUT: Final = """
chain input {
    type filter hook input priority filter; policy drop;
    ct state established,related accept
    icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept
    %s
}
"""
FORWARD: Final = "chain forward { type filter hook forward priority filter; policy drop; }"
CHECK_OF_SOURCES: Final = """
chain sources {
    type filter hook prerouting priority mangle + 10;
    fib saddr . %s oif missing drop
}
"""
MASQUERADE: Final = 'chain out { type nat hook postrouting priority srcnat; oifname "g1" masquerade; }'


@pytest.fixture
def other(row: Row) -> Iterator[Callable[[str], None]]:
    """Give the gateway a table of somebody else's."""

    def put(chains: str) -> None:
        row.gateway.run("nft", f"table inet other {{\n{chains}\n}}")

    yield put
    row.gateway.run("nft", "add table inet other; delete table inet other")


def apply(row: Row, way: str) -> None:
    with row.gateway.entered():
        Kernel().apply(state(WAYS[way]))


@VERSIONS
@pytest.mark.parametrize("way", ["tproxy", "redirect"])
def test_input_has_to_accept_what_clients_send_elsewhere(
    row: Row, other: Callable[[str], None], way: str, version: int
) -> None:
    apply(row, way)
    other(INPUT % "")
    assert not works(row, way, version)
    row.gateway.run("nft", "add rule inet other input tcp dport { 25, 465 } accept")
    assert works(row, way, version)


@VERSIONS
def test_input_has_to_accept_answers_as_those_to_any_connection(
    row: Row, other: Callable[[str], None], version: int
) -> None:
    apply(row, "answers")
    other(INPUT % "")
    assert works(row, "answers", version)


@VERSIONS
@EACH_WAY
def test_what_forward_drops_does_not_matter(row: Row, other: Callable[[str], None], way: str, version: int) -> None:
    apply(row, way)
    other(FORWARD)
    assert works(row, way, version)


@pytest.mark.parametrize(
    ("check", "passes"), [("mark . iif", {"redirect"}), ("mark", {"redirect"}), ("iif", set(WAYS))]
)
@VERSIONS
@EACH_WAY
def test_sources_must_not_be_checked_by_mark(
    row: Row, other: Callable[[str], None], way: str, version: int, check: str, passes: set[str]
) -> None:
    """firewalld has such a check, of IPv6: IPv6_rpfilter."""
    apply(row, way)
    other(CHECK_OF_SOURCES % check)
    assert works(row, way, version) is (way in passes)


@VERSIONS
def test_a_port_that_is_forwarded_by_translation_is_blocked(
    row: Row, other: Callable[[str], None], version: int
) -> None:
    """It is for the machine itself, then for a destination that a policy takes: nothing passes uninspected."""
    family = {4: "ip", 6: "ip6"}[version]
    translated = f"{family} daddr {INSIDE[version]} tcp dport {{ 25, 26 }} dnat {family} to {SERVER[version]}"
    other(f"chain in {{ type nat hook prerouting priority dstnat; {translated}; }}")
    with row.server.listen(version, 25), row.server.listen(version, 26):
        row.client.dial(INSIDE[version], 25, SOON_S).close()
        apply(row, "tproxy")
        with pytest.raises(TimeoutError):
            row.client.dial(INSIDE[version], 25, SOON_S)
        row.client.dial(INSIDE[version], 26, SOON_S).close()


@VERSIONS
@pytest.mark.parametrize("way", ["tproxy", "redirect"])
def test_masquerading_goes_on(row: Row, other: Callable[[str], None], way: str, version: int) -> None:
    apply(row, way)
    other(MASQUERADE)
    assert works(row, way, version)
    with row.server.listen(version, 26) as server, row.client.dial(SERVER[version], 26), server.accept()[0] as accepted:
        assert accepted.getpeername()[0] == OUTSIDE[version]
