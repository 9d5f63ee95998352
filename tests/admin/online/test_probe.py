from __future__ import annotations

import json
import os
import socket
import ssl
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from smtpproxy.admin.exits import CommandError, ExitStatus
from smtpproxy.admin.online.findings import Findings, Target
from smtpproxy.admin.online.judgement import judge
from smtpproxy.admin.online.picture import picture_of
from smtpproxy.admin.online.probe import Means, probe, probing_context
from smtpproxy.admin.probe import parse_target
from smtpproxy.policy.model import CertificateValidation, TlsProfile
from smtpproxy.tls.facts import TlsVersion
from smtpproxy.transport.profile_files import ProfileFiles
from smtpproxy.transport.trust import load_trust
from tests.admin.online.servers import NAMES, Servers
from tests.integration.lab.ports import HOST, free_ports
from tests.integration.lab.recorder import Script
from tests.pki import DAY, NOW, Pair, Wanted, make_leaf

PROGRAM = Path(sys.executable).with_name("smtpproxy")


def run(servers: Servers, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command where there is no configuration; the system's trust is that of the tests."""
    return subprocess.run(
        [PROGRAM, "probe", *arguments],
        cwd=servers.trusted.parent,
        env={**os.environ, "SSL_CERT_FILE": str(servers.trusted), **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def found(servers: Servers, *arguments: str) -> dict[str, Any]:
    done = run(servers, *arguments, "--format", "json")
    document: dict[str, Any] = json.loads(done.stdout)
    assert document["status"] == done.returncode
    return document


def look(servers: Servers, target: Target, *, resume: bool = False, timeout_s: float = 20) -> Findings:
    context = probing_context(TlsProfile("usual"), ProfileFiles(load_trust(servers.trusted)))
    return probe(target, Means(context, b"probe.test", timeout_s, resume))


def test_a_good_server_by_starttls(servers: Servers) -> None:
    server = servers.begin()
    document = found(servers, f"localhost:{server.smtp_port}")
    assert document["status"] == ExitStatus.OK
    assert document["address"] in {"127.0.0.1", "::1"}
    assert document["greeting"] == "220 mx.upstream.test ESMTP"
    assert document["capabilities"]["clear"]["SIZE"] == "52428800"
    assert "STARTTLS" in document["capabilities"]["clear"]
    assert "STARTTLS" not in document["capabilities"]["tls"]
    assert document["handshake"]["version"] == "TLSv1.3"
    assert document["handshake"]["server_name"] == "localhost"
    assert [(each["subject"], each["verdict"], each["sent"]) for each in document["chain"]["certificates"]] == [
        ("CN=mx.upstream.test", "good", True),
        ("CN=Test Intermediate", "good", True),
        ("CN=Test Root", "good", False),
    ]
    assert document["chain"]["certificates"][0]["signature"] == "ECDSA with SHA256"
    assert document["judged_with"] == {"configuration": None, "trusted": "system", "profile": "TLS-Client.Standard"}


def test_the_record_that_pins_the_key_is_what_openssl_says(servers: Servers) -> None:
    pair = servers.authorities.leaf()
    server = servers.begin(pair)
    (servers.trusted.parent / "leaf.pem").write_bytes(pair.pem)
    command = "openssl x509 -in leaf.pem -noout -pubkey | openssl pkey -pubin -outform DER | openssl dgst -sha256 -r"
    digest = subprocess.run(
        ["sh", "-c", command], cwd=servers.trusted.parent, capture_output=True, text=True, check=True
    ).stdout.split()[0]
    assert found(servers, f"localhost:{server.smtp_port}")["chain"]["tlsa"] == f"3 1 1 {digest}"


def test_it_leaves_as_it_should(servers: Servers) -> None:
    server = servers.begin()
    run(servers, f"localhost:{server.smtp_port}", "--once")
    (connection,) = server.connections
    assert bytes(connection.clear).endswith(b"STARTTLS\r\n")
    assert bytes(connection.encrypted).startswith(b"EHLO ")
    assert bytes(connection.encrypted).endswith(b"\r\nQUIT\r\n")
    assert server.messages == []


def test_a_server_that_wants_a_proxy_header_has_one_that_names_nobody(servers: Servers) -> None:
    server = servers.begin()
    look(servers, Target("localhost", server.smtp_port, proxied=True))
    run(servers, f"localhost:{server.smtp_port}", "--proxy-header", "--once")
    look(servers, Target("localhost", server.smtp_port))
    local = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"
    assert [bytes(each.clear).startswith(local) for each in server.connections] == [True, True, False]


def test_implicit_tls_and_another_name(servers: Servers) -> None:
    server = servers.begin()
    address = f"127.0.0.1:{server.smtps_port}"
    document = found(servers, address, "--tls", "implicit", "--server-name", "mx.upstream.test")
    assert (document["status"], document["tls"]) == (ExitStatus.OK, "implicit")
    assert document["capabilities"]["clear"] is None
    assert server.connections[0].server_name == "mx.upstream.test"


def test_an_address_is_no_server_name_and_is_looked_for_among_the_addresses(servers: Servers) -> None:
    server = servers.begin()
    document = found(servers, f"127.0.0.1:{server.smtp_port}")
    assert document["handshake"]["server_name"] is None
    assert document["verdict"]["name"]["mark"] == "good"


def test_a_name_that_is_not_in_the_certificate(servers: Servers) -> None:
    server = servers.begin()
    document = found(servers, f"localhost:{server.smtp_port}", "--server-name", "other.test")
    assert document["status"] == ExitStatus.DATA
    assert document["verdict"]["chain"]["mark"] == "good"
    assert document["verdict"]["name"] == {"mark": "bad", "text": "the certificate is not for other.test"}
    assert document["verdict"]["gateway"]["text"] == "outbound clients see a leaf of the untrusted authority"


def bad_leaves(authorities: Any) -> dict[str, tuple[Pair, str, int, str]]:  # noqa: ANN401
    """Pairs by what is wrong with them, with the reason, the depth of the blame, and OpenSSL's words."""
    good = authorities.leaf()
    expired = Wanted(names=NAMES, not_before=NOW - 3 * DAY, not_after=NOW - DAY)
    return {
        "expired": (authorities.leaf(expired), "certificate-expired", 0, "certificate has expired"),
        "self-signed": (make_leaf(None, Wanted(names=NAMES)), "certificate-not-trusted", 0, "self-signed certificate"),
        "no intermediate": (
            Pair(good.certificate, good.key),
            "certificate-not-trusted",
            0,
            "unable to get local issuer certificate",
        ),
    }


@pytest.mark.parametrize("fault", ["expired", "self-signed", "no intermediate"])
def test_the_certificate_to_blame(servers: Servers, fault: str) -> None:
    pair, reason, depth, words = bad_leaves(servers.authorities)[fault]
    server = servers.begin(pair)
    result = look(servers, Target("localhost", server.smtp_port))
    assert result.facts is not None
    assert result.facts.reason is not None
    assert result.facts.reason.value == reason
    assert result.chain is not None
    assert result.chain.fault is not None
    assert (result.chain.fault.depth, result.chain.fault.words) == (depth, words)
    assert judge(result, TlsProfile("usual")).status is ExitStatus.DATA


def test_an_authority_that_nobody_knows_is_blamed_and_not_the_leaf(servers: Servers) -> None:
    pair = servers.authorities.leaf()
    server = servers.begin(Pair(pair.certificate, pair.key, (*pair.issuers, servers.authorities.root.certificate)))
    servers.trusted.write_bytes(make_leaf(None).pem)
    certificates = found(servers, f"localhost:{server.smtp_port}")["chain"]["certificates"]
    assert [each["verdict"] for each in certificates] == ["doubtful", "doubtful", "bad"]


def test_what_is_sent_and_not_needed_is_told(servers: Servers) -> None:
    pair = servers.authorities.leaf()
    stranger = make_leaf(None, Wanted(common_name="stranger.test")).certificate
    server = servers.begin(Pair(pair.certificate, pair.key, (*pair.issuers, stranger)))
    document = found(servers, f"localhost:{server.smtp_port}")
    assert document["status"] == ExitStatus.OK
    assert [each["subject"] for each in document["chain"]["unused"]] == ["CN=stranger.test"]


@pytest.mark.parametrize(
    ("script", "stage", "reason"),
    [
        (Script(greeting=b"554 5.7.1 Not you\r\n"), "greeting", "refused"),
        (Script(greeting=b"SSH-2.0-OpenSSH_9.2\r\n"), "greeting", "reply-syntax"),
        (Script(greeting=b"220-and so on\r\n" * 300), "greeting", "reply-too-long"),
        (Script(greeting=b"220 " + b"x" * 4096), "greeting", "reply-line-too-long"),
        (Script(replies={b"EHLO": b"502 5.5.1 No\r\n"}), "ehlo", "refused"),
        (Script(starttls=False), "starttls", "starttls-not-supported"),
        (Script(replies={b"STARTTLS": b"454 4.7.0 Later\r\n"}), "starttls", "refused"),
        (Script(replies={b"STARTTLS": b"220 Go\r\n250 Early\r\n"}), "starttls", "octets-behind-starttls"),
        (Script(handshake=False), "handshake", "peer-alert"),
    ],
)
def test_where_there_is_no_tls_to_be_had(servers: Servers, script: Script, stage: str, reason: str) -> None:
    server = servers.begin(script=script)
    document = found(servers, f"localhost:{server.smtp_port}")
    assert document["status"] == ExitStatus.PROTOCOL
    assert (document["failure"]["stage"], document["failure"]["reason"]) == (stage, reason)
    assert document["chain"] is None


def test_a_handshake_that_meets_no_tls(servers: Servers) -> None:
    server = servers.begin()
    document = found(servers, f"localhost:{server.smtp_port}", "--tls", "implicit")
    assert (document["status"], document["failure"]["reason"]) == (ExitStatus.PROTOCOL, "not-tls")


def test_a_version_that_the_profile_refuses(servers: Servers) -> None:
    context = servers.context(servers.authorities.leaf())
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    server = servers.begin_with(context)
    strict = TlsProfile("strict", minimum_version=TlsVersion.TLS1_3)
    means = Means(probing_context(strict, ProfileFiles(load_trust(servers.trusted))), b"probe.test", 20)
    result = probe(Target("localhost", server.smtp_port), means)
    assert result.failure is not None
    assert result.failure.token in {"peer-alert", "no-common-version"}


def test_nobody_is_there(servers: Servers) -> None:
    (port,) = free_ports(1)
    document = found(servers, f"127.0.0.1:{port}")
    assert (document["status"], document["failure"]["reason"]) == (ExitStatus.UNAVAILABLE, "connection-refused")
    assert document["verdict"] == {"chain": None, "name": None, "gateway": None}


def test_a_host_that_has_no_address(servers: Servers) -> None:
    document = found(servers, "nowhere.invalid")
    assert (document["status"], document["failure"]["stage"]) == (ExitStatus.UNAVAILABLE, "look-up")


def test_a_server_that_says_nothing_has_a_deadline(servers: Servers) -> None:
    with closing(socket.create_server((HOST, 0))) as silent:
        result = look(servers, Target(HOST, silent.getsockname()[1]), timeout_s=0.3)
    assert result.failure is not None
    assert (result.failure.stage.value, result.failure.token) == ("greeting", "timed-out")


@pytest.mark.parametrize("highest", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_whether_the_session_is_resumed(servers: Servers, highest: ssl.TLSVersion) -> None:
    context = servers.context(servers.authorities.leaf())
    context.maximum_version = highest
    server = servers.begin_with(context)
    assert look(servers, Target("localhost", server.smtp_port), resume=True).resumes is True
    assert [connection.resumed for connection in server.connections] == [False, True]


def test_a_server_without_tickets(servers: Servers) -> None:
    context = servers.context(servers.authorities.leaf())
    context.num_tickets = 0
    server = servers.begin_with(context)
    assert look(servers, Target("localhost", server.smtp_port), resume=True).resumes is False


def test_the_picture_for_a_pipe_is_plain(servers: Servers) -> None:
    server = servers.begin(script=Script(greeting=b"220 [red]mx[/red] \x80\xfe ESMTP\r\n"))
    done = run(servers, f"localhost:{server.smtp_port}", "--once", COLUMNS="150")
    assert done.returncode == ExitStatus.OK
    assert "\x1b" not in done.stdout
    assert "greeting: 220 [red]mx[/red] \\x80\\xfe ESMTP" in done.stdout
    root, intermediate, leaf = (done.stdout.index(f"CN={name}") for name in ("Test Root", "Test Int", "mx.up"))
    assert root < intermediate < leaf
    assert "CN=Test Root  trusted, our own copy" in done.stdout
    assert done.stderr == "judged with: system trust, TLS-Client.Standard\n"


def test_no_colour_where_nobody_wants_any(servers: Servers) -> None:
    server = servers.begin()
    wanted = {"FORCE_COLOR": "1", "TERM": "xterm"}
    coloured = run(servers, f"localhost:{server.smtp_port}", "--once", **wanted)
    assert "\x1b[32m" in coloured.stdout
    plain = run(servers, f"localhost:{server.smtp_port}", "--once", NO_COLOR="1", **wanted)
    assert "\x1b[3" not in plain.stdout


def test_verdicts_have_colours(servers: Servers) -> None:
    expired = Wanted(names=NAMES, common_name="old.test", not_before=NOW - 3 * DAY, not_after=NOW - DAY)
    server = servers.begin(servers.authorities.leaf(expired))
    result = look(servers, Target("localhost", server.smtp_port))
    console = Console(width=150, force_terminal=True, color_system="standard")
    with console.capture() as capture:
        console.print(picture_of(result, judge(result, TlsProfile("usual")), datetime.now(UTC)))
    assert "\x1b[1;31mCN=old.test" in capture.get()
    assert "\x1b[33mCN=Test Intermediate" in capture.get()
    assert "certificate has expired" in capture.get()


def test_the_trust_of_a_configuration(servers: Servers, made_home: Path) -> None:
    server = servers.begin()
    main = made_home / "config" / "demo.yaml"
    document = found(servers, f"localhost:{server.smtp_port}", "-c", str(main), "--profile", "TLS-Client.PFS")
    assert document["judged_with"]["configuration"] == str(main)
    assert document["judged_with"]["profile"] == "TLS-Client.PFS"
    assert document["handshake"]["reason"] == "certificate-not-trusted"


def test_a_profile_that_nobody_made(servers: Servers) -> None:
    done = run(servers, "localhost", "--profile", "TLS-Client.Standart")
    assert done.returncode == ExitStatus.USAGE
    assert "did you mean 'TLS-Client.Standard'?" in done.stderr


@pytest.mark.parametrize(
    ("validation", "text"),
    [
        (CertificateValidation.OFF, "not looked at"),
        (CertificateValidation.AUDIT, "untrusted authority"),
        (CertificateValidation.ENFORCE, "mail is refused"),
    ],
)
def test_what_a_profile_makes_of_a_bad_chain(servers: Servers, validation: CertificateValidation, text: str) -> None:
    server = servers.begin(make_leaf(None, Wanted(names=NAMES)))
    result = look(servers, Target("localhost", server.smtp_port))
    verdict = judge(result, TlsProfile("p", certificate_validation=validation)).gateway
    assert verdict is not None
    assert text in verdict.text


@pytest.mark.parametrize(
    ("words", "kind", "target"),
    [
        ("mx.example.net", None, Target("mx.example.net", 25)),
        ("MX.example.net:465", None, Target("mx.example.net", 465, implicit=True)),
        ("mx.example.net", "implicit", Target("mx.example.net", 465, implicit=True)),
        ("mx.example.net:465", "starttls", Target("mx.example.net", 465)),
        ("192.0.2.1:2525", None, Target("192.0.2.1", 2525)),
        ("2001:db8::1", None, Target("2001:db8::1", 25)),
        ("[2001:db8::1]:587", None, Target("2001:db8::1", 587)),
        ("bücher.example", None, Target("xn--bcher-kva.example", 25)),
    ],
)
def test_targets(words: str, kind: str | None, target: Target) -> None:
    assert parse_target(words, kind) == target


@pytest.mark.parametrize("words", ["", "a b", "mx:0", "mx:99999", "mx:smtp", "-mx-..", "[2001:db8::1", "mx\x1b[31m"])
def test_what_is_no_target(words: str) -> None:
    with pytest.raises(CommandError) as refused:
        parse_target(words, None)
    assert refused.value.status is ExitStatus.USAGE
    assert str(refused.value).isprintable()
