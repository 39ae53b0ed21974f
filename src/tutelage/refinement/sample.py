"""Sampling: N responses to each instruction, each with a request of its own.

Sample i of an example has its own seed, made from the base seed, the example's id and i, so that
it does not depend on the order of the examples or on N: growing N from 4 to 16 asks for 12 more.
Responses of one example that are the same up to white space are kept once; the later ones are
recorded as `duplicate_sample`, so that every reply that was paid for has its row.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from math import sqrt

from tutelage.data import (
    OK,
    SAMPLE,
    Candidate,
    Example,
    Message,
    candidate_id_of,
    content_hash,
    response_of,
)
from tutelage.errors import SettingsError, TeacherError
from tutelage.refinement import statuses
from tutelage.refinement.concurrency import DEFAULT_OUTSTANDING, run_bounded
from tutelage.refinement.config import SampleSettings
from tutelage.refinement.reflection import fault_of_error
from tutelage.refinement.reply_checks import fault_of_sample
from tutelage.refinement.reply_parser import Draft, DraftOrFault, Fault, parse_sample
from tutelage.refinement.statuses import WAITING_FOR_BATCH
from tutelage.teacher import Reply, Request, Teacher

SAME_TEXT = "the same text as "
"""Start of the detail of a `duplicate_sample`; the id of the sample with that text follows."""

_SEED_HEX_DIGITS = 7  # below 2^28: servers take seeds as signed 32-bit integers


def sample_request(
    example: Example, index: int, *, teacher: Teacher, settings: SampleSettings
) -> Request:
    """Request for one sample; sends nothing.

    Args:
        example: Whose instruction is answered; its context is sent as it is.
        index: Which sample, from 0.
        teacher: Only its name is used.
        settings: Temperature, base seed, limits, the teacher's system prompt.
    """
    seed = int(
        content_hash("sample", settings.seed, example.example_id, index)[:_SEED_HEX_DIGITS], 16
    )
    return Request(
        model=teacher.name,
        messages=_with_system(example.context, settings.system),
        temperature=settings.temperature,
        top_p=settings.top_p,
        max_tokens=settings.max_tokens,
        seed=seed,
    )


def sample_of_reply(
    example: Example, reply: Reply, *, teacher: Teacher, settings: SampleSettings
) -> Candidate:
    """Candidate from a reply: ok with its response, or a status.

    Args:
        example: The example.
        reply: The teacher's reply.
        teacher: The teacher that replied.
        settings: Settings of the sampling.
    """
    outcome: DraftOrFault = parse_sample(
        reply,
        prompt="\n".join(
            [settings.system or "", *(m.content for m in example.context if m.role != "assistant")]
        ),
        max_tokens=settings.max_tokens,
    )
    if isinstance(outcome, Draft):
        outcome = (
            fault_of_sample(
                outcome,
                instruction=example.instruction,
                known_response=response_of(example.messages),
                settings=settings,
            )
            or outcome
        )
    if isinstance(outcome, Fault):
        return _unsampled(
            example_id=example.example_id,
            teacher=teacher.name,
            fault=outcome,
            request_key=reply.request_key,
            finish_reason=reply.finish_reason,
        )
    reasoning = outcome.reasoning if settings.keep_reasoning else None
    response = Message(role="assistant", content=outcome.response, reasoning=reasoning)
    messages = (*example.context, response)
    return Candidate(
        candidate_id=candidate_id_of(
            example_id=example.example_id,
            step=SAMPLE,
            parent_id=None,
            teacher=teacher.name,
            messages=messages,
            tools=example.tools,
            template_args=example.template_args,
        ),
        example_id=example.example_id,
        step=SAMPLE,
        teacher=teacher.name,
        messages=messages,
        tools=example.tools,
        template_args=example.template_args,
        finish_reason=reply.finish_reason,
        detail=outcome.note,
        request_key=reply.request_key,
    )


def join_duplicates(samples: Iterable[Candidate]) -> list[Candidate]:
    """Same samples; only the first of equal responses of an example keeps its text.

    Args:
        samples: All samples of one example, in order of their index.

    Returns:
        As many candidates, in the same order; a later one with the text of an earlier one has the
        status `duplicate_sample` and a detail that names the first.
    """
    first: dict[str, Candidate] = {}
    joined: list[Candidate] = []
    for sample in samples:
        if sample.status != OK:
            joined.append(sample)
            continue
        text = " ".join([*sample.response.split(), *(sample.messages[-1].reasoning or "").split()])
        if text not in first:
            first[text] = sample
            joined.append(sample)
            continue
        detail = f"{SAME_TEXT}{first[text].candidate_id}"
        joined.append(
            _unsampled(
                example_id=sample.example_id,
                teacher=sample.teacher,
                fault=Fault(status=statuses.DUPLICATE_SAMPLE, detail=detail),
                request_key=sample.request_key,
                finish_reason=sample.finish_reason,
            )
        )
    return joined


async def sample_one(
    example: Example, index: int, *, teacher: Teacher, settings: SampleSettings
) -> Candidate:
    """Request one sample; the result is one candidate, ok or with a status.

    Args:
        example: The example.
        index: Index of the sample, from 0.
        teacher: The teacher.
        settings: Prompt and limits of the sample.
    """
    if example.uses_tools:
        return _with_tools(example, index, teacher=teacher)
    request = sample_request(example, index, teacher=teacher, settings=settings)
    try:
        reply = await teacher.ask(request)
    except TeacherError as error:
        return _unsampled(
            example_id=example.example_id,
            teacher=teacher.name,
            fault=fault_of_error(error),
            request_key=request.key,
        )
    return sample_of_reply(example, reply, teacher=teacher, settings=settings)


def _with_tools(example: Example, index: int, *, teacher: Teacher) -> Candidate:
    """Candidate without text for a row with tools, which the teacher would have to be given."""
    fault = Fault(status=statuses.USES_TOOLS, detail="tools belong to the prompt of this example")
    return _unsampled(
        example_id=example.example_id,
        teacher=teacher.name,
        fault=fault,
        request_key=None,
        distinction=f"{statuses.USES_TOOLS} {index}",
    )


def _with_system(context: tuple[Message, ...], system: str | None) -> tuple[Message, ...]:
    """Messages with one system prompt: the teacher's, followed by the example's own."""
    if system is None:
        return context
    if context[0].role == "system":
        joined = f"{system}\n\n{context[0].content}"
        return (Message(role="system", content=joined), *context[1:])
    return (Message(role="system", content=system), *context)


def _unsampled(
    *,
    example_id: str,
    teacher: str | None,
    fault: Fault,
    request_key: str | None,
    finish_reason: str | None = None,
    distinction: str | None = None,
) -> Candidate:
    return Candidate(
        candidate_id=candidate_id_of(
            example_id=example_id,
            step=SAMPLE,
            parent_id=None,
            teacher=teacher,
            messages=(),
            distinction=request_key or distinction,
        ),
        example_id=example_id,
        step=SAMPLE,
        teacher=teacher,
        status=fault.status,
        finish_reason=finish_reason,
        detail=fault.detail,
        request_key=request_key,
    )


# ----------------------------------------------------------------------------------------------
# Sampling in waves: several teachers in stated shares, until enough responses are accepted.
#
#     wave 1   K responses to every example              -> accepted?
#     wave 2   as many as each example still lacks       -> accepted?
#     ...      until it has K, or its budget of n is asked
#
# A wave asks no more than is lacking, so an example never has more than K accepted responses. What
# was asked depends on the replies alone, so a run that was interrupted asks the same again, and its
# journal answers.
# ----------------------------------------------------------------------------------------------


GOLDEN = (sqrt(5) - 1) / 2
"""Step size around a circle that is nearest to an even spread for every number of steps."""

_HEX_DIGITS = 13
"""Hexadecimal digits of a draw: 52 bits fit a float without rounding."""

Accept = Callable[[Sequence[tuple[Example, Candidate]]], Collection[str]]
"""Function type: ids of the accepted candidates."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Crowd:
    """Several teachers with their shares of the samples.

    Attributes:
        teachers: At least one; their names differ.
        shares: Above 0, one a teacher; only their ratios count.
    """

    teachers: tuple[Teacher, ...]
    shares: tuple[float, ...]

    def __post_init__(self) -> None:
        names = [teacher.name for teacher in self.teachers]
        if not names or len(names) != len(self.shares):
            raise SettingsError(f"{len(names)} teachers with {len(self.shares)} shares")
        if len(set(names)) != len(names):
            raise SettingsError(
                f"two teachers have the same name: {', '.join(names)}", hint="give each a `name`"
            )
        if any(not 0 < share < float("inf") for share in self.shares):
            raise SettingsError(f"a share must be above 0, got {list(self.shares)}")

    def teacher_of(self, example_id: str, index: int) -> Teacher:
        """Teacher that writes sample `index` of an example.

        Each example starts at its own point of a circle that is divided by the shares, and advances
        by the golden ratio. So the shares hold over the whole dataset and approximately within each
        example. The teacher of a sample depends on nothing else.
        """
        start = int(content_hash("teacher", example_id)[:_HEX_DIGITS], 16) / 16.0**_HEX_DIGITS
        point = (start + index * GOLDEN) % 1.0 * sum(self.shares)
        for teacher, share in zip(self.teachers, self.shares, strict=True):
            if point < share:
                return teacher
            point -= share
        return self.teachers[-1]


