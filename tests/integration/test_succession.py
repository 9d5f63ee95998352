"""From one authority to the next, by the steps of docs/operation.md: no client sees what it does not trust."""

from __future__ import annotations

import smtplib
import socket
import ssl
import subprocess
import threading
import time
from collections import Counter
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509

from tests.integration.lab.client import MODES, connect, send_stuffed
from tests.integration.lab.gateway import Gateway, Setup
from tests.integration.lab.laboratory import trusting
from tests.integration.lab.ports import HOST, wait_until
from tests.integration.test_soak import BEAT_S, SESSIONS, Senders
from tests.integration.test_workers import serving
from tests.pki import DAY, NOW, Pair, Wanted, make_root

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.integration.lab.laboratory import Lab
    from tests.integration.lab.recorder import RecordingUpstream

LOAD_S = 8.0
TRIES = {1: 1, 2: 3}
"""Sessions of each mode: with two workers either should have one."""

FOR_MANY = {"max_sessions_per_source": 10 * SESSIONS, "max_sessions": 10 * SESSIONS}
CLIENTS = ("old", "new", "both")


@pytest.fixture(params=[1, 2], ids=["one worker", "two workers"])
def gateway(lab: Lab, recorder: RecordingUpstream, request: pytest.FixtureRequest) -> Iterator[Gateway]:
    workers: int = request.param
    gateway = lab.doomed_gateway(recorder, Setup(workers=workers, general=FOR_MANY))
    try:
        wait_until(lambda: workers == 1 or serving(gateway) == {1, 2}, "the workers serve")
        yield gateway
        gateway.judge()
    finally:
        if gateway.alive:
            gateway.close()


