"""Record how a message passes: `python -m docs.record_dialogue` writes `docs/dialogue.md` from a real run.

Each leg stands as the mail server at its end logged it, so nothing here reads what is inside TLS. Needs root, Postfix
and Exim, as the tests do (`tests/debian-packages`); a test checks that what is written has the shape of a run of today.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import trustme

from tests.integration.lab import exim, postfix
from tests.integration.lab.client import Mode
from tests.integration.lab.exim import Exim, Smarthost
from tests.integration.lab.gateway import Gateway
from tests.integration.lab.laboratory import Authorities, Lab, authority
from tests.integration.lab.ports import wait_until
from tests.integration.lab.postfix import Postfix
from tests.integration.lab.postfix_sender import PostfixSender, Relay

PAGE: Final = Path(__file__).parent / "dialogue.md"
MESSAGE: Final = b"From: sender@client.test\r\nSubject: recorded\r\n\r\n.a line with a dot\r\n"

_INTRODUCTION: Final = """\
# A message on its way

Made by `docs/record_dialogue.py` from a real run of Postfix, the proxy and Exim on one machine; run it again after a
change. Each leg is shown as the mail server at its end logged it: `C` is what the client of that leg said, `S` what its
server said. Neither server logs content. Times, ports and queue ids are left out.

Postfix sends by DATA, Exim by BDAT; both send commands in groups. Where the client leg is on TLS so is the upstream
leg, before the client hears what is offered.
"""

_POSTFIX_CLIENT: Final = re.compile(r"postfix/smtp\[\d+\]: ([<>]) \S+: (.*)")
_POSTFIX_SERVER: Final = re.compile(r"postfix/smtpd\[\d+\]: ([<>]) \S+: (.*)")
_EXIM_CLIENT: Final = re.compile(r"^  (?:SMTP(<<|[>|+]>) | {7}(?=\d{3}[ -]))(.*)")
_EXIM_SERVER: Final = re.compile(r"^ *\d+ (?:SMTP(<<|>>) | {7}(?=\d{3}[ -]))(.*)")
_MODES: Final[dict[Mode, str]] = {"starttls": "STARTTLS", "smtps": "implicit TLS"}
_VOLATILE: Final = (
    (re.compile(r"(ESMTP Exim \S+) .*"), r"\1"),
    (re.compile(r"(queued as |id=)[\w-]+"), r"\1..."),
    (re.compile(r"(127\.0\.0\.1):\d+"), r"\1"),
)
_GATEWAY: Final = re.compile(r"#info\] \w{12}: ((?:\w+ TLS connection|to=<).*)")


@dataclass(frozen=True)
class Recorded:
    """One message: who sent it to whom, how, and what each of the three logged."""

    sender: str
    receiver: str
    mode: Mode
    verb: str
    client: list[str]
    upstream: list[str]
    gateway: list[str]


def record() -> list[Recorded]:
    """Send a message each way over each kind of TLS; return what was logged."""
    internet = authority("Internet")
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        lab = Lab(Path(folder), Authorities.make(internet))
        stack.callback(lab.close)
        to_exim, to_postfix = exim.make(internet), postfix.make(internet, "-v")
        stack.callback(to_exim.close)
        stack.callback(to_postfix.close)
        to_exim.debug()
        return [
            *(_by_postfix(lab, to_exim, mode) for mode in _MODES),
            *(_by_exim(lab, to_postfix, internet, mode) for mode in _MODES),
        ]


def page(recorded: list[Recorded]) -> str:
    """Return the text of the page."""
    return "\n".join([_INTRODUCTION, *(_section(each) for each in recorded)])


def shape(text: str) -> dict[str, tuple[list[str], list[str]]]:
    """Return of each dialogue on a page the verbs and the codes in their order: what does not depend on versions."""
    found: dict[str, tuple[list[str], list[str]]] = {}
    for title, block in re.findall(r"^([^\n]*:)\n\n```\n(.*?)```", text, re.MULTILINE | re.DOTALL):
        verbs = re.findall(r"^C: (\w+|\.)", block, re.MULTILINE)
        codes = re.findall(r"^S: (\d{3})(?: |$)", block, re.MULTILINE)
        found[f"{len(found)} {title}"] = (verbs, codes)
    return found


def _by_postfix(lab: Lab, server: Exim, mode: Mode) -> Recorded:
    gateway = lab.gateway(server)
    relay = Relay(_port(gateway, mode), mode, lab.authorities.proxy.cert_pem.bytes(), exim.NAME, verbose=True)
    begin = len(server.dialogue)
    sender = PostfixSender(relay)
    try:
        sender.sent(sender.send([f"recipient@{exim.DOMAIN}"], MESSAGE))
        _wait_for_the_end(gateway)
        client = list(_lines(_POSTFIX_CLIENT, sender.log, said_by_client=">"))
    finally:
        sender.close()
    upstream = list(_lines(_EXIM_SERVER, server.dialogue[begin:], said_by_client="<<"))
    return Recorded("Postfix", "Exim", mode, "DATA", client, upstream, _told(gateway))


def _by_exim(lab: Lab, server: Postfix, internet: trustme.CA, mode: Mode) -> Recorded:
    gateway = lab.gateway(server)
    trusted = lab.authorities.proxy.cert_pem.bytes()
    sender = exim.make(internet, Smarthost(_port(gateway, mode), mode, trusted, postfix.NAME))
    begin = len(server.log)
    try:
        said = sender.send([f"recipient@{postfix.DOMAIN}"], MESSAGE, "-v")
        _wait_for_the_end(gateway)
    finally:
        sender.close()
    client = list(_lines(_EXIM_CLIENT, said, said_by_client=">"))
    server.wait_until_idle()
    upstream = list(_lines(_POSTFIX_SERVER, server.log[begin:], said_by_client="<"))
    return Recorded("Exim", "Postfix", mode, "BDAT", client, upstream, _told(gateway))


def _port(gateway: Gateway, mode: Mode) -> int:
    return gateway.smtps_port if mode == "smtps" else gateway.smtp_port


def _wait_for_the_end(gateway: Gateway) -> None:
    wait_until(lambda: any(each["record"] == "session" for each in gateway.records), "the session has ended")


def _lines(pattern: re.Pattern[str], log: str, *, said_by_client: str) -> Iterator[str]:
    """Yield the dialogue in ``log``; a line without a mark goes on with the reply above it."""
    for line in log.splitlines():
        found = pattern.search(line)
        if found is not None:
            mark, said = found.groups()
            yield f"{'C' if mark and said_by_client in mark else 'S'}: {_steady(said)}"


def _told(gateway: Gateway) -> list[str]:
    return [_steady(line) for line in _GATEWAY.findall(gateway.log)]


def _steady(line: str) -> str:
    for pattern, word in _VOLATILE:
        line = pattern.sub(word, line)
    return line


def _section(recorded: Recorded) -> str:
    title = f"## {recorded.sender} to {recorded.receiver}, {_MODES[recorded.mode]}, {recorded.verb}"
    blocks = {
        f"The client leg, as {recorded.sender} logged it:": recorded.client,
        f"The upstream leg, as {recorded.receiver} logged it:": recorded.upstream,
        "The proxy's own log:": recorded.gateway,
    }
    return "\n\n".join([title, *("\n".join([head, "", "```", *lines, "```"]) for head, lines in blocks.items())]) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(record()))
