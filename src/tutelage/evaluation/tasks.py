"""Tasks of an evaluation: by likelihoods of given answers, or by answers that the student writes.

The student writes its answers greedily, in batches; each is stored as soon as it is complete:

    left padding    question      answer
    [pad pad   |  q1 q2 q3   |  a1 a2 <end> pad]
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path
from typing import Any, Literal

from tutelage.data import Candidate, Message, TokenStats, Unscored, ViewName, content_hash
from tutelage.errors import StudentError
from tutelage.evaluation.config import CPU_ANSWERS, TaskSettings
from tutelage.evaluation.items import Item, ItemResult, Reference
from tutelage.metrics import step_spans
from tutelage.models import give_memory_back
from tutelage.models.hardware import Memory, kind_of, memory_of
from tutelage.models.loading import bytes_a_token, load_model, memory_errors, needed
from tutelage.progress import Progress
from tutelage.student import Reads, StudentModel, TextPair
from tutelage.student.components import OpenStudent
from tutelage.student.engine import OutOfMemoryError
from tutelage.student.engine_vllm import VllmOfflineEngine
from tutelage.verification import Claim, VerifySettings, check_constraint, verify_table

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


_USED = 0.7
"""Share of the memory left by the weights that answers may take."""
_MOST_ANSWERS = 256
_VLLM_ANSWERS = 1024
_ANY_ANSWER = "."
"""Placeholder response with which the template renders a question."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Generated answer of the student.

    Attributes:
        text: Without special tokens.
        ended: Whether it ended by itself within the limit.
        tokens: Written, with the one that ended it.
    """

    text: str
    ended: bool
    tokens: int


def answer_all(
    items: Sequence[Item],
    student: StudentModel,
    *,
    max_new_tokens: int,
    batch: int | Literal["auto"],
    kept: Path,
    progress: Progress,
) -> list[Answer | Unscored]:
    """Generate the student's answer to each item, in order.

    A question that leaves no room for an answer is not asked: it is `too_long`, and the others go
    on without it.

    Args:
        items: The questions.
        student: Opened, perhaps not loaded.
        max_new_tokens: Of one answer.
        batch: Questions answered at once; `auto` as `fitting_answers` says. In bfloat16 the last
            digit of a probability depends on who shares the batch, so batches are planned from all
            items, not from the missing.
        kept: A file that collects answers; a killed evaluation continues from it.
        progress: Told of each answer.
    """
    widths = {item.item_id: len(_question_ids(student, item.question)) for item in items}
    refused = _too_long(widths, student, limit=max_new_tokens)
    fitting = [item for item in items if item.item_id not in refused]
    progress.advance(len(refused))
    known = _read_kept(kept)
    parts = student.parts
    if batch == "auto":
        longest = max((widths[item.item_id] for item in fitting), default=1)
        batch = fitting_answers(parts, tokens=longest + max_new_tokens)
    setup = {"dtype": parts.dtype, "device": parts.device, "batch": batch, "limit": max_new_tokens}
    keys = {
        item.item_id: content_hash("answer", student.fingerprint, item.question, setup)
        for item in fitting
    }
    order = sorted(fitting, key=lambda item: (-len(item.question), item.item_id))
    offline = parts.settings.backend == "vllm-offline"
    writer: _Writer | _VllmWriter | None = None
    for start in range(0, len(order), batch):
        asked_now = order[start : start + batch]
        if not all(keys[item.item_id] in known for item in asked_now):
            writer = writer or (_VllmWriter(student) if offline else _Writer(student))
            answers = writer.write([item.question for item in asked_now], limit=max_new_tokens)
            fresh = {keys[i.item_id]: a for i, a in zip(asked_now, answers, strict=True)}
            _keep(kept, fresh)
            known |= fresh
        progress.advance(len(asked_now))
    return [refused.get(item.item_id) or known[keys[item.item_id]] for item in items]


def fitting_answers(
    parts: OpenStudent, *, tokens: int, memory: Callable[[str], Memory | None] = memory_of
) -> int:
    """Number of answers that are generated at once, from the memory of the device.

    All of a card's memory counts, not what is free now: the number is the same in the next call,
    and a batch that does not fit after all is halved.

    Args:
        parts: The student.
        tokens: Of the longest question and answer together.
        memory: Of a device.

    Returns:
        A power of two from 1 to 256; 16 on a CPU; 1024 for vLLM, which makes batches itself.
    """
    if parts.settings.backend == "vllm-offline":
        return _VLLM_ANSWERS
    has = None if kind_of(parts.device) == "cpu" else memory(parts.device)
    if has is None:
        return CPU_ANSWERS
    left = has.total - needed(parts.folder, dtype=parts.dtype).weights
    fits = int(_USED * left) // max(1, tokens * bytes_a_token(parts.folder, dtype=parts.dtype))
    return max(1, min(_MOST_ANSWERS, 1 << max(0, fits.bit_length() - 1)))


def _too_long(
    widths: Mapping[str, int], student: StudentModel, *, limit: int
) -> dict[str, Unscored]:
    """The items whose question and answer together do not fit into the student."""
    most = student.parts.max_length
    return {
        item_id: Unscored(
            candidate_id=item_id,
            reason="too_long",
            detail=f"a question of {width} tokens and an answer of {limit} do not fit into "
            f"the student's {most} tokens",
        )
        for item_id, width in widths.items()
        if width + limit > most
    }


def _question_ids(student: StudentModel, question: str) -> list[int]:
    """Token ids of a question as the student gets it."""
    text = student.context_text(asked(question, _ANY_ANSWER))
    tokenizer = student.parts.builder.tokenizer
    (tokens,) = tokenizer.tokenize([text])
    front = tokenizer.bos_ids if student.parts.template.adds_bos else ()
    return [*front, *tokens.ids_T.tolist()]


def _read_kept(path: Path) -> dict[str, Answer]:
    """Stored answers from complete lines; a truncated last line is generated again."""
    if not path.is_file():
        return {}
    found = {}
    text = path.read_text(encoding="utf-8", errors="replace")
    for line in text.split("\n")[:-1]:
        try:
            row = json.loads(line)
            found[row["key"]] = Answer(text=row["text"], ended=row["ended"], tokens=row["tokens"])
        except (ValueError, KeyError, TypeError, RecursionError):
            continue
    return found


def _keep(path: Path, answers: dict[str, Answer]) -> None:
    lines = [
        json.dumps({"key": key, "text": a.text, "ended": a.ended, "tokens": a.tokens})
        for key, a in answers.items()
    ]
    with path.open("a", encoding="utf-8") as file:
        file.write("\n" + "\n".join(lines) + "\n")  # a cut line in front stays a line of its own


class _Writer:
    """A loaded student that generates."""

    def __init__(self, student: StudentModel) -> None:
        self._student = student
        self._parts = student.parts
        self._model = load_model(
            self._parts.folder,
            self._parts.settings,
            device=self._parts.device,
            dtype=self._parts.dtype,
            device_map=self._parts.settings.device_map,
        )
        self._ends = _end_tokens(student, self._model.generation_config.eos_token_id)

    def write(self, questions: Sequence[str], *, limit: int) -> list[Answer]:
        """Generate answers for questions, batched by the room they leave, in the order given.

        Raises:
            StudentError: Memory does not suffice for a single one.
        """
        prompts = [_question_ids(self._student, question) for question in questions]
        return self._write(prompts, limit=limit)

    def _write(self, prompts: Sequence[list[int]], *, limit: int) -> list[Answer]:
        """Answers, generated in halves where they do not fit into memory together."""
        try:
            with memory_errors(OutOfMemoryError):
                return self._together(prompts, limit=limit)
        except OutOfMemoryError as error:
            if len(prompts) == 1:
                raise StudentError(
                    f"out of memory: an answer of {limit} tokens to a prompt of {len(prompts[0])}: "
                    f"{error}",
                    hint="lower max_new_tokens of the task, or set backend to vllm-offline",
                ) from error
        give_memory_back()  # not before the error, which holds the memory, is let go
        half = len(prompts) // 2
        return [
            *self._write(prompts[:half], limit=limit),
            *self._write(prompts[half:], limit=limit),
        ]

    def _together(self, prompts: Sequence[list[int]], *, limit: int) -> list[Answer]:
        import torch

        width = max(map(len, prompts))
        pad = self._ends[0] if self._ends else 0
        ids_B_T = torch.tensor([[pad] * (width - len(ids)) + ids for ids in prompts])
        mask_B_T = torch.tensor([[0] * (width - len(i)) + [1] * len(i) for i in prompts])
        with torch.inference_mode():
            written: Any = self._model.generate(
                input_ids=ids_B_T.to(self._parts.device),
                attention_mask=mask_B_T.to(self._parts.device),
                do_sample=False,
                temperature=None,
                top_p=None,
                top_k=None,
                repetition_penalty=1.0,
                max_new_tokens=limit,
                eos_token_id=self._ends or None,
                pad_token_id=pad,
            )
        rows = written[:, width:].tolist()
        return [_answer(self._student, row, ends=self._ends) for row in rows]


class _VllmWriter:
    """A student in vLLM that generates, with the engine that also reads."""

    def __init__(self, student: StudentModel) -> None:
        self._student = student
        self._ends = _end_tokens(student, student.parts.folder.end_tokens())

    def write(self, questions: Sequence[str], *, limit: int) -> list[Answer]:
        """Generate answers for questions, in the order given."""
        engine = self._student.parts.engine()
        if not isinstance(engine, VllmOfflineEngine):
            raise TypeError(f"the engine {engine.name} does not write")
        prompts = [_question_ids(self._student, question) for question in questions]
        return [
            _answer(self._student, written.ids, ends=self._ends, ended=written.ended)
            for written in engine.write(prompts, limit=limit, ends=self._ends)
        ]


def _end_tokens(student: StudentModel, own: int | Sequence[int] | None) -> list[int]:
    """Tokens that end an answer: the model's own and the template's end of turn."""
    listed = [own] if own is None or isinstance(own, int) else own
    found = {int(token) for token in listed if token is not None}
    rendered = student.parts.template.render(asked("a", _ANY_ANSWER).messages, 1)
    if rendered.end:
        (tokens,) = student.parts.builder.tokenizer.tokenize([rendered.end])
        found.add(int(tokens.ids_T[0]))
    return sorted(found)


def _answer(
    student: StudentModel, ids: Sequence[int], *, ends: Sequence[int], ended: bool = False
) -> Answer:
    """Answer from generated token ids, up to its end.

    Args:
        student: The student that wrote.
        ids: Its tokens.
        ends: Tokens that end an answer.
        ended: Whether it ended, though the token that ended it may not be among `ids`.
    """
    end = next((i for i, token in enumerate(ids) if token in ends), None)
    kept = list(ids if end is None else ids[:end])
    done = ended or end is not None
    return Answer(
        text=student.parts.decode(kept), ended=done, tokens=len(kept) + (1 if done else 0)
    )


def exact_match(
    items: Sequence[Item], answers: Sequence[Answer], task: TaskSettings
) -> Iterator[ItemResult]:
    """Score 1 for each answer that reaches the reference, else 0.

    An answer that holds nothing to check is wrong, with the status `no_answer`; where the check
    itself could not be made there is no value.

    Args:
        items: The items.
        answers: One answer for each item.
        task: Settings of the task.
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
    """Share of each item's constraints that the answer meets; correct where it meets all.

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
