from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpproxy.errors import ProtocolError
from smtpproxy.smtp import catalogue
from smtpproxy.smtp.addresses import NULL_PATH, Path
from smtpproxy.smtp.command_parser import (
    ChunkError,
    CommandError,
    is_foreign_protocol,
    parse_auth_response,
    parse_command,
)
from smtpproxy.smtp.commands import (
    Auth,
    Bdat,
    Command,
    Data,
    Ehlo,
    Etrn,
    Expn,
    Helo,
    Help,
    Mail,
    Noop,
    Quit,
    Rcpt,
    Relayed,
    Rset,
    StartTls,
    Unknown,
    Verb,
    Vrfy,
)
from smtpproxy.smtp.parameters import Parameter

if TYPE_CHECKING:
    from smtpproxy.smtp.replies import Reply

A_AT_B = Path(b"a@b", b"", b"a", b"b")


@pytest.mark.parametrize(
    ("line", "command", "wire"),
    [
        (b"EHLO mx.example.com", Ehlo(b"mx.example.com"), b"EHLO mx.example.com\r\n"),
        (b"ehlo [192.0.2.1]", Ehlo(b"[192.0.2.1]"), b"EHLO [192.0.2.1]\r\n"),
        (b"EHLO odd_host  \t", Ehlo(b"odd_host"), b"EHLO odd_host\r\n"),
        (b"HELO   x", Helo(b"x"), b"HELO x\r\n"),
        (b"MAIL FROM:<a@b>", Mail(A_AT_B), b"MAIL FROM:<a@b>\r\n"),
        (b"mail from: <a@b> ", Mail(A_AT_B), b"MAIL FROM:<a@b>\r\n"),
        (b"MAIL  From:<>", Mail(NULL_PATH), b"MAIL FROM:<>\r\n"),
        (
            b"MAIL FROM:<a@b>  size=10   BODY=8bitmime",
            Mail(A_AT_B, (Parameter(b"size", b"10"), Parameter(b"BODY", b"8bitmime"))),
            b"MAIL FROM:<a@b> size=10 BODY=8bitmime\r\n",
        ),
        (b"RCPT TO:<a@b>", Rcpt(A_AT_B), b"RCPT TO:<a@b>\r\n"),
        (
            b"Rcpt To: <a@b> NOTIFY=NEVER",
            Rcpt(A_AT_B, (Parameter(b"NOTIFY", b"NEVER"),)),
            b"RCPT TO:<a@b> NOTIFY=NEVER\r\n",
        ),
        (b"DATA", Data(), b"DATA\r\n"),
        (b"dAtA \t", Data(), b"DATA\r\n"),
        (b"RSET", Rset(), b"RSET\r\n"),
        (b"NOOP", Noop(), b"NOOP\r\n"),
        (b"NOOP any thing", Noop(b"any thing"), b"NOOP any thing\r\n"),
        (b"VRFY Jones", Vrfy(b"Jones"), b"VRFY Jones\r\n"),
        (b"HELP", Help(), b"HELP\r\n"),
        (b"HELP MAIL", Help(b"MAIL"), b"HELP MAIL\r\n"),
        (b"STARTTLS", StartTls(), b"STARTTLS\r\n"),
        (b"quit", Quit(), b"QUIT\r\n"),
        (b"EXPN staff", Expn(b"staff"), b"EXPN staff\r\n"),
        (b"etrn @mx.test", Etrn(b"@mx.test"), b"ETRN @mx.test\r\n"),
        (b"bdat 0012", Bdat(12), b"BDAT 12\r\n"),
        (b"BDAT 0 last", Bdat(0, last=True), b"BDAT 0 LAST\r\n"),
        (b"AUTH cram-md5", Auth("CRAM-MD5"), b"AUTH CRAM-MD5\r\n"),
        (b"AUTH PLAIN =", Auth("PLAIN", b"="), b"AUTH PLAIN =\r\n"),
        (b"AUTH PLAIN  AGEAYg==", Auth("PLAIN", b"AGEAYg=="), b"AUTH PLAIN AGEAYg==\r\n"),
    ],
)
def test_command_is_parsed_and_written_in_its_canonical_form(
    line: bytes, command: Relayed | Ehlo | Helo | StartTls, wire: bytes
) -> None:
    assert parse_command(line) == command
    assert command.to_wire() == wire
    assert parse_command(wire.removesuffix(b"\r\n")) == command
    assert wire.startswith(command.verb.value.encode())


