"""Rewriting (reflection): the teacher criticises a pair and writes it again.

    parent --request--> teacher --reply--> draft --judged--> candidate, ok or with a status

Everything but `reflect_*` is a pure function of its arguments. Earlier turns and the system
prompt are shown to the teacher and kept as they are; only the last user turn and the assistant
turn are replaced, together (rewritten instruction) or the assistant turn alone.
"""

from collections.abc import Callable, Iterable

from tutelage.data import (
    INSTRUCTION_REFLECTION,
    OK,
    RESPONSE_REFLECTION,
    Candidate,
    Message,
    candidate_id_of,
)
from tutelage.data.example import turn_text
from tutelage.errors import (
    BatchFailedError,
    BatchPendingError,
    BudgetError,
    NotInJournalError,
    SettingsError,
    TeacherError,
    UnusableReplyError,
)
from tutelage.refinement import statuses
from tutelage.refinement.concurrency import DEFAULT_OUTSTANDING, run_bounded
from tutelage.refinement.config import RefineSettings
from tutelage.refinement.prompt import Form, Prompt, load_prompt
from tutelage.refinement.reply_checks import fault_of_reflection, loop_of
from tutelage.refinement.reply_parser import (
    Draft,
    DraftOrFault,
    Fault,
    fault_of_finish_reason,
    keys_of,
    parse_reply,
    schema_of,
)
from tutelage.teacher import Reply, Request, Teacher

# ----------------------------------------------------------------------------------------------
# Rows that call tools: which steps they allow, and what a teacher is shown of them.
# ----------------------------------------------------------------------------------------------


def fault_of_tools(parent: Candidate, *, step: str) -> Fault | None:
    """Reason why a step is not possible for a row with tool calls; None where it is."""
    if parent.messages[-1].tool_calls is not None:
        detail = "the response calls a tool; only text is rewritten"
    elif step == INSTRUCTION_REFLECTION and parent.context[-1].role != "user":
        detail = "calls of tools answer the old instruction and would not fit a new one"
    else:
        return None
    return Fault(status=statuses.USES_TOOLS, detail=detail)


def earlier_turns(parent: Candidate) -> tuple[Message, ...]:
    """Earlier turns as the teacher is shown them.

    Where tools were called between instruction and response, all of it, with the instruction.
    """
    context = parent.context
    shown = context[:-1] if context[-1].role == "user" else context
    return tuple(Message(role=turn.role, content=turn_text(turn)) for turn in shown)


# ----------------------------------------------------------------------------------------------
# Reflection.
# ----------------------------------------------------------------------------------------------


def prompt_of(step: str, settings: RefineSettings) -> Prompt:
    """Prompt of a step; its name and fingerprint belong in the manifest.

    Raises:
        SettingsError: The prompt file is wrong, or there is no such step.
    """
    if step == INSTRUCTION_REFLECTION:
        path = settings.instruction_prompt
    elif step == RESPONSE_REFLECTION:
        path = settings.response_prompt
    else:
        raise SettingsError(
            f"step {step!r} is not a rewriting step",
            hint=f"use {INSTRUCTION_REFLECTION} or {RESPONSE_REFLECTION}",
        )
    return load_prompt(step=step, version=settings.prompt_version, path=path)


def form_of(teacher: Teacher, settings: RefineSettings) -> Form:
    """Layout of replies requested from this teacher.

    Raises:
        SettingsError: A schema is demanded of a teacher that does not support one.
    """
    if settings.use_schema == "never":
        return "markers"
    if teacher.supports_schema:
        return "json"
    if settings.use_schema == "always":
        raise SettingsError(
            f"use_schema is always, but the teacher {teacher.name} does not support a schema",
            hint="set use_schema to auto or never",
        )
    return "markers"


def reflection_request(
    candidate: Candidate,
    *,
    step: str,
    teacher: Teacher,
    settings: RefineSettings,
    attempt: int = 0,
) -> Request:
    """Request for one rewrite, so that a dry run can count and price it without sending.

    Args:
        candidate: The parent; its status is ok.
        step: `instruction_reflection` or `response_reflection`.
        teacher: Only its name and abilities are used.
        settings: Prompt, limits, seed and temperatures.
        attempt: 0 for the first; later ones have another seed and temperature.
    """
    form = form_of(teacher, settings)
    messages = prompt_of(step, settings).messages(
        form=form,
        earlier=earlier_turns(candidate),
        instruction=candidate.instruction,
        response=candidate.response,
        instruction_criteria=settings.instruction_criteria,
        response_criteria=settings.response_criteria,
    )
    temperature = settings.temperature
    if attempt > 0:
        temperature = max(temperature, settings.retry_temperature)
    return Request(
        model=teacher.name,
        messages=messages,
        temperature=temperature,
        top_p=settings.top_p,
        max_tokens=settings.max_tokens,
        seed=settings.seed + attempt,
        schema=schema_of(keys_of(step)) if form == "json" else None,
    )


