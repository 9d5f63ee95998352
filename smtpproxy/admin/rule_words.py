"""A rule as the options of a command say it, and as a proxy action's file has it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import click

from smtpproxy.policy.model import Direction
from smtpproxy.policy.rules import Mode, Offer, RecipientEncryption, SenderEncryption

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from enum import Enum

    from smtpproxy.config.document import Value

F = TypeVar("F", bound="Callable[..., object]")


def encryption_options(command: F) -> F:
    """Add what an encryption rule can say."""
    return _with(
        command,
        click.option("--to", metavar="ENTRY", multiple=True, help="Recipients, or where upstream is; any of several."),
        click.option("--from", "from_", metavar="ENTRY", multiple=True, help="Senders, or where the client is."),
        click.option("--client", metavar="NETWORK", multiple=True, help="The client's networks."),
        click.option("--sender", type=_words(SenderEncryption), help="Encryption of the client leg. [optional]"),
        click.option(
            "--recipient", type=_words(RecipientEncryption), help="Encryption of the upstream leg. [preferred]"
        ),
        click.option("--match", metavar="NAMES", multiple=True, help="Names for recipient 'verified': domain, mx, ..."),
        click.option("--sender-match", metavar="NAMES", multiple=True, help="Names for sender 'verified'."),
        click.option("--offer", type=_words(Offer), help="When clients are offered STARTTLS."),
        click.option("--monitor", is_flag=True, help="Only record what the rule would have done."),
    )


def encryption_rule(name: str, options: Mapping[str, Any]) -> dict[str, Value]:
    """Return the encryption rule that the options describe, disabled.

    Raises:
        click.UsageError: they do not say for whom, or what for.
    """
    if not (options["to"] or options["from_"] or options["client"]):
        raise click.UsageError("say for whom the rule is: --to, --from or --client; --to '*' for all mail")
    if not (options["sender"] or options["recipient"]):
        raise click.UsageError("say what the rule asks for: --recipient, such as required, or --sender")
    rule: dict[str, Value] = {
        "name": name,
        "enabled": False,
        "to": list(options["to"]),
        "from": list(options["from_"]),
        "client": list(options["client"]),
        "sender": options["sender"] or SenderEncryption.OPTIONAL.value,
        "recipient": options["recipient"] or RecipientEncryption.PREFERRED.value,
        "match": list(options["match"]),
        "sender_match": list(options["sender_match"]),
        "offer": options["offer"],
        "mode": Mode.MONITOR.value if options["monitor"] else None,
    }
    return {key: value for key, value in rule.items() if value not in (None, [])}


def message_options(command: F) -> F:
    """Add what a message rule can say: conditions, actions, and what follows."""
    return _with(
        command,
        click.option("--direction", type=_words(Direction), help="Only mail of such policies."),
        click.option("--to", metavar="ENTRY", multiple=True, help="A recipient is this, or of it; any of several."),
        click.option("--not-to", metavar="ENTRY", multiple=True, help="No recipient is; none of several."),
        click.option("--from", "from_", metavar="ENTRY", multiple=True, help="The sender is this, or of it."),
        click.option("--not-from", metavar="ENTRY", multiple=True, help="The sender is not."),
        click.option("--client", metavar="NETWORK", multiple=True, help="The client is in one of these networks."),
        click.option("--header", metavar="'NAME: PATTERN'", multiple=True, help="Some field of the name matches."),
        click.option("--no-header", metavar="NAME", multiple=True, help="There is no field of the name."),
        click.option("--over", metavar="SIZE", help="The message is bigger, such as 10MB."),
        click.option("--under", metavar="SIZE", help="The message is smaller."),
        click.option("--add-header", metavar="'NAME: VALUE'", multiple=True, help="Put the field in front."),
        click.option("--replace-header", metavar="'NAME: VALUE'", multiple=True, help="Let the field have this value."),
        click.option("--remove-header", metavar="NAME", multiple=True, help="Take out every field of the name."),
        click.option("--set-encryption", type=_words(RecipientEncryption), help="Ask for this of the upstream leg."),
        click.option("--tag-subject", metavar="TEXT", help="Put the text before the subject."),
        click.option("--deny", is_flag=True, help="Refuse the message."),
        click.option("--deliver", is_flag=True, help="Deliver it without a look at later rules."),
    )


def message_rule(name: str, options: Mapping[str, Any]) -> dict[str, Value]:
    """Return the message rule that the options describe, disabled.

    Raises:
        click.UsageError: they do not say what is to be done, or contradict each other.
    """
    if options["deny"] and options["deliver"]:
        raise click.UsageError("give one of --deny and --deliver")
    then = list(_edits(options))
    if not (then or options["deny"] or options["deliver"]):
        raise click.UsageError("say what the rule does, such as --add-header, --set-encryption or --deny")
    rule: dict[str, Value] = {"name": name, "enabled": False}
    when = dict(_conditions(options))
    if when:
        rule["when"] = when
    if then:
        rule["then"] = then
    if options["deny"] or options["deliver"]:
        rule["final"] = "deny" if options["deny"] else "deliver"
    return rule


def _conditions(options: Mapping[str, Any]) -> Iterator[tuple[str, Value]]:
    if options["direction"]:
        yield "direction", options["direction"]
    for key, some, none in (("sender", "from_", "not_from"), ("recipient", "to", "not_to")):
        asked = _given({"matches": _one_or_more(options[some]), "does_not_match": _one_or_more(options[none])})
        if asked:
            yield key, asked
    if options["client"]:
        yield "client", list(options["client"])
    size = _given({"over": options["over"], "under": options["under"]})
    if size:
        yield "size", size
    fields: list[Value] = [_field_condition(each) for each in options["header"]]
    fields += [{"name": each, "absent": True} for each in options["no_header"]]
    if fields:
        yield "header", fields[0] if len(fields) == 1 else fields


def _edits(options: Mapping[str, Any]) -> Iterator[Value]:
    for name in options["remove_header"]:
        yield {"remove_header": name}
    for key in ("replace_header", "add_header"):
        for field in options[key]:
            name, value = _field(field, f"--{key.replace('_', '-')}")
            yield {key: {name: value}}
    if options["set_encryption"]:
        yield {"set_encryption": options["set_encryption"]}
    if options["tag_subject"]:
        yield {"tag_subject": options["tag_subject"]}


def _one_or_more(words: Sequence[str]) -> Value:
    return words[0] if len(words) == 1 else list(words) or None


def _given(mapping: dict[str, Value]) -> dict[str, Value]:
    return {key: value for key, value in mapping.items() if value is not None}


def _field_condition(text: str) -> dict[str, Value]:
    name, colon, pattern = (part.strip() for part in text.partition(":"))
    return {"name": name, "matches": pattern} if colon and pattern else {"name": name}


def _field(text: str, option: str) -> tuple[str, str]:
    name, _, value = (part.strip() for part in text.partition(":"))
    if not (name and value):
        raise click.UsageError(f"{option} takes a field and its value, such as {option} 'x-TLSLevel: Require'")
    return name, value


def _with(command: F, *options: Callable[[F], F]) -> F:
    for option in reversed(options):
        command = option(command)
    return command


def _words(enum: type[Enum]) -> click.Choice[str]:
    return click.Choice([each.value for each in enum])
