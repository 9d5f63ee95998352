"""An explanation for programs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from smtpproxy.admin.explaining.words import looked_up, path_text

if TYPE_CHECKING:
    from smtpproxy.admin.explaining.explanation import Explanation, Outcome, PolicyAnswer, RecipientAnswer
    from smtpproxy.admin.explaining.question import Question
    from smtpproxy.admin.explaining.verdicts import Verdict
    from smtpproxy.policy.matching import Tried
    from smtpproxy.policy.model import Policy
    from smtpproxy.policy.tls_action import TlsCase

Document: TypeAlias = dict[str, Any]


def document_of(explanation: Explanation) -> Document:
    """Return the answer as JSON has it."""
    question, answer = explanation.question, explanation.answer
    return {
        "question": _question(question),
        "policies": [
            {
                "policy": tried.policy.name,
                "selected": tried.obstacle is None,
                "why_not": tried.obstacle.value if tried.obstacle else None,
            }
            for tried in explanation.policies
        ],
        "policy": _policy(answer.terms.policy, question) if answer else None,
        "tls": [_tls(case) for case in answer.tls] if answer else [],
        "plan": answer.plan.value if answer and not answer.terms.implicit else None,
        "offers_starttls": _offer(answer) if answer else None,
        "recipients": [_recipient(each) for each in answer.recipients] if answer else [],
        "message_levels": [level.value for level in answer.levels] if answer else [],
        "message_rules": [
            {"rule": rule.name, "always": rule.when.is_empty} for rule in (answer.message_rules if answer else ())
        ],
    }


def _question(question: Question) -> Document:
    return {
        "from": path_text(question.sender)[1:-1],
        "to": [path_text(recipient)[1:-1] for recipient in question.recipients],
        "source": str(question.source) if question.source else None,
        "destination": str(question.destination) if question.destination else None,
        "port": question.port,
        "kind": question.kind.value,
        "sni": question.server_name,
    }


def _policy(policy: Policy, question: Question) -> Document:
    upstream = question.upstream(policy)
    return {
        "name": policy.name,
        "direction": policy.direction.value,
        "proxy_action": policy.action.name,
        "tls_support": policy.tls_support.value,
        "upstream": {"host": upstream.host, "port": upstream.port} if upstream else None,
    }


def _tls(case: TlsCase) -> Document:
    return {
        "action": case.decision.action.value,
        "exception": case.decision.exception,
        "depends_on": sorted(each.value for each in case.depends_on),
    }


def _offer(answer: PolicyAnswer) -> Document:
    return {"upstream_ready": answer.offered_on_tls, "upstream_in_clear": answer.offered_in_clear}


def _recipient(answer: RecipientAnswer) -> Document:
    return {
        "to": path_text(answer.recipient)[1:-1],
        "rules": [_tried(tried) for tried in answer.tried],
        "rule": answer.rule.name,
        "monitoring": [rule.name for rule in answer.watching],
        "sender": answer.requirement.sender.value,
        "recipient": sorted(level.value for level in answer.requirement.levels),
        "names": list(answer.names),
        "outcomes": [_outcome(outcome) for outcome in answer.outcomes],
    }


def _tried(tried: Tried) -> Document:
    return {
        "rule": tried.rule.name,
        "found": tried.fit.value,
        "mode": tried.rule.mode.value,
        "sender": tried.rule.sender.value,
        "recipient": tried.rule.recipient.value,
    }


def _outcome(outcome: Outcome) -> Document:
    client = "tls" if outcome.client_tls else "clear"
    return {
        "client": client,
        "upstream": outcome.case.name.lower().replace("_", "-"),
        **verdict_of(outcome.verdict),
        "asked": {level.value: verdict_of(verdict) for level, verdict in outcome.asked},
    }


def verdict_of(verdict: Verdict) -> Document:
    """Return a verdict."""
    reply, wanted = verdict.reply, verdict.look_up
    return {
        "passes": verdict.passes,
        "hidden": verdict.hidden,
        "at": verdict.at,
        "reply": f"{reply.code} {reply.text}" if reply else None,
        "because": verdict.because,
        "look_up": {"domain": wanted.domain, "records": list(looked_up(wanted))} if wanted else None,
    }