def candidate_of_reply(
    parent: Candidate,
    reply: Reply,
    *,
    step: str,
    teacher: Teacher,
    settings: RefineSettings,
) -> Candidate:
    """Candidate from a reply: ok with instruction and response, or a status.

    Args:
        parent: The candidate that is rewritten.
        reply: The teacher's reply.
        step: `instruction_reflection` or `response_reflection`.
        teacher: The teacher that replied.
        settings: Settings of the step.
    """
    outcome: DraftOrFault = parse_reply(
        reply,
        step=step,
        form=form_of(teacher, settings),
        prompt="\n".join(m.content for m in parent.messages if m.role != "assistant"),
        max_tokens=settings.max_tokens,
    )
    if isinstance(outcome, Draft):
        outcome = (
            fault_of_reflection(
                outcome,
                parent=parent,
                step=step,
                prompt=prompt_of(step, settings),
                settings=settings,
            )
            or outcome
        )
    if isinstance(outcome, Fault):
        return failed(
            parent,
            step=step,
            teacher=teacher.name,
            fault=outcome,
            request_key=reply.request_key,
            finish_reason=reply.finish_reason,
        )
    messages = _replaced(parent, outcome)
    return Candidate(
        candidate_id=candidate_id_of(
            example_id=parent.example_id,
            step=step,
            parent_id=parent.candidate_id,
            teacher=teacher.name,
            messages=messages,
            tools=parent.tools,
            template_args=parent.template_args,
        ),
        example_id=parent.example_id,
        parent_id=parent.candidate_id,
        step=step,
        teacher=teacher.name,
        messages=messages,
        tools=parent.tools,
        template_args=parent.template_args,
        finish_reason=reply.finish_reason,
        detail=outcome.note,
        criticism=outcome.criticism,
        request_key=reply.request_key,
    )


def failed(
    parent: Candidate,
    *,
    step: str,
    teacher: str,
    fault: Fault,
    request_key: str | None = None,
    finish_reason: str | None = None,
) -> Candidate:
    """Candidate without text, for a step that failed.

    Args:
        parent: The candidate to be rewritten.
        step: `instruction_reflection` or `response_reflection`.
        teacher: Name of the teacher.
        fault: Status and detail.
        request_key: Key of the request, if one was sent.
        finish_reason: As the server said, if it replied.
    """
    return Candidate(
        candidate_id=candidate_id_of(
            example_id=parent.example_id,
            step=step,
            parent_id=parent.candidate_id,
            teacher=teacher,
            messages=(),
            distinction=request_key or fault.status,
            tools=parent.tools,
            template_args=parent.template_args,
        ),
        example_id=parent.example_id,
        parent_id=parent.candidate_id,
        step=step,
        teacher=teacher,
        status=fault.status,
        finish_reason=finish_reason,
        detail=fault.detail,
        criticism=fault.criticism,
        request_key=request_key,
        tools=parent.tools,
        template_args=parent.template_args,
    )


def fault_of_error(error: TeacherError) -> Fault:
    """Fault for a failed call."""
    if isinstance(error, UnusableReplyError):
        fault = fault_of_finish_reason(error.finish_reason, tokens=error.completion_tokens)
        if fault is not None:
            return fault
    status = statuses.TEACHER_FAILED
    if isinstance(error, BudgetError):
        status = statuses.OVER_BUDGET
    elif isinstance(error, NotInJournalError):
        status = statuses.NOT_IN_JOURNAL
    elif isinstance(error, BatchPendingError):
        status = statuses.WAITING_FOR_BATCH
    elif isinstance(error, BatchFailedError):
        endings = {"expired": statuses.BATCH_EXPIRED, "cancelled": statuses.BATCH_CANCELLED}
        status = endings.get(error.ending, status)
    return Fault(status=status, detail=f"{type(error).__name__}: {error}")


