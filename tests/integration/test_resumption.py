"""TLS sessions that are resumed, on both legs of a real gateway."""

from __future__ import annotations

import contextlib
import shutil
import smtplib
import socket
import ssl
import subprocess
from typing import TYPE_CHECKING

import pytest
from cryptography import x509

from tests.integration.lab.client import Mode, connect, send_stuffed
from tests.integration.lab.gateway import Gateway, Setup
from tests.integration.lab.ports import HOST, wait_until

if TYPE_CHECKING:
    from pathlib import Path

    import trustme

    from tests.integration.lab.laboratory import Lab

VERSIONS = {"TLSv1.2": ssl.TLSVersion.TLSv1_2, "TLSv1.3": ssl.TLSVersion.TLSv1_3}
each_version = pytest.mark.parametrize("version", VERSIONS)
each_mode = pytest.mark.parametrize("mode", ["starttls", "smtps"])


def _upstream_legs(gateway: Gateway, count: int) -> list[dict[str, object]]:
    """Return what the sessions' records say of the upstream leg, once there are ``count``."""

    def found() -> list[dict[str, object]]:
        return [document["upstream_tls"] for document in gateway.records if document["record"] == "session"]

    wait_until(lambda: len(found()) == count, f"{count} sessions have ended")
    return found()


def _tls_lines(gateway: Gateway, peer: str) -> list[str]:
    return [line for line in gateway.log.splitlines() if f"TLS connection established {peer} " in line]


def _send(gateway: Gateway, mode: Mode, context: ssl.SSLContext) -> tuple[int, bytes]:
    with connect(gateway, mode, context) as client:
        return send_stuffed(client, b"hello\r\n")


@each_version
@pytest.mark.parametrize("mode", ["clear", "starttls", "smtps"])
def test_the_second_session_to_an_upstream_resumes(lab: Lab, mode: Mode, version: str) -> None:
    recorder = lab.recorder(highest=VERSIONS[version])
    gateway = lab.gateway(recorder)
    for _ in range(3):
        assert _send(gateway, mode, lab.trusting_proxy)[0] == 250
    assert [connection.resumed for connection in recorder.connections] == [False, True, True]
    first, second, third = _upstream_legs(gateway, 3)
    assert (first["resumed"], first["version"], first["verified"]) == (False, version, "trusted")
    for leg in (first, second, third):
        del leg["second_opinion"]  # which comes when it comes
    assert {**first, "resumed": True} == second == third
    lines = _tls_lines(gateway, "to")
    assert [", resumed" in line for line in lines] == [False, True, True]
    assert all("Trusted TLS connection" in line for line in lines)


@each_version
@each_mode
def test_a_self_signed_upstream_is_as_untrusted_when_resumed(lab: Lab, mode: Mode, version: str) -> None:
    recorder = lab.recorder(self_signed=True, highest=VERSIONS[version])
    gateway = lab.gateway(recorder)
    shown = [_Client(gateway, mode).meet() for _ in range(3)]
    assert [connection.resumed for connection in recorder.connections] == [False, True, True]
    assert len(set(shown)) == 1
    assert _is_signed_by(shown[0], lab.authorities.untrusted)
    legs = _upstream_legs(gateway, 3)
    assert [leg["verified"] for leg in legs] == ["untrusted"] * 3
    assert [leg["reason"] for leg in legs] == ["certificate-not-trusted"] * 3
    assert all("Untrusted TLS connection" in line for line in _tls_lines(gateway, "to"))


@each_version
def test_under_enforce_a_self_signed_upstream_is_refused_each_time(lab: Lab, version: str) -> None:
    recorder = lab.recorder(self_signed=True, highest=VERSIONS[version])
    gateway = lab.gateway(recorder, Setup(profile={"certificate_validation": "enforce"}))
    context = _careless()
    for _ in range(3):
        with pytest.raises(smtplib.SMTPConnectError) as refused:
            smtplib.SMTP_SSL(HOST, gateway.smtps_port, timeout=20, context=context)
        assert b"4.7.5" in bytes(refused.value.smtp_error)  # type: ignore[arg-type]
    assert recorder.messages == []
    assert not any(connection.resumed for connection in recorder.connections)


@each_version
def test_an_upstream_whose_certificate_became_self_signed_is_looked_at_anew(lab: Lab, version: str) -> None:
    gateway = lab.gateway(lab.recorder(highest=VERSIONS[version]))
    for _ in range(2):
        _send(gateway, "smtps", lab.trusting_proxy)
    lab.recorder(self_signed=True, highest=VERSIONS[version])
    _Client(gateway, "smtps").meet()
    legs = _upstream_legs(gateway, 3)
    assert [(leg["resumed"], leg["verified"]) for leg in legs] == [
        (False, "trusted"),
        (True, "trusted"),
        (False, "untrusted"),
    ]


# The client leg