def told(gateway: Gateway, *words: str) -> str:
    done = gateway.tell(*words)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def trusting_file(path: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(path)
    return context


def clients(gateway: Gateway, lab: Lab) -> dict[str, ssl.SSLContext]:
    """Those that were not visited yet, those that trust the next one only, those that took the bundle."""
    bundle = gateway.home / "authorities.pem"
    exported = told(gateway, "ca", "export", "--next", "--output", str(bundle))
    assert exported.count("SHA-256: ") == exported.count("valid: ") == 2
    return {
        "old": trusting(lab.authorities.proxy),
        "new": trusting_file(gateway.home / "certs" / "proxy-authority-2.pem"),
        "both": trusting_file(bundle),
    }


def content_with(gateway: Gateway, contexts: dict[str, ssl.SSLContext], workers: int) -> set[str]:
    """Which clients send mail by either way to TLS, every time; one that is refused once is none of them."""
    return {name for name in contexts if all(_sends(gateway, contexts[name]) for _ in range(TRIES[workers]))}


def _sends(gateway: Gateway, context: ssl.SSLContext) -> bool:
    came = [_came(gateway, mode == "smtps", context) for mode in MODES if mode != "clear"]
    assert len(set(came)) == 1  # the ways do not differ
    return came[0]


def _came(gateway: Gateway, implicit: bool, context: ssl.SSLContext) -> bool:  # noqa: FBT001 - a way of two
    try:
        with connect(gateway, "smtps" if implicit else "starttls", context) as client:
            return send_stuffed(client, b"hello\r\n")[0] == 250
    except ssl.SSLCertVerificationError:
        return False


def issuer(gateway: Gateway) -> str:
    """Who signs what a client that trusts anything is shown."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with (
        socket.create_connection((HOST, gateway.smtps_port), timeout=20) as plain,
        context.wrap_socket(plain) as secured,
    ):
        assert secured.recv(4) == b"220 "
        return _issuer(secured)


def _issuer(secured: Any) -> str:  # noqa: ANN401 - of the socket that smtplib has, too
    return x509.load_der_x509_certificate(secured.getpeercert(binary_form=True)).issuer.rfc4514_string()


def signing(gateway: Gateway) -> tuple[str, bool, float]:
    """Which Proxy Authority the running gateway says signs, whether its cross-certificate is sent, and its end."""
    status = gateway.ask("status")
    (proxy,) = [each for each in status["authorities"] if each["authority"] == "proxy"]
    end_s: float = status["counters"]["authority_end_timestamp_seconds"]["proxy"]
    return proxy["name"], proxy["crossed_until"] is not None, end_s


def workers_of(gateway: Gateway) -> int:
    return 2 if serving(gateway) == {1, 2} else 1


def test_every_step_suits_every_client(gateway: Gateway, lab: Lab) -> None:
    workers, old_issuer = workers_of(gateway), "O=Test Proxy Authority"
    with smtplib.SMTP(HOST, gateway.smtp_port, "client.test", timeout=30) as begun:
        begun.ehlo()
        assert "certs/proxy-authority-2-cross.pem" in told(gateway, "ca", "make")
        contexts = clients(gateway, lab)
        assert content_with(gateway, contexts, workers) == {"old", "both"}
        told(gateway, "ca", "switch")
        assert content_with(gateway, contexts, workers) == {"old", "both"}
        assert old_issuer in issuer(gateway)
        assert "reloaded: " in gateway.reload()
        assert content_with(gateway, contexts, workers) == set(CLIENTS)
        assert issuer(gateway) == "CN=SMTP Proxy Authority 2"
        assert signing(gateway)[:2] == ("CN=SMTP Proxy Authority 2", True)
        begun.starttls(context=contexts["old"])  # it goes on by the configuration that it began with
        assert old_issuer in _issuer(begun.sock)
        begun.ehlo()
        assert send_stuffed(begun, b"begun before\r\n")[0] == 250
    end_s = x509.load_pem_x509_certificate((gateway.home / "certs" / "proxy-authority-2.pem").read_bytes())
    wait_until(
        lambda: signing(gateway)[2] == end_s.not_valid_after_utc.timestamp(), "the end of the new one is counted"
    )
    assert "cross_certificate" in gateway.configuration.read_text()
    assert "certs/proxy-authority.key" in told(gateway, "ca", "retire")
    assert content_with(gateway, contexts, workers) == set(CLIENTS)
    assert "reloaded: " in gateway.reload()
    assert content_with(gateway, contexts, workers) == {"new", "both"}
    assert signing(gateway)[:2] == ("CN=SMTP Proxy Authority 2", False)
    assert "proxy: CN=SMTP Proxy Authority 2, until " in told(gateway, "status")


def test_no_tls_session_of_the_old_one_is_resumed(gateway: Gateway) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        context.maximum_version = version
        kept = [_visit(gateway, context, None)[0] for _ in range(4)]
        told(gateway, "ca", "make")
        told(gateway, "ca", "switch")
        assert "reloaded: " in gateway.reload()
        number = 2 if version is ssl.TLSVersion.TLSv1_2 else 3
        for session in kept:
            _, resumed, signed_by = _visit(gateway, context, session)
            assert (resumed, signed_by) == (False, f"CN=SMTP Proxy Authority {number}")


def _visit(
    gateway: Gateway, context: ssl.SSLContext, session: ssl.SSLSession | None
) -> tuple[ssl.SSLSession | None, bool, str]:
    with (
        socket.create_connection((HOST, gateway.smtps_port), timeout=20) as plain,
        context.wrap_socket(plain, session=session) as secured,
        secured.makefile("rb") as replies,
    ):
        assert replies.readline().startswith(b"220 ")
        secured.sendall(b"QUIT\r\n")
        assert replies.readline().startswith(b"221 ")
        return secured.session, bool(secured.session_reused), _issuer(secured)


@pytest.mark.parametrize("gateway", [1], indirect=True)
@pytest.mark.parametrize("program", ["openssl", "gnutls"])
def test_other_programs_verify_by_either_way(gateway: Gateway, lab: Lab, program: str) -> None:
    told(gateway, "ca", "make")
    clients(gateway, lab)
    told(gateway, "ca", "switch")
    assert "reloaded: " in gateway.reload()
    files = ("certs/proxy-authority.pem", "certs/proxy-authority-2.pem", "authorities.pem")
    assert [_verifies(program, gateway, file) for file in files] == [True] * 3
    assert not _verifies(program, gateway, "certs/untrusted-authority.pem")


def _verifies(program: str, gateway: Gateway, file: str) -> bool:
    trusted, port = gateway.home / file, str(gateway.smtps_port)
    commands: dict[str, list[str]] = {
        "openssl": [
            *("openssl", "s_client", "-connect", f"{HOST}:{port}", "-CAfile", str(trusted), "-no-CApath"),
            *("-no-CAstore", "-verify_return_error", "-x509_strict", "-verify_ip", HOST, "-quiet"),
        ],
        "gnutls": ["gnutls-cli", "--x509cafile", str(trusted), "-p", port, HOST],
    }
    done = subprocess.run(commands[program], input=b"QUIT\r\n", capture_output=True, timeout=60, check=False)
    return b"221 " in done.stdout or b"220 " in done.stdout


def test_a_switch_that_cannot_be_is_refused_and_the_old_one_signs_on(gateway: Gateway, lab: Lab) -> None:
    told(gateway, "ca", "make")
    certs, old = gateway.home / "certs", {"old": trusting(lab.authorities.proxy)}
    kept = {path: path.read_bytes() for path in certs.glob("proxy-authority-2*")}
    certificate, key = certs / "proxy-authority-2.pem", certs / "proxy-authority-2.key"
    past, coming = _root(NOW - 9 * DAY, NOW - DAY), _root(NOW + timedelta(hours=2), NOW + 9 * DAY)
    untrusted = [(certs / f"untrusted-authority.{each}").read_bytes() for each in ("pem", "key")]
    spoilt: dict[str, dict[Path, bytes | None]] = {
        "the key does not belong to the certificate": {key: past.key_pem},
        "proxy-authority-2.key: does not exist": {key: None},
        "proxy-authority-2.pem: does not exist": {certificate: None},
        "and so would every leaf; renew the authority": {certificate: past.pem, key: past.key_pem},
        "valid only from": {certificate: coming.pem, key: coming.key_pem},
        "certifies another authority than the one beside it": {certs / "proxy-authority-2-cross.pem": past.pem},
        "the same key as proxy_authority": {certificate: untrusted[0], key: untrusted[1]},
    }
    told(gateway, "ca", "switch")
    for message, files in spoilt.items():
        for path, octets in files.items():
            path.unlink() if octets is None else path.write_bytes(octets)
        if message == "the same key as proxy_authority":
            gateway.edit(lambda main: main["certificates"]["proxy_authority"].pop("cross_certificate"))
        log = gateway.reload()
        assert message in log
        assert "reload refused, generation 1 goes on" in log
        assert content_with(gateway, old, workers_of(gateway)) == {"old"}
        for path, octets in kept.items():
            path.write_bytes(octets)
    assert "reloaded: " in gateway.reload()
    assert issuer(gateway) == "CN=SMTP Proxy Authority 2"


def _root(begins: Any, ends: Any) -> Pair:  # noqa: ANN401 - dates
    wanted = Wanted((), "Another", not_before=begins, not_after=ends, purposes=(), authority=True)
    return make_root(wanted=wanted)


def test_the_untrusted_one_follows_too_and_is_never_trusted(gateway: Gateway, lab: Lab) -> None:
    lab.recorder(self_signed=True)
    told(gateway, "ca", "make", "--authority", "untrusted")
    told(gateway, "ca", "make")
    contexts = clients(gateway, lab)
    told(gateway, "ca", "switch", "--authority", "untrusted")
    assert "reloaded: " in gateway.reload()
    assert issuer(gateway) == "CN=SMTP untrusted authority 2"
    assert content_with(gateway, contexts, workers_of(gateway)) == set()
    assert not list((gateway.home / "certs").glob("untrusted-*cross*"))


def test_under_load_no_session_is_lost(gateway: Gateway, lab: Lab, recorder: RecordingUpstream) -> None:
    """Clients trust the first authority only; which one signs changes every two seconds."""
    told(gateway, "ca", "make")
    told(gateway, "ca", "switch")
    second = gateway.configuration.read_text()
    gateway.edit(_name_the_first)
    first = gateway.configuration.read_text()
    until_s, turns = time.monotonic() + LOAD_S, 0
    with Senders(gateway, trusting(lab.authorities.proxy)) as senders:
        while time.monotonic() < until_s:
            beat_s = time.monotonic() + BEAT_S
            gateway.configuration.write_text(first if turns % 2 else second)
            assert "reloaded: " in gateway.reload()
            turns += 1
            threading.Event().wait(max(0.0, beat_s - time.monotonic()))  # the beat is what is asked for
    outcome = senders.outcome
    assert outcome.lost == {}
    stored = Counter(recorder.messages)
    assert sorted(stored.elements()) == sorted(outcome.accepted)
    assert set(stored.values()) == {1}
    assert len(outcome.accepted) > SESSIONS
    assert turns > 1


def _name_the_first(main: dict[str, Any]) -> None:
    main["certificates"]["proxy_authority"] = {
        "certificate": "certs/proxy-authority.pem",
        "key": "certs/proxy-authority.key",
    }