async def reflect(
    candidate: Candidate, *, step: str, teacher: Teacher, settings: RefineSettings
) -> Candidate:
    """Rewrite one candidate with a teacher.

    A reply that is unusable in form is asked for again, with another seed and temperature, until
    `settings.attempts` is reached; the last attempt decides.

    Args:
        candidate: The parent. Without text it is not asked about.
        step: `instruction_reflection` or `response_reflection`.
        teacher: The teacher to ask.
        settings: Prompt, limits, attempts.

    Returns:
        Exactly one candidate; a failure has a status and a detail, and no text.

    Raises:
        SettingsError: The prompt or the schema cannot be used.
    """
    if candidate.status != OK:
        fault = Fault(
            status=statuses.PARENT_FAILED, detail=f"the parent's status is {candidate.status}"
        )
        return failed(candidate, step=step, teacher=teacher.name, fault=fault)

    def request_of(attempt: int) -> Request:
        return reflection_request(
            candidate, step=step, teacher=teacher, settings=settings, attempt=attempt
        )

    return await ask_until_usable(
        candidate, request_of, step=step, teacher=teacher, settings=settings
    )


async def ask_until_usable(
    parent: Candidate,
    request_of: Callable[[int], Request],
    *,
    step: str,
    teacher: Teacher,
    settings: RefineSettings,
    accept: Callable[[Candidate], Candidate] = lambda outcome: outcome,
) -> Candidate:
    """Repeat a request until the format of the reply is usable or the attempts are used up.

    Args:
        parent: What is rewritten; its status is ok.
        request_of: The request of each attempt, from 0.
        step: What the child is.
        teacher: The teacher to ask.
        settings: How many attempts, and what is usable.
        accept: Looks at what came out once more; it may make a failure of it.

    Returns:
        What the last attempt came to; a step that the parent's calls of tools do not allow is not
        asked for.
    """
    fault = fault_of_tools(parent, step=step)
    if fault is not None:
        return failed(parent, step=step, teacher=teacher.name, fault=fault)

    async def attempted(attempt: int) -> tuple[Candidate, bool]:
        return await _attempt(
            parent,
            request_of(attempt),
            step=step,
            teacher=teacher,
            settings=settings,
            accept=accept,
        )

    outcome, again = await attempted(0)
    for attempt in range(1, settings.attempts):
        if not again:
            break
        outcome, again = await attempted(attempt)
    return outcome


async def _attempt(
    parent: Candidate,
    request: Request,
    *,
    step: str,
    teacher: Teacher,
    settings: RefineSettings,
    accept: Callable[[Candidate], Candidate],
) -> tuple[Candidate, bool]:
    """Outcome of one attempt, and whether another attempt is worthwhile."""
    try:
        reply = await teacher.ask(request)
    except TeacherError as error:
        outcome = failed(
            parent,
            step=step,
            teacher=teacher.name,
            fault=fault_of_error(error),
            request_key=request.key,
            finish_reason=error.finish_reason if isinstance(error, UnusableReplyError) else None,
        )
        return outcome, False
    outcome = accept(
        candidate_of_reply(parent, reply, step=step, teacher=teacher, settings=settings)
    )
    looped = outcome.status == statuses.CUT_BY_LENGTH and loop_of(reply.text) is not None
    return outcome, looped or outcome.status in statuses.RETRIED


async def reflect_all(
    candidates: Iterable[Candidate],
    *,
    step: str,
    teacher: Teacher,
    settings: RefineSettings,
    on_done: Callable[[Candidate], None] | None = None,
    outstanding: int = DEFAULT_OUTSTANDING,
) -> list[Candidate]:
    """Rewrite many candidates with a teacher.

    Once the budget is used up no request is sent, and the rest is `over_budget`. On
    cancellation nothing is lost that was paid for: each reply is in the journal.

    Args:
        candidates: The parents.
        step: `instruction_reflection` or `response_reflection`.
        teacher: The teacher to ask.
        settings: Prompt, limits, attempts.
        on_done: Called with each outcome as it comes, in no particular order.
        outstanding: The most candidates in work at a time; about twice what the teacher takes.

    Returns:
        Exactly one outcome per candidate, in the order given.
    """
    form_of(teacher, settings)
    prompt_of(step, settings)
    budget_spent: list[str] = []

    async def one(_: int, candidate: Candidate) -> Candidate:
        if budget_spent:
            fault = Fault(status=statuses.OVER_BUDGET, detail=budget_spent[0])
            outcome = failed(candidate, step=step, teacher=teacher.name, fault=fault)
        else:
            outcome = await reflect(candidate, step=step, teacher=teacher, settings=settings)
            if outcome.status == statuses.OVER_BUDGET:
                budget_spent.append(outcome.detail or "")
        if on_done is not None:
            on_done(outcome)
        return outcome

    return await run_bounded(candidates, one, outstanding=outstanding)


def _replaced(parent: Candidate, draft: Draft) -> tuple[Message, ...]:
    response = Message(role="assistant", content=draft.response)
    if draft.instruction is None:
        return (*parent.messages[:-1], response)
    return (*parent.context[:-1], Message(role="user", content=draft.instruction), response)
