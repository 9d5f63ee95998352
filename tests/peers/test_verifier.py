from __future__ import annotations

import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import Store

from smtpproxy.frames import FrameReader, pack
from smtpproxy.peers.verifier import TRUST, VERIFY, opinion_of
from tests.peers.chains import der_of, lax_root, maze
from tests.pki import DAY, NOW, Pair, Wanted, make_intermediate, make_leaf, make_root

if TYPE_CHECKING:
    from collections.abc import Sequence


@pytest.fixture(scope="module")
def root() -> Pair:
    return make_root()


def token_of(root: Pair, chain: Sequence[x509.Certificate]) -> str:
    leaf, *issuers = der_of(*chain)
    token, words = opinion_of(Store([root.certificate]), leaf, issuers)
    assert bool(token) is bool(words)
    return token


@pytest.mark.parametrize(
    "names",
    [
        ("mx.example.net",),
        ("*.example.net",),
        ("192.0.2.7",),
        ("_odd_.example.net", "mx.example.net"),
        ("2001:db8::7",),
    ],
    ids=str,
)
def test_of_a_good_chain_nothing_is_said_whatever_its_names(root: Pair, names: tuple[str, ...]) -> None:
    assert token_of(root, make_leaf(make_intermediate(root, "Intermediate"), Wanted(names=names)).chain) == ""


def test_what_is_said_of_bad_ones(root: Pair) -> None:
    below = make_leaf(make_intermediate(root, "Intermediate"))
    bound = make_intermediate(make_intermediate(root, "Bound", path_length=0), "Below")
    old = Wanted(not_before=NOW - 9 * DAY, not_after=NOW - DAY)
    clients = Wanted(purposes=(ExtendedKeyUsageOID.CLIENT_AUTH,))
    mail = Wanted(names=(), extra_names=(x509.RFC822Name("root@example.net"),))
    said = {
        "stranger": token_of(make_root("Another"), below.chain),
        "nothing between": token_of(root, below.chain[:1]),
        "old": token_of(root, make_leaf(root, old).chain),
        "for clients": token_of(root, make_leaf(root, clients).chain),
        "no names": token_of(root, make_leaf(root, Wanted(names=())).chain),
        "no host's name": token_of(root, make_leaf(root, mail).chain),
        "odd names alone": token_of(root, make_leaf(root, Wanted(names=("_a_.example.net",))).chain),
        "bound": token_of(root, make_leaf(bound).chain),
    }
    assert said == {
        "stranger": "no-path",
        "nothing between": "no-path",
        "old": "expired",
        "for clients": "wrong-purpose",
        "no names": "no-name",
        "no host's name": "no-name",
        "odd names alone": "no-name",
        "bound": "path-length",
    }


def test_a_root_that_openssl_takes() -> None:
    lax = lax_root()
    assert token_of(lax, make_leaf(lax).chain) == "critical-extension"


def test_what_cannot_be_read(root: Pair) -> None:
    (leaf,) = der_of(make_leaf(root).certificate)
    store = Store([root.certificate])
    assert opinion_of(store, b"no certificate", ())[0] == "malformed"
    assert opinion_of(store, leaf, (b"no certificate",))[0] == "malformed"
    assert opinion_of(store, leaf.replace(b"mx.example.net", b"mx.example.n\xe9t"), ())[0] == "malformed"
    assert opinion_of(None, leaf, ())[0] == "no-path"


def test_a_certificate_of_no_version_ends_nothing(root: Pair) -> None:
    leaf = make_leaf(root).certificate
    odd = bytearray(der_of(root.certificate)[0])
    odd[odd.index(b"\xa0\x03\x02\x01\x02") + 4] = 77  # OpenSSL takes it
    token, _ = opinion_of(Store([root.certificate]), der_of(leaf)[0], [bytes(odd)])
    assert token == "malformed"


def test_a_maze_of_issuers_ends() -> None:
    lax = lax_root()
    began_s = time.process_time()
    assert token_of(lax, maze(lax, 9).chain) == "too-complex"
    assert time.process_time() - began_s < 5


def run(octets: bytes) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-P", "-m", "smtpproxy.peers.verifier"]
    return subprocess.run(command, input=octets, capture_output=True, timeout=60, check=False)


def test_the_program_answers_in_order_until_its_input_ends(root: Pair) -> None:
    good, stranger = make_leaf(root), make_leaf(make_root("Another"))
    asked = [pack([VERIFY, b"0", b"5", *der_of(*pair.chain)]) for pair in (good, stranger, good)]
    ended = run(pack([TRUST, b"0", b"unreadable", *der_of(root.certificate)]) + b"".join(asked))
    assert ended.returncode == 0
    assert [fields[0] for fields in FrameReader().feed(ended.stdout)] == [b"", b"no-path", b""]


def test_who_trusts_nobody_finds_no_path(root: Pair) -> None:
    ended = run(pack([TRUST, b"0"]) + pack([VERIFY, b"0", b"5", *der_of(make_leaf(root).certificate)]))
    assert [fields[0] for fields in FrameReader().feed(ended.stdout)] == [b"no-path"]


def test_the_program_dies_of_what_it_does_not_know() -> None:
    ended = run(pack([b"dance"]))
    assert ended.returncode == 1
    assert b"unknown kind" in ended.stderr


def test_the_program_ends_itself_when_its_time_is_over() -> None:
    lax = lax_root()
    ended = run(
        pack([TRUST, b"0", *der_of(lax.certificate)]) + pack([VERIFY, b"0", b"0.000001", *der_of(*maze(lax, 9).chain)])
    )
    assert ended.returncode == -14
    assert ended.stdout == b""