@dataclass(slots=True)
class _Progress:
    """Progress of one example."""

    example: Example
    samples: list[Candidate] = field(default_factory=list)
    checked: set[str] = field(default_factory=set)
    accepted: set[str] = field(default_factory=set)


async def sample_in_waves(
    examples: Iterable[Example],
    *,
    crowd: Crowd,
    settings: SampleSettings,
    accept: Accept | None = None,
    on_done: Callable[[Candidate], None] | None = None,
    outstanding: int = DEFAULT_OUTSTANDING,
) -> list[Candidate]:
    """Sample responses for every example in waves, from one teacher or several.

    Args:
        examples: Whose instructions are answered.
        crowd: The teachers with their shares.
        settings: How. Without `accepted`, `n` responses each; with it, as many of at most `n` as
            it takes until so many are accepted.
        accept: Which responses are accepted; needed with `accepted`. It is given each text of an
            example once: a repeated response is never accepted a second time.
        on_done: Called with each reply as it comes.
        outstanding: The most requests in work at a time.

    Returns:
        One candidate a request, example by example, in order of their index; equal responses of
        one example are joined, also of different teachers.

    Raises:
        SettingsError: `accepted` without `accept`.
    """
    if settings.accepted is not None and accept is None:
        raise SettingsError("`accepted` needs a check", hint="give --accept CHECK")
    progress = [_Progress(example) for example in examples]

    async def one(_: int, unit: tuple[_Progress, int]) -> Candidate:
        of, index = unit
        teacher = crowd.teacher_of(of.example.example_id, index)
        candidate = await sample_one(of.example, index, teacher=teacher, settings=settings)
        if on_done is not None:
            on_done(candidate)
        return candidate

    while units := [(of, index) for of in progress for index in _next(of, settings)]:
        replies = await run_bounded(units, one, outstanding=outstanding)
        for (of, _), candidate in zip(units, replies, strict=True):
            of.samples.append(candidate)
        asked = {id(of): of for of, _ in units}
        for of in asked.values():
            of.samples = join_duplicates(of.samples)
        if accept is not None:
            _accept(list(asked.values()), accept)
    return [candidate for of in progress for candidate in of.samples]


def _next(of: _Progress, settings: SampleSettings) -> range:
    """Indices of the samples to request now."""
    begun = len(of.samples)
    if settings.accepted is None:
        return range(begun, settings.n)
    waiting = sum(sample.status == WAITING_FOR_BATCH for sample in of.samples)
    lacking = max(0, settings.accepted - len(of.accepted) - waiting)
    return range(begun, min(settings.n, begun + lacking))


def _accept(asked: Sequence[_Progress], accept: Accept) -> None:
    """Check the texts of the last wave."""
    written = [
        (of, candidate)
        for of in asked
        for candidate in of.samples
        if candidate.status == OK and candidate.candidate_id not in of.checked
    ]
    found = set(accept([(of.example, candidate) for of, candidate in written]))
    for of, candidate in written:
        of.checked.add(candidate.candidate_id)
        if candidate.candidate_id in found:
            of.accepted.add(candidate.candidate_id)
