"""The first phase of a reload: every worker loads what is to be decided, and says whether it can have it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from twisted.internet.defer import Deferred, gatherResults

from smtpproxy.errors import SmtpProxyError
from smtpproxy.workers.channel import Gone, NoAnswer, Refused
from smtpproxy.workers.decision import Decision
from smtpproxy.workers.worker import Worker

PREPARE_S: Final = 60.0
"""To load a configuration beside the mail, with lists of a million entries."""


class NotDecided(SmtpProxyError):  # noqa: N818 - it says what is wrong
    """The workers keep what they have; the text says why, one mistake a line."""


async def prepare(workers: Sequence[Worker], decision: Decision) -> list[Worker]:
    """Return the workers that have loaded a decision; one that died or did not answer is none of them.

    Raises:
        NotDecided: one of them cannot, or none is left; whoever has loaded it has forgotten it.
    """
    asked = [Deferred.fromCoroutine(_prepare(worker, decision)) for worker in workers]
    answers = dict(zip(workers, await gatherResults(asked, consumeErrors=True), strict=True))
    prepared = [worker for worker, mistakes in answers.items() if mistakes is not None and not mistakes]
    mistakes = list(dict.fromkeys(mistake for found in answers.values() for mistake in found or ()))
    if prepared and not mistakes:
        return prepared
    for worker in prepared:
        worker.tell("discard")
    raise NotDecided("\n".join(mistakes) or "no worker is there to take it; try again")


async def _prepare(worker: Worker, decision: Decision) -> list[str] | None:
    """Return what is wrong, nothing if it is ready, ``None`` if it is of no use any more."""
    await worker.has_begun()
    try:
        fingerprint = await worker.ask("prepare", patience_s=PREPARE_S, descriptors=[decision.descriptor])
    except Refused as refused:
        return str(refused).split("\n")
    except Gone:
        return None
    except NoAnswer:
        worker.kill("does not load what is to be decided")
        return None
    return [] if fingerprint == decision.fingerprint else [f"{worker.name} has read something else"]
