"""Tasks whose answers the student writes: checked against a reference or by a program."""

from collections.abc import Iterator, Sequence

from tutelage.evaluation.answer_generation import Answer
from tutelage.evaluation.config import TaskSettings
from tutelage.evaluation.items import Item
from tutelage.evaluation.results import ItemResult
from tutelage.verification import Claim, VerifySettings, check_constraint, verify_table


def exact_match(
    items: Sequence[Item], answers: Sequence[Answer], task: TaskSettings
) -> Iterator[ItemResult]:
    """Whether each answer reaches the reference: 1 or 0.

    An answer that holds nothing to check is wrong, with the status `no_answer`; where the check
    itself could not be made there is no value.
    """
    claims = (
        Claim(response=answer.text, reference=item.answer, instruction=item.question)
        for item, answer in zip(items, answers, strict=True)
    )
    verdicts = verify_table(claims, VerifySettings(check=task.check))
    for item, answer, verdict in zip(items, answers, verdicts, strict=True):
        if verdict.verdict == "cannot_check":
            yield ItemResult(
                item_id=item.item_id,
                status="cannot_check",
                text=answer.text,
                detail=verdict.evidence,
            )
            continue
        is_right = verdict.verdict == "right"
        yield ItemResult(
            item_id=item.item_id,
            status="no_answer" if verdict.verdict == "no_answer" else "ok",
            value=float(is_right),
            correct=is_right,
            text=answer.text,
            detail=verdict.evidence,
        )


def constraints_met(items: Sequence[Item], answers: Sequence[Answer]) -> Iterator[ItemResult]:
    """The share of each item's constraints that the answer meets; correct where it meets all.

    These are IFEval's strict accuracies (arXiv 2311.07911): the mean of `correct` by prompt, and
    by instruction where every item has as many constraints. An item of which any constraint
    cannot be checked has no value.
    """
    for item, answer in zip(items, answers, strict=True):
        if not answer.text.strip():
            yield ItemResult(
                item_id=item.item_id, status="no_answer", value=0.0, correct=False, text=""
            )
            continue
        findings = [check_constraint(answer.text, c) for c in item.constraints]
        unsure = [why for met, why in findings if met is None]
        if unsure:
            yield ItemResult(
                item_id=item.item_id,
                status="cannot_check",
                text=answer.text,
                detail="; ".join(unsure),
            )
            continue
        met = sum(bool(found) for found, _ in findings)
        yield ItemResult(
            item_id=item.item_id,
            value=met / len(findings),
            correct=met == len(findings),
            text=answer.text,
            detail="; ".join(why for found, why in findings if not found) or None,
        )