@pytest.mark.parametrize(
    "argument",
    [
        b"",
        b" LAST",
        b" x",
        b" -1",
        b" 5 LAST x",
        b" 5 FIRST",
        b" 5LAST",
        b" 0x5",
        b" 1" + b"0" * 18,
        b" 5\tLAST",
        b" +5",
    ],
)
def test_a_chunk_of_unknown_size_is_told_from_other_mistakes(argument: bytes) -> None:
    with pytest.raises(ChunkError):
        parse_command(b"BDAT" + argument)


@pytest.mark.parametrize(
    ("argument", "reason"),
    [
        (b"", "argument-syntax"),
        (b" PLAIN AHVzZXIAc2VjcmV0 x", "argument-syntax"),
        (b" P.L", "argument-syntax"),
        (b" " + b"X" * 21, "argument-syntax"),
        (b" PLAIN secret!", "auth-response-syntax"),
        (b" PLAIN AHV", "auth-response-syntax"),
        (b" PLAIN ==", "auth-response-syntax"),
        (b" PLAIN *", "auth-response-syntax"),
    ],
)
def test_auth_of_a_wrong_form(argument: bytes, reason: str) -> None:
    with pytest.raises(CommandError) as caught:
        parse_command(b"AUTH" + argument)
    assert caught.value.reason == reason
    assert "secret" not in str(caught.value)


def test_nothing_prints_what_authenticates() -> None:
    assert "AHVz" not in repr(parse_command(b"AUTH PLAIN AHVzZXIAc2VjcmV0"))
    assert "AHVz" not in repr(parse_auth_response(b"AHVzZXIAc2VjcmV0"))


@pytest.mark.parametrize("line", [b"", b"*", b"AHVzZXIAc2VjcmV0", b"YQ==", b"YWI="])
def test_a_response_is_base64_or_nothing_or_cancels(line: bytes) -> None:
    assert parse_auth_response(line).to_wire() == line + b"\r\n"


@pytest.mark.parametrize("line", [b"=", b"**", b"AHV", b"a b ", b"AHVz\xff", b"QUIT\r", b" AHVz"])
def test_a_response_of_a_wrong_form(line: bytes) -> None:
    with pytest.raises(CommandError):
        parse_auth_response(line)


def test_only_auth_may_have_a_long_line() -> None:
    assert parse_command(b"AUTH XOAUTH2 " + b"A" * 12_000)
    assert parse_command(b"NOOP " + b"x" * 2041)
    with pytest.raises(CommandError) as caught:
        parse_command(b"NOOP " + b"x" * 2042)
    assert caught.value.reply.code == 500


@pytest.mark.parametrize("argument", [b"", b" a b", b" \xff", b" " + b"x" * 300])
def test_etrn_of_a_wrong_form(argument: bytes) -> None:
    with pytest.raises(CommandError):
        parse_command(b"ETRN" + argument)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b" ",
        b"XYZZY secret",
        b" MAIL FROM:<a@b>",
        b"MAIL\tFROM:<a@b>",
        b"DATA\0",
        b"\xff\xfe",
        b"MAILFROM:<a@b>",
        b"UNKNOWN",
        b"EHLO\xa0x",
    ],
)
def test_anything_else_is_unknown(line: bytes) -> None:
    command = parse_command(line)
    assert command == Unknown()
    assert not hasattr(command, "to_wire")
    assert command.verb is Verb.UNKNOWN


