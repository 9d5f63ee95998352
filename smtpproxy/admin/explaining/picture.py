"""An explanation as a picture for people: what was looked at, what was chosen, and the reply in every case."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from smtpproxy.admin.explaining.words import (
    PLANS,
    REFUSED,
    fit_text,
    offer_text,
    path_text,
    requirement_texts,
    rule_text,
    tls_texts,
    verdict_text,
)
from smtpproxy.policy.matching import Fit
from smtpproxy.policy.model import TlsAction

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TypeAlias

    from smtpproxy.admin.explaining.explanation import Explanation, Outcome, PolicyAnswer, RecipientAnswer
    from smtpproxy.admin.explaining.question import Question
    from smtpproxy.admin.explaining.verdicts import Verdict
    from smtpproxy.policy.matching import Tried
    from smtpproxy.policy.rules import RecipientEncryption

    Asked: TypeAlias = tuple[tuple[RecipientEncryption, Verdict], ...]

_CHOSEN: Final = "bold green"
_PASSED_OVER: Final = "dim"
_OPEN: Final = "yellow"
_REFUSED: Final = "red"


def picture_of(explanation: Explanation) -> Tree:
    """Return the tree; nothing in it is taken for markup."""
    tree = Tree(_title(explanation.question), guide_style="dim")
    _add_policies(tree, explanation)
    answer = explanation.answer
    if answer is None:
        tree.add(Text("no policy takes this connection: it is closed", _REFUSED))
        return tree
    _add_tls(tree, answer)
    if not answer.recipients:
        return tree
    tree.add(_labelled("plan", Text("TLS comes first on both legs" if answer.terms.implicit else PLANS[answer.plan])))
    tree.add(_labelled("STARTTLS is offered", Text(offer_text(answer))))
    for recipient in answer.recipients:
        _add_recipient(tree, recipient)
    _add_message_rules(tree, answer)
    return tree


def _title(question: Question) -> Text:
    recipients = ", ".join(map(path_text, question.recipients))
    source = f"from {question.source}" if question.source else "from anywhere"
    destination = f" at {question.destination}" if question.destination else ""
    title = Text(f"mail of {path_text(question.sender)} to {recipients}", "bold")
    return title.append(f", {source} to port {question.port}{destination}", "not bold")


def _add_policies(tree: Tree, explanation: Explanation) -> None:
    branch = tree.add(Text("policies", "cyan"))
    for tried in explanation.policies:
        if tried.obstacle is None:
            policy, upstream = tried.policy, explanation.question.upstream(tried.policy)
            dials = f"upstream {upstream.host} port {upstream.port}" if upstream else "upstream as the client dialled"
            found = f"is taken: {policy.direction.value}, {policy.action.name}, {dials}"
            branch.add(Text(f"{tried.policy.name} {found}", _CHOSEN))
        else:
            branch.add(Text(f"{tried.policy.name} is not: {tried.obstacle.value}", _PASSED_OVER))


def _add_tls(tree: Tree, answer: PolicyAnswer) -> None:
    *more, last = (Text(text) for text in tls_texts(answer))
    branch = tree.add(_labelled("TLS", more[0] if more else last))
    for text in [*more[1:], last] if more else ():
        branch.add(text)
    if answer.settled_tls is TlsAction.ALLOW:
        inside = "what passes inside is seen by no encryption rule and no message rule"
        clear = "" if answer.terms.implicit else "; mail in clear is judged all the same"
        branch.add(Text(inside + clear, _OPEN))
    elif answer.settled_tls in REFUSED:
        branch.add(Text("no mail is taken", _REFUSED))


def _add_recipient(tree: Tree, answer: RecipientAnswer) -> None:
    branch = tree.add(Text(path_text(answer.recipient), "bold"))
    rules = branch.add(Text("rules", "cyan"))
    for tried in answer.tried:
        rules.add(_tried(tried, chosen=tried.rule is answer.rule))
    asked = branch.add(Text("asked", "cyan"))
    for line in requirement_texts(answer):
        asked.add(Text(line))
    branch.add(_outcomes(answer.outcomes))


def _tried(tried: Tried, *, chosen: bool) -> Text:
    text = Text(f"{tried.rule.name}: {fit_text(tried)}", _style(tried.fit, chosen=chosen))
    return text.append(f" ({rule_text(tried.rule)})", "not bold") if tried.fit in _SHOWN else text


_SHOWN: Final = frozenset({Fit.YES, Fit.MAYBE})


def _style(fit: Fit, *, chosen: bool) -> str:
    if chosen:
        return _CHOSEN
    return _OPEN if fit in _SHOWN else _PASSED_OVER


def _outcomes(outcomes: Sequence[Outcome]) -> Table:
    table = Table(show_lines=True)
    for heading in ("client", "upstream", "the sender is told"):
        table.add_column(heading, overflow="fold")
    alike: dict[tuple[bool, Verdict, Asked], list[str]] = {}
    for outcome in outcomes:
        alike.setdefault((outcome.client_tls, outcome.verdict, outcome.asked), []).append(outcome.case.value)
    for (client_tls, verdict, asked), cases in alike.items():
        told = [verdict_line(verdict), *(_asked_line(level, each) for level, each in asked)]
        table.add_row(Text("TLS" if client_tls else "clear"), Text("\n".join(cases)), Text("\n").join(told))
    return table


def _asked_line(level: RecipientEncryption, verdict: Verdict) -> Text:
    return Text(f"if the message asks for {level.value}: ").append_text(verdict_line(verdict))


def verdict_line(verdict: Verdict) -> Text:
    """Return what the sender is told, in its colour."""
    if verdict.passes:
        return Text(verdict_text(verdict), "green")
    return Text(verdict_text(verdict), _OPEN if verdict.reply is None else _REFUSED)


def _add_message_rules(tree: Tree, answer: PolicyAnswer) -> None:
    if answer.levels:
        asked = ", ".join(level.value for level in answer.levels)
        tree.add(_labelled("the message may ask for", Text(f"{asked}, by a message rule or x-TLSLevel")))
    if not answer.message_rules:
        return
    branch = tree.add(Text("message rules that it may come to", "cyan"))
    for rule in answer.message_rules:
        branch.add(Text(f"{rule.name}: {'always' if rule.when.is_empty else 'if the message is as it says'}"))


def _labelled(label: str, text: Text) -> Text:
    return Text(f"{label}: ", "cyan").append_text(text)
