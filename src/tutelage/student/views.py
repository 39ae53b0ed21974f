"""Views: conversion of candidates to passages.

    view                         context                             target
    response_given_instruction   everything in front of it           response
    response                     its header                          the same response ids
    instruction_given_response   the same, of the reverse row        instruction
    instruction                  its header there                    the same instruction ids
    end_of_turn                  everything up to the response's end the next token

The reverse row is `REVERSE(response)` as user turn and the instruction as assistant turn, without
system prompt and tools; it has the row's template arguments.

Context and target are tokenised once, together. The target is every token that starts at or
after the end of the context; a token that straddles the border belongs to the context:

    text      ... R e s p o n s e : - W h o
    tokens            Response    :-  Who
    target                            ^^^
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tutelage.data import END_VIEW, OK, Candidate, Message, Unscored, ViewName
from tutelage.errors import DataError, SpanMismatchError
from tutelage.student.passages import TURN_BREAK, EncodedSide, Refusal, SideName, passage_of
from tutelage.student.template import (
    Rendered,
    RewrittenError,
    Template,
    TemplateRefusedError,
    reverse_prompt,
    without_thinking,
)
from tutelage.student.tokenizer import Tokenize, Tokens

RESPONSE_VIEWS: tuple[ViewName, ViewName] = ("response_given_instruction", "response")
INSTRUCTION_VIEWS: tuple[ViewName, ViewName] = ("instruction_given_response", "instruction")
END_VIEWS: tuple[ViewName] = (END_VIEW,)

_CUT_ATTEMPTS = 8


class _NotReadableError(Exception):
    """Carries the reason why a candidate has no passages."""

    def __init__(self, reason: str, detail: str | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True, slots=True, kw_only=True)
class _Border:
    """Text split at the border between context and target."""

    context: tuple[int, ...]
    target: tuple[int, ...]
    target_starts_T: NDArray[np.int32]  # in characters of the target
    straddles: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewBuilder:
    """Builder of the passages of candidates.

    Attributes:
        template: The student's template.
        tokenizer: The student's tokenizer.
        max_length: The most tokens a passage may have.
        truncate: Cut targets that do not fit, on both sides alike, instead of giving up.
        all_turns: Read every assistant turn that is trained on, each as a target of its own.
        score_end_of_turn: Count the tokens that end the turn as part of the response.
        answers_only: Remove thinking from assistant turns before anything is rendered.
        control_tokens: Finds the text of special tokens; None where there are none.
    """

    template: Template
    tokenizer: Tokenize
    max_length: int
    truncate: bool = False
    all_turns: bool = False
    score_end_of_turn: bool = False
    answers_only: bool = False
    control_tokens: re.Pattern[str] | None = None

    def encode(self, candidate: Candidate, side: SideName) -> EncodedSide | Refusal:
        """Encode both views of a candidate's response or instruction.

        Args:
            candidate: One that `blank_reason` has nothing against.
            side: Which text is the target; `end` for the first token after the last response.

        Returns:
            The passages, or the reason why there are none: `too_long`, `no_target_tokens`,
            `template_refused`, `rewritten_by_template`, `not_trained`, `empty_response` where
            nothing but thinking was there, or `no_end_of_turn`.
        """
        try:
            messages, turns = self.targets_of(candidate)
            if side == "response":
                sides = [self._response_side(messages, at, candidate) for at in turns]
            elif side == "end":
                sides = [self._end_side(messages, turns[-1], candidate)]
            else:
                asked = [at for at in turns if at and messages[at - 1].role == "user"]
                sides = [
                    self._instruction_side(messages, at, candidate) for at in asked or turns[-1:]
                ]
        except _NotReadableError as error:
            return Refusal(reason=error.reason, detail=error.detail)
        except TemplateRefusedError as error:
            return Refusal(reason="template_refused", detail=str(error))
        except RewrittenError as error:
            return Refusal(reason="rewritten_by_template", detail=f"{error} ({error.hint})")
        pooled = _pooled(sides)
        if self.control_tokens is None or not _has_control_token(candidate, self.control_tokens):
            return pooled
        return replace(pooled, control_tokens_in_data=True)

    def targets_of(self, candidate: Candidate) -> tuple[tuple[Message, ...], list[int]]:
        """Rendered row and the turns that are read; at least one."""
        messages = candidate.messages
        if self.answers_only:
            messages = without_thinking(messages)
        written = [at for at, m in enumerate(messages) if m.role == "assistant" and _says(m)]
        turns = written if self.all_turns else [len(messages) - 1]
        if not set(turns) & set(written):
            raise _NotReadableError("empty_response", "the response is empty without its thinking")
        turns = [at for at in turns if messages[at].trained]
        if not turns:
            raise _NotReadableError(
                "not_trained", "the row marks this turn as not to be trained on"
            )
        return messages, turns

    def encode_pair(self, context: str, target: str) -> EncodedSide | Refusal:
        """Encode a context and a target without a template; there is no view without the context.

        The context may be empty where the tokenizer adds a BOS token by itself; a context that
        starts with that token, as some chat templates render it, gets no second one.
        """
        (tokens,) = self.tokenizer.tokenize([context])
        front = self.tokenizer.bos_ids
        has_it = tuple(tokens.ids_T[: len(front)].tolist()) == front
        try:
            border = self._border(context, target, what="target", bos=not has_it)
        except _NotReadableError as error:
            return Refusal(reason=error.reason, detail=error.detail)
        room = self.max_length - len(border.context)
        if not border.context:
            return Refusal(
                reason="no_target_tokens", detail="there is nothing in front of the target"
            )
        if len(border.target) > room and (not self.truncate or room < 1):
            needed = len(border.context) + len(border.target)
            return Refusal(reason="too_long", detail=self._too_long("target", needed))
        target_ids = border.target[:room]
        return EncodedSide(
            given=(passage_of(border.context, target_ids),),
            alone=(),
            straddles=border.straddles,
            truncated=len(target_ids) < len(border.target),
            starts_T=border.target_starts_T[: len(target_ids)],
            text=target,
        )

    def render_targets(self, candidate: Candidate) -> list[Rendered]:
        """Turns of a candidate that are read, as the template renders them.

        Raises:
            TemplateRefusedError: The template does not accept the row.
            RewrittenError: A turn is not in the rendered row word for word.
            DataError: No turn of it is read.
        """
        try:
            messages, turns = self.targets_of(candidate)
        except _NotReadableError as error:
            raise DataError(f"candidate {candidate.candidate_id}: {error.reason}") from error
        return [self._render(messages, at, candidate) for at in turns]

    def _render(self, messages: tuple[Message, ...], at: int, candidate: Candidate) -> Rendered:
        """A turn as the template renders it with the tools and arguments of the row."""
        return self.template.render(
            messages, at, tools=candidate.tools, template_args=candidate.template_args
        )

    def _response_side(
        self, messages: tuple[Message, ...], at: int, candidate: Candidate
    ) -> EncodedSide:
        rendered = self._render(messages, at, candidate)
        border = self._border(rendered.context, rendered.target, what="response")
        if self.score_end_of_turn and rendered.end:
            border = self._with_end(rendered)
        return self._side(border, rendered, what="response")

    def _with_end(self, rendered: Rendered) -> _Border:
        """Same border with the first token of the end of the turn included in the target."""
        whole = self._border(rendered.context, rendered.target + rendered.end, what="response")
        ends_at = len(rendered.target)
        counted = int(np.searchsorted(whole.target_starts_T, ends_at, side="left")) + 1
        return _Border(
            context=whole.context,
            target=whole.target[:counted],
            target_starts_T=whole.target_starts_T[:counted],
            straddles=whole.straddles,
        )

    def _end_side(
        self, messages: tuple[Message, ...], at: int, candidate: Candidate
    ) -> EncodedSide:
        """First token of the end of the turn, after everything in front of it."""
        rendered = self._render(messages, at, candidate)
        if not rendered.end:
            raise _NotReadableError("no_end_of_turn", "the template adds nothing after a turn")
        border = self._with_end(rendered)
        needed = len(border.context) + len(border.target)
        if needed > self.max_length:
            raise _NotReadableError("too_long", self._too_long("end of the turn", needed))
        return EncodedSide(
            given=(passage_of((*border.context, *border.target[:-1]), border.target[-1:]),),
            alone=(),
            starts_T=np.zeros(1, dtype=np.int32),
            text=rendered.end,
            straddles=False,
            truncated=False,
        )

    def _instruction_side(
        self, messages: tuple[Message, ...], at: int, candidate: Candidate
    ) -> EncodedSide:
        instruction = _instruction_of(messages, at)
        if instruction is None:
            raise _NotReadableError("empty_instruction", "no user turn before the response")
        turn = messages[at]
        response = turn.content
        if turn.reasoning or turn.tool_calls:
            response = self._render(messages, at, candidate).target.strip()
        shown = response
        rendered, border = self._reverse(instruction, shown, candidate)
        for _ in range(_CUT_ATTEMPTS):
            over = len(border.context) + len(border.target) - self.max_length
            if over <= 0 or not self.truncate:
                break
            shown = self._without_last_tokens(shown, over)
            rendered, border = self._reverse(instruction, shown, candidate)
        side = self._side(border, rendered, what="instruction")
        if shown == response:
            return side
        return replace(side, truncated=True)

    def _reverse(
        self, instruction: str, shown: str, candidate: Candidate
    ) -> tuple[Rendered, _Border]:
        row = (
            Message(role="user", content=reverse_prompt(shown)),
            Message(role="assistant", content=instruction),
        )
        rendered = self.template.render(row, 1, template_args=candidate.template_args)
        return rendered, self._border(rendered.context, rendered.target, what="instruction")

    def _without_last_tokens(self, text: str, count: int) -> str:
        """Cut at least `count` tokens off the end of a response that is only shown."""
        (tokens,) = self.tokenizer.tokenize([text])
        if len(tokens.ids_T) <= count:
            raise _NotReadableError("too_long", "the instruction leaves no room for a response")
        return text[: int(tokens.starts_T[len(tokens.ids_T) - count])]

    def _border(self, context: str, target: str, *, what: str, bos: bool | None = None) -> _Border:
        (tokens,) = self.tokenizer.tokenize([context + target])
        at, straddles = _split(tokens, len(context))
        wants_bos = self.template.adds_bos if bos is None else bos
        front = self._bos(tokens) if wants_bos else ()
        if at == len(tokens.ids_T):
            raise _NotReadableError(
                "no_target_tokens", f"all tokens of the {what} start inside its context"
            )
        return _Border(
            context=(*front, *tokens.ids_T[:at].tolist()),
            target=tuple(tokens.ids_T[at:].tolist()),
            target_starts_T=tokens.starts_T[at:] - np.int32(len(context)),
            straddles=straddles,
        )

    def _header(self, header: str) -> tuple[int, ...]:
        (tokens,) = self.tokenizer.tokenize([header])
        bos = self._bos(tokens) if self.template.adds_bos else ()
        return (*bos, *tokens.ids_T.tolist())

    def _bos(self, tokens: Tokens) -> tuple[int, ...]:
        """Tokens that the tokenizer adds in front, unless the text already starts with them."""
        front = self.tokenizer.bos_ids
        return () if tuple(tokens.ids_T[: len(front)].tolist()) == front else front

    def _side(self, border: _Border, rendered: Rendered, *, what: str) -> EncodedSide:
        header = self._header(rendered.header)
        if not header or not border.context:
            raise _NotReadableError(
                "no_target_tokens", f"there is nothing before the {what} in the rendered row"
            )
        room = self.max_length - max(len(border.context), len(header))
        target = border.target
        if len(target) > room:
            if not self.truncate or room < 1:
                needed = len(target) + self.max_length - room
                raise _NotReadableError("too_long", self._too_long(what, needed))
            target = target[:room]
        given, alone = passage_of(border.context, target), passage_of(header, target)
        if given.targets != alone.targets:
            raise SpanMismatchError(
                f"the {what} has {given.targets} tokens after its context "
                f"but {alone.targets} on its own"
            )
        return EncodedSide(
            given=(given,),
            alone=(alone,),
            starts_T=border.target_starts_T[: len(target)],
            text=rendered.target,
            straddles=border.straddles,
            truncated=len(target) < len(border.target),
            stripped=rendered.stripped,
        )

    def _too_long(self, what: str, needed: int) -> str:
        return f"{what}: {needed} tokens with its context, the limit is {self.max_length}"


def _says(message: Message) -> bool:
    """Whether a turn has anything to read: text, thinking or tool calls."""
    return bool(message.content.strip() or (message.reasoning or "").strip() or message.tool_calls)


def _instruction_of(messages: Sequence[Message], at: int) -> str | None:
    """Last user turn before a turn."""
    return next((m.content for m in reversed(messages[:at]) if m.role == "user"), None)


def _has_control_token(candidate: Candidate, pattern: re.Pattern[str]) -> bool:
    return any(
        pattern.search(text)
        for m in candidate.messages
        for text in (m.content, m.reasoning, m.tool_calls)
        if text
    )


def _pooled(turns: Sequence[EncodedSide]) -> EncodedSide:
    """Sides of several turns joined into one."""
    starts, length = [], 0
    for turn in turns:
        starts.append(turn.starts_T + np.int32(length))
        length += len(turn.text) + len(TURN_BREAK)
    return EncodedSide(
        given=tuple(passage for turn in turns for passage in turn.given),
        alone=tuple(passage for turn in turns for passage in turn.alone),
        straddles=any(turn.straddles for turn in turns),
        truncated=any(turn.truncated for turn in turns),
        stripped=any(turn.stripped for turn in turns),
        starts_T=np.concatenate(starts),
        text=TURN_BREAK.join(turn.text for turn in turns),
    )


def blank_reason(candidate: Candidate) -> Unscored | None:
    """Reason why a candidate has nothing to read, as far as it is known without a tokenizer."""
    reason = None
    if candidate.status != OK:
        reason = candidate.status
    elif not _says(candidate.messages[-1]):
        reason = "empty_response"
    elif not candidate.instruction.strip():
        reason = "empty_instruction"
    elif not any(m.trained for m in candidate.messages if m.role == "assistant"):
        reason = "not_trained"
    if reason is None:
        return None
    return Unscored(candidate_id=candidate.candidate_id, reason=reason, detail=candidate.detail)


def _split(tokens: Tokens, border: int) -> tuple[int, bool]:
    """Index of the first token that starts at or after the border, and whether one straddles it.

    A character of several tokens gives them all its start, so tokens after the border cannot
    start in front of it; starts never decrease.
    """
    at = int(np.searchsorted(tokens.starts_T, border, side="left"))
    return at, bool(at and tokens.ends_T[at - 1] > border)