@pytest.mark.parametrize(
    ("line", "reply"),
    [
        (b"EHLO", catalogue.SYNTAX),
        (b"EHLO a b", catalogue.SYNTAX),
        (b"HELO \x01", catalogue.SYNTAX),
        (b"EHLO b\xfcro", catalogue.SYNTAX),
        (b"EHLO " + b"x" * 256, catalogue.SYNTAX),
        (b"MAIL", catalogue.SYNTAX),
        (b"MAIL FROM", catalogue.SYNTAX),
        (b"MAIL FROM:", catalogue.SYNTAX),
        (b"MAIL FROM:a@b", catalogue.SYNTAX),
        (b"MAIL FROM <a@b>", catalogue.SYNTAX),
        (b"MAIL FROM :<a@b>", catalogue.SYNTAX),
        (b"MAIL TO:<a@b>", catalogue.SYNTAX),
        (b"MAIL FROM:\t<a@b>", catalogue.SYNTAX),
        (b"RCPT FROM:<a@b>", catalogue.SYNTAX),
        (b"RCPT TO:a@b", catalogue.SYNTAX),
        (b"MAIL FROM:<a>", catalogue.BAD_SENDER),
        (b"MAIL FROM:<" + b"x" * 500 + b"@b>", catalogue.BAD_SENDER),
        (b"MAIL FROM:<\xff@b>", catalogue.BAD_SENDER),
        (b"RCPT TO:<a>", catalogue.BAD_RECIPIENT),
        (b"RCPT TO:<>", catalogue.BAD_RECIPIENT),
        (b"RCPT TO:<\xff@b>", catalogue.BAD_RECIPIENT),
        (b"MAIL FROM:<a@b>SIZE=1", catalogue.BAD_PARAMETER),
        (b"MAIL FROM:<a@b>\tSIZE=1", catalogue.BAD_PARAMETER),
        (b"MAIL FROM:<a@b> SIZE=1\tBODY=7BIT", catalogue.BAD_PARAMETER),
        (b"MAIL FROM:<a@b> SIZE=x", catalogue.BAD_PARAMETER),
        (b"RCPT TO:<a@b> NOTIFY=MAYBE", catalogue.BAD_PARAMETER),
        (b"RCPT TO:<a@b>,<c@d>", catalogue.BAD_PARAMETER),
        (b"DATA now", catalogue.SYNTAX),
        (b"RSET x", catalogue.SYNTAX),
        (b"STARTTLS x", catalogue.SYNTAX),
        (b"QUIT x", catalogue.SYNTAX),
        (b"VRFY", catalogue.SYNTAX),
        (b"VRFY \x07", catalogue.SYNTAX),
        (b"NOOP \x1b[2J", catalogue.SYNTAX),
        (b"HELP a\tb", catalogue.SYNTAX),
    ],
)
def test_wrong_arguments_have_their_reply(line: bytes, reply: Reply) -> None:
    with pytest.raises(CommandError) as caught:
        parse_command(line)
    assert caught.value.reply is reply
    assert re.fullmatch(r"[a-z0-9-]+", caught.value.reason)


def test_parameters_of_mail() -> None:
    mail = parse_command(b"MAIL FROM:<a@b> Size=99999999999999999999 body=8BitMime SMTPUTF8 X-OTHER=1")
    assert isinstance(mail, Mail)
    assert (mail.size, mail.body, mail.smtputf8) == (99_999_999_999_999_999_999, b"8BITMIME", True)
    assert mail.parameter(b"X-OTHER") == Parameter(b"X-OTHER", b"1")
    assert mail.parameter(b"RET") is None
    assert mail.without(b"SIZE").to_wire() == b"MAIL FROM:<a@b> body=8BitMime SMTPUTF8 X-OTHER=1\r\n"


def test_mail_without_parameters_declares_nothing() -> None:
    mail = Mail(A_AT_B)
    assert (mail.size, mail.body, mail.smtputf8) == (None, None, False)


def test_parameter_of_rcpt() -> None:
    rcpt = parse_command(b"RCPT TO:<a@b> orcpt=rfc822;a@b")
    assert isinstance(rcpt, Rcpt)
    assert rcpt.parameter(b"ORCPT") == Parameter(b"orcpt", b"rfc822;a@b")


