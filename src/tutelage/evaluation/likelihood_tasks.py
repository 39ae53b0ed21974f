"""Tasks that only read: how likely the student finds answers it is shown."""

from collections.abc import Iterator, Sequence
from itertools import islice

from tutelage.data import Candidate, Message, Unscored, ViewName, content_hash
from tutelage.evaluation.items import Item, Reference
from tutelage.evaluation.results import ItemResult
from tutelage.student import Reads

GIVEN: ViewName = "response_given_instruction"
ALONE: ViewName = "response"


def asked(question: str, response: str) -> Candidate:
    """A question and an answer as a candidate of nobody's."""
    messages = (
        Message(role="user", content=question),
        Message(role="assistant", content=response),
    )
    name = content_hash("evaluated", question, response)
    return Candidate(candidate_id=name, example_id=name, messages=messages)


def held_out(references: Sequence[Reference], student: Reads) -> Iterator[ItemResult]:
    """The mean log-likelihood of each reference answer, in nats per token, at most 0.

    Yields:
        One result for each reference, in order; one that cannot be read has the reason as its
        status and no value.
    """
    outcomes = student.read((r.candidate for r in references), views=[GIVEN])
    for reference, outcome in zip(references, outcomes, strict=True):
        if isinstance(outcome, Unscored):
            yield ItemResult(
                item_id=reference.item_id, status=outcome.reason, detail=outcome.detail
            )
        else:
            stats = outcome.views[GIVEN]
            yield ItemResult(
                item_id=reference.item_id,
                value=-stats.mean_nll,
                detail=f"{stats.tokens} tokens",
            )


def gain(references: Sequence[Reference], student: Reads) -> Iterator[ItemResult]:
    """How much the instruction helps the student with each reference answer.

    The value is L(response) - L(response given instruction), in nats per token of the same tokens:
    0 where the instruction makes no difference, below 0 where it misleads. A student that merely
    became better at the style of the answers gains on both sides, so this outcome asks whether it
    follows instructions.

    Yields:
        One result for each reference, in order; one that cannot be read has the reason as its
        status and no value.
    """
    outcomes = student.read((r.candidate for r in references), views=[GIVEN, ALONE])
    for reference, outcome in zip(references, outcomes, strict=True):
        if isinstance(outcome, Unscored):
            yield ItemResult(
                item_id=reference.item_id, status=outcome.reason, detail=outcome.detail
            )
        else:
            given, alone = outcome.views[GIVEN], outcome.views[ALONE]
            yield ItemResult(
                item_id=reference.item_id,
                value=alone.mean_nll - given.mean_nll,
                detail=f"{given.tokens} tokens",
            )


def choose(items: Sequence[Item], student: Reads) -> Iterator[ItemResult]:
    """Which choice the student finds most likely as the response to the question.

    The value is the mean log-likelihood of the right choice less the highest of the others, in
    nats per token: above 0 the choice is right. Means, not sums: else short choices would win.

    Yields:
        One result for each item, in order. An item of which any choice cannot be read has no
        value.
    """
    candidates = (asked(item.question, choice) for item in items for choice in item.choices)
    outcomes = student.read(candidates, views=[GIVEN])
    for item in items:
        own = list(islice(outcomes, len(item.choices)))
        lost = next((o for o in own if isinstance(o, Unscored)), None)
        if lost is not None:
            yield ItemResult(item_id=item.item_id, status=lost.reason, detail=lost.detail)
            continue
        means = [-o.views[GIVEN].mean_nll for o in own if not isinstance(o, Unscored)]
        right = item.answer_index or 0
        margin = means[right] - max(m for i, m in enumerate(means) if i != right)
        yield ItemResult(
            item_id=item.item_id,
            value=margin,
            correct=margin > 0,
            text=item.choices[means.index(max(means))],
        )