class _Client:
    """A client that checks nothing and offers the session that it was given last."""

    def __init__(self, gateway: Gateway, mode: Mode, version: str = "TLSv1.3") -> None:
        self._gateway = gateway
        self._mode = mode
        self._context = _careless()
        self._context.maximum_version = VERSIONS[version]
        self._session: ssl.SSLSession | None = None
        self.resumed = False

    def meet(self, server_name: str | None = None) -> x509.Certificate:
        """Have a session in good order; return the certificate that is shown, or was when the session began."""
        port = self._gateway.smtps_port if self._mode == "smtps" else self._gateway.smtp_port
        with socket.create_connection((HOST, port), timeout=20) as plain:
            if self._mode == "starttls":
                _ask_for_tls(plain)
            with self._context.wrap_socket(plain, server_hostname=server_name, session=self._session) as secured:
                self.resumed = bool(secured.session_reused)
                der = secured.getpeercert(binary_form=True)
                _quit(secured, greeted=self._mode == "starttls")
                self._session = secured.session
        assert der is not None
        return x509.load_der_x509_certificate(der)

    def meet_until_resumed(self, server_name: str | None = None) -> x509.Certificate:
        shown = [self.meet(server_name) for _ in range(3)]
        assert self.resumed
        return shown[-1]


def _careless() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _ask_for_tls(plain: socket.socket) -> None:
    with plain.makefile("rwb", buffering=0) as stream:
        stream.readline()
        stream.write(b"EHLO client.test\r\n")
        while not stream.readline().startswith(b"250 "):
            pass
        stream.write(b"STARTTLS\r\n")
        assert stream.readline().startswith(b"220 ")


def _quit(secured: ssl.SSLSocket, *, greeted: bool) -> None:
    with secured.makefile("rb") as replies:
        if not greeted:
            replies.readline()
        secured.sendall(b"QUIT\r\n")
        assert replies.readline().startswith(b"221 ")
        with contextlib.suppress(ssl.SSLEOFError):
            replies.read()


def _is_signed_by(certificate: x509.Certificate, authority: trustme.CA) -> bool:
    issuer = x509.load_pem_x509_certificate(authority.cert_pem.bytes())
    try:
        certificate.verify_directly_issued_by(issuer)
    except Exception:  # noqa: BLE001 - each way of not being signed is a no
        return False
    return True


@each_version
@each_mode
def test_a_client_that_comes_again_resumes_and_it_is_told(lab: Lab, mode: Mode, version: str) -> None:
    gateway = lab.gateway(lab.recorder())
    client = _Client(gateway, mode, version)
    client.meet_until_resumed()
    wait_until(lambda: len(_tls_lines(gateway, "from")) == 3, "three handshakes are told")
    last = _tls_lines(gateway, "from")[-1]
    assert f": {version} with cipher " in last
    assert last.endswith(", resumed")
    wait_until(lambda: len([d for d in gateway.records if d["record"] == "session"]) == 3, "three sessions have ended")
    assert gateway.records[-1]["client_tls"]["resumed"]


@each_version
@each_mode
def test_a_client_that_resumed_is_shown_the_untrusted_leaf_once_upstream_is_self_signed(
    lab: Lab, mode: Mode, version: str
) -> None:
    gateway = lab.gateway(lab.recorder())
    client = _Client(gateway, mode, version)
    assert _is_signed_by(client.meet_until_resumed(), lab.authorities.proxy)
    lab.recorder(self_signed=True)
    shown = client.meet()
    assert not client.resumed
    assert _is_signed_by(shown, lab.authorities.untrusted)


@each_version
@each_mode
def test_a_ticket_opens_nothing_under_another_name(lab: Lab, mode: Mode, version: str) -> None:
    names = ("mail.inside.test", "mx.second.test")
    gateway = lab.gateway(lab.recorder(), Setup(direction="inbound", server_names=names))
    client = _Client(gateway, mode, version)
    first = client.meet_until_resumed(names[0])
    second = client.meet(names[1])
    assert not client.resumed
    assert second != first


@each_version
def test_openssls_own_client_resumes(lab: Lab, version: str, tmp_path: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    gateway, kept = lab.gateway(lab.recorder()), tmp_path / "session"
    words = []
    option = {"TLSv1.2": "-tls1_2", "TLSv1.3": "-tls1_3"}[version]
    for _ in range(3):
        command = ["openssl", "s_client", "-connect", f"{HOST}:{gateway.smtp_port}", "-starttls", "smtp", "-ign_eof"]
        command += [option, "-sess_out", str(kept), *(["-sess_in", str(kept)] if kept.exists() else [])]
        done = subprocess.run(command, input=b"EHLO c.test\r\nQUIT\r\n", capture_output=True, timeout=30, check=False)
        words.append(
            next(line.split(b",")[0] for line in done.stdout.splitlines() if line.startswith((b"New", b"Reus")))
        )
    assert words[-1] == b"Reused"
    assert words[0] == b"New"