@pytest.mark.parametrize(
    "line",
    [
        b"GET / HTTP/1.1",
        b"POST /x HTTP/1.1",
        b"PUT / HTTP/1.1",
        b"HEAD / HTTP/1.0",
        b"OPTIONS * HTTP/1.1",
        b"CONNECT h:25 HTTP/1.1",
        b"DELETE / HTTP/1.1",
        b"PATCH / HTTP/1.1",
        b"TRACE / HTTP/1.1",
        b"PRI * HTTP/2.0",
        b"get /",
        b"GET",
        b"SSH-2.0-OpenSSH_9.2",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 1 25",
        b"PROXY UNKNOWN",
        b"\r\n\r\n\0\r\nQUIT\n",
        b"",
        b"\x16\x03\x01\x02\x00\x01",
        b"\x80\x2e\x01\x00\x02",
        b" EHLO x",
        b"\0",
        b"{}",
        b"*1",
        b"\xff\xfb\x01",
    ],
)
def test_other_protocols_are_told_from_smtp(line: bytes) -> None:
    assert is_foreign_protocol(line)


@pytest.mark.parametrize(
    "line",
    [b"EHLO x", b"helo x", b"HELP", b"QUIT", b"GETAWAY", b"POSTAL x", b"PRIVATE", b"XCLIENT A=b", b"SSHX", b"A1 LOGIN"],
)
def test_smtp_and_unknown_commands_are_not_taken_for_another_protocol(line: bytes) -> None:
    assert not is_foreign_protocol(line)


words = st.from_regex(rb"[!-<>-~]{1,12}", fullmatch=True)
names = st.from_regex(rb"[A-Za-z0-9][A-Za-z0-9-]{0,8}", fullmatch=True).map(lambda name: b"X" + name)
parameters = st.lists(st.builds(Parameter, names, st.none() | words), max_size=4, unique_by=lambda each: each.name).map(
    tuple
)
paths = st.sampled_from(
    [b"a@b", b"@r,@s:a.b@c.d", b'" "@x_y', b"a@[IPv6:::1]", b"a@[192.0.2.1]", "ü@ü.example".encode()]
).map(lambda octets: parse_path(octets))  # noqa: PLW0108 - it is defined below
texts = st.from_regex(rb"[!-~]([ -~]{0,20}[!-~])?", fullmatch=True)
commands = st.one_of(
    st.builds(Ehlo, texts.map(lambda text: text.replace(b" ", b"-"))),
    st.builds(Helo, texts.map(lambda text: text.replace(b" ", b"-"))),
    st.builds(Mail, paths | st.just(NULL_PATH), parameters),
    st.builds(Rcpt, paths, parameters),
    st.builds(Noop, texts | st.just(b"")),
    st.builds(Help, texts | st.just(b"")),
    st.builds(Vrfy, texts),
    st.builds(Expn, texts),
    st.builds(Etrn, texts.map(lambda text: b"x" + text.replace(b" ", b"-"))),
    st.builds(Bdat, st.integers(0, 10**18 - 1), st.booleans()),
    st.builds(Auth, st.sampled_from(["PLAIN", "SCRAM-SHA-256"]), st.none() | st.sampled_from([b"=", b"YWJj", b"YQ=="])),
    st.sampled_from([Data(), Rset(), StartTls(), Quit()]),
)


def parse_path(octets: bytes) -> Path:
    command = parse_command(b"RCPT TO:<" + octets + b">")
    assert isinstance(command, Rcpt)
    return command.path


@given(commands)
def test_what_is_written_is_parsed_as_the_same_command(command: Mail | Rcpt) -> None:
    wire = command.to_wire()
    assert wire.endswith(b"\r\n")
    assert parse_command(wire[:-2]) == command


arguments = st.sampled_from([b"", b" ", b" FROM:<", b" TO:<", b" x", b"FROM:<a@b> ", b" TO:<a@b> "])


@given(st.sampled_from([verb.value.encode() for verb in Verb]), arguments, st.binary(max_size=60))
def test_random_arguments_raise_only_protocol_errors_and_write_only_one_line(
    verb: bytes, begin: bytes, end: bytes
) -> None:
    line = (verb + begin + end).replace(b"\r", b"").replace(b"\n", b"").replace(b"\0", b"")
    try:
        command: Command = parse_command(line)
    except ProtocolError:
        return
    if not isinstance(command, Unknown):
        wire = command.to_wire()
        assert wire.endswith(b"\r\n")
        assert not re.search(rb"[\x00-\x1f\x7f]", wire[:-2])
        assert len(wire) <= len(line) + 2
