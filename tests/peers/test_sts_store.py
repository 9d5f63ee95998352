from __future__ import annotations

import json
from pathlib import Path

import pytest

from smtpproxy.peers.sts_store import LEAST_AGE_S, MAX_KEPT, Held, StsStore, load_policies, save_policies
from smtpproxy.policy.knowledge import StsMode, StsPolicy
from smtpproxy.policy.mta_sts import MAX_AGE_S

POLICY = StsPolicy("1", StsMode.ENFORCE, 1000, ("mail.example.com", "*.example.net"))


class Shelf:
    """A store, and the clock that it goes by."""

    def __init__(self) -> None:
        self.now_s = 5000.0
        self.store = StsStore(lambda: self.now_s)


def test_a_policy_holds_for_its_lifetime_and_not_longer() -> None:
    shelf = Shelf()
    shelf.store.put("example.com", POLICY)
    shelf.now_s += 999
    assert shelf.store.get("example.com") == POLICY
    shelf.now_s += 1
    assert shelf.store.get("example.com") is None


def test_a_policy_fetched_again_begins_anew() -> None:
    shelf = Shelf()
    shelf.store.put("example.com", POLICY)
    shelf.now_s += 999
    shelf.store.put("example.com", POLICY)
    shelf.now_s += 999
    assert shelf.store.get("example.com") == POLICY


def test_a_policy_of_no_lifetime_serves_a_moment() -> None:
    shelf = Shelf()
    shelf.store.put("example.com", StsPolicy("1", StsMode.NONE, 0, ()))
    shelf.now_s += LEAST_AGE_S - 1
    assert shelf.store.get("example.com") is not None
    shelf.now_s += 1
    assert shelf.store.get("example.com") is None


def test_the_ones_used_lately_are_kept() -> None:
    shelf = Shelf()
    for number in range(MAX_KEPT):
        shelf.store.put(f"d{number}.example", POLICY)
    shelf.store.get("d0.example")
    shelf.store.put("d1.example", POLICY)  # refreshed, not used
    shelf.store.put("new.example", POLICY)
    assert shelf.store.get("d0.example") == POLICY
    assert shelf.store.get("d1.example") is None
    assert shelf.store.figures.size == MAX_KEPT


def test_what_is_old_is_told_and_what_is_over_is_dropped() -> None:
    shelf = Shelf()
    shelf.store.put("over.example", StsPolicy("1", StsMode.ENFORCE, 100, ()))
    shelf.store.put("old.example", POLICY)
    shelf.now_s += 500
    shelf.store.put("new.example", POLICY)
    assert shelf.store.older_than(400) == {"old.example": POLICY}
    assert shelf.store.figures.size == 2


def kept(file: Path, now_s: float = 5000.0) -> dict[str, Held]:
    return load_policies(file, now_s)


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    file = tmp_path / "var" / "mta-sts.json"
    policies = {"a.example": Held(POLICY, 4990.5), "b.example": Held(StsPolicy("2", StsMode.NONE, 9, ()), 4999.0)}
    save_policies(file, policies)
    save_policies(file, policies)
    assert kept(file) == policies
    assert list(kept(file)) == list(policies)
    assert [each.name for each in file.parent.iterdir()] == ["mta-sts.json"]


def test_what_is_over_is_not_loaded(tmp_path: Path) -> None:
    file = tmp_path / "mta-sts.json"
    save_policies(file, {"a.example": Held(POLICY, 4000.0), "b.example": Held(POLICY, 4001.0)})
    assert list(kept(file)) == ["b.example"]


def test_a_missing_file_has_no_policies(tmp_path: Path) -> None:
    assert kept(tmp_path / "mta-sts.json") == {}


@pytest.mark.parametrize(
    "octets", [b"", b"{", b"[]", b"\xff", b'{"version": 2, "policies": []}', b"null", b"[" * 100_000]
)
def test_a_file_of_another_kind_is_refused(tmp_path: Path, octets: bytes) -> None:
    file = tmp_path / "mta-sts.json"
    file.write_bytes(octets)
    with pytest.raises(ValueError, match=r".+"):
        kept(file)


GOOD = {"domain": "a.example", "id": "1", "mode": "enforce", "max_age": 1000, "mx": ["mail.a.example"], "fetched": 4990}


@pytest.mark.parametrize(
    "damaged",
    [
        None, [], "a", {}, {**GOOD, "domain": "A.example"}, {**GOOD, "domain": "a..b"}, {**GOOD, "mode": "report"},
        {**GOOD, "max_age": "x"}, {**GOOD, "max_age": None}, {**GOOD, "mx": None}, {**GOOD, "mx": 1},
        {**GOOD, "fetched": "x"}, {**GOOD, "fetched": float("nan")}, {**GOOD, "fetched": float("-inf")},
        {**GOOD, "max_age": float("inf")}, {**GOOD, "fetched": 10**400},
    ],
)  # fmt: skip
def test_damaged_entries_are_left_out(tmp_path: Path, damaged: object) -> None:
    file = tmp_path / "mta-sts.json"
    file.write_text(json.dumps({"version": 1, "policies": [damaged, {**GOOD, "domain": "b.example"}]}))
    assert kept(file) == {"b.example": Held(StsPolicy("1", StsMode.ENFORCE, 1000, ("mail.a.example",)), 4990.0)}


def test_nothing_lasts_longer_than_it_may_because_a_file_says_so(tmp_path: Path) -> None:
    file = tmp_path / "mta-sts.json"
    file.write_text(json.dumps({"version": 1, "policies": [{**GOOD, "max_age": 10**12, "fetched": 10**12}]}))
    held = kept(file)["a.example"]
    assert (held.policy.max_age_s, held.fetched_s) == (MAX_AGE_S, 5000.0)


def test_no_more_are_loaded_than_are_kept(tmp_path: Path) -> None:
    file = tmp_path / "mta-sts.json"
    save_policies(file, {f"d{number}.example": Held(POLICY, 4999.0) for number in range(MAX_KEPT + 1)})
    assert len(kept(file)) == MAX_KEPT
    assert "d0.example" not in kept(file)
