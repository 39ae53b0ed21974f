"""Tasks based on likelihoods of given answers, without generation."""

import json
import re
from collections.abc import Iterator, Sequence
from itertools import islice, pairwise

from tutelage.data import Candidate, Message, TokenStats, Unscored, ViewName, content_hash
from tutelage.evaluation.items import Item, ItemResult, Reference
from tutelage.metrics import step_spans
from tutelage.student import Reads, TextPair

GIVEN: ViewName = "response_given_instruction"
ALONE: ViewName = "response"


def asked(question: str, response: str) -> Candidate:
    """Candidate of a question with an answer."""
    messages = (
        Message(role="user", content=question),
        Message(role="assistant", content=response),
    )
    name = content_hash("evaluated", question, response)
    return Candidate(candidate_id=name, example_id=name, messages=messages)


def held_out(references: Sequence[Reference], student: Reads) -> Iterator[ItemResult]:
    """Mean log-likelihood of each reference answer, in nats per token, at most 0.

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
    """Gain of each reference answer's log-likelihood from the instruction.

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
    """Choice with the highest likelihood as the response to the question.

    The value is the mean log-likelihood of the right choice minus the highest of the others, in
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


# What reasoning is worth: how far each step brings the student to the right answer.
#
# A student can be right more often and reason less: its steps then say nothing that makes the
# answer likelier. This task makes that visible.
#
#     question + step 1 .. step k + lead | answer       read for k = 0, 1, ... K
#     drop of step k = NLL of the answer before it - NLL after it      answer tokens only


CHUNK_ITEMS = 32


def reasoning_quality(
    items: Sequence[Item], reasonings: Sequence[str], student: Reads, *, lead: str
) -> Iterator[ItemResult]:
    """Nats per answer token that the reasoning steps save before one of them states the answer.

    A step that states the answer makes it likely regardless of the earlier steps, so only the steps
    before it count; if the first step states it, the value is 0. `detail` has the decrease at each
    step, as JSON.

    Args:
        items: With their answers.
        reasonings: For each item, text that may come to an answer.
        student: Reads the answer tokens.
        lead: Stands between the reasoning and the answer.

    Yields:
        One result for each item, in order.
    """
    for start in range(0, len(items), CHUNK_ITEMS):
        chunk = items[start : start + CHUNK_ITEMS]
        texts = [text.strip() for text in reasonings[start : start + CHUNK_ITEMS]]
        pairs: list[TextPair] = []
        for item, text in zip(chunk, texts, strict=True):
            if text:
                before = student.context_text(asked(item.question, text))
                pairs += [
                    TextPair(
                        pair_id=item.item_id,
                        context=before + text[:end] + lead,
                        target=str(item.answer),
                    )
                    for end in (0, *(end for _, end in step_spans(text)))
                ]
        read: dict[str, list[TokenStats | Unscored]] = {}
        for pair, stats in zip(pairs, student.read_pairs(pairs), strict=True):
            read.setdefault(pair.pair_id, []).append(stats)
        for item, text in zip(chunk, texts, strict=True):
            yield _result(item, text, read.get(item.item_id, []))


def _result(item: Item, text: str, stats: Sequence[TokenStats | Unscored]) -> ItemResult:
    if not text:
        return ItemResult(item_id=item.item_id, status="no_reasoning")
    lost = next((s for s in stats if isinstance(s, Unscored)), None)
    if lost is not None:
        return ItemResult(item_id=item.item_id, status=lost.reason, detail=lost.detail, text=text)
    nll = [s.mean_nll for s in stats if isinstance(s, TokenStats)]
    drops = [before - after for before, after in pairwise(nll)]
    stated = first_statement(text, str(item.answer), question=item.question)
    counted = drops if stated is None else drops[:stated]
    detail = {
        "nats_without_steps": round(nll[0], 4),
        "drops": [round(drop, 4) for drop in drops],
        "step_that_states_the_answer": stated,
    }
    return ItemResult(
        item_id=item.item_id, value=float(sum(counted)), text=text, detail=json.dumps(detail)
    )


def first_statement(text: str, answer: str, *, question: str = "") -> int | None:
    """Index of the step that first states the answer, from 0, or None.

    Commas do not count: 1,000 is 1000, on either side.
    Where the question holds the same number, a step that only repeats the question does not state
    the answer: the number must then follow an equals sign, a colon or a word such as "is".

    Args:
        text: The reasoning.
        answer: The answer.
        question: The question, in which the answer may occur.

    Examples:
        >>> first_statement("He has 3 apples. 3 + 4 = 7.", "7")
        1
        >>> first_statement("He has 17 apples.", "7") is None
        True
        >>> first_statement("Of 2 nuts. 4 - 2 = 2.", "2", question="4 squirrels with 2 nuts?")
        1
    """
    number = rf"(?<![\w.]){re.escape(answer.strip().replace(',', ''))}(?!\w|\.\d)"
    pattern = re.compile(number)
    if pattern.search(question.replace(",", "")):
        pattern = re.compile(rf"(?:=|:|\b(?:is|are|equals|be)\b)\s*\$?{number}", re.IGNORECASE)
    for index, (start, end) in enumerate(step_spans(text)):
        if pattern.search(text[start:end].replace(",", "")):
            return index
    return None
