"""Holds what is scored against what transformers renders and TRL trains on."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from tests.student.conformance.conversations import Row
from tests.tiny_student import tiny_tokenizer
from tutelage.data import Candidate, Message
from tutelage.student.chat_template import (
    ChatTemplate,
    compile_template,
    open_chat_template,
)
from tutelage.student.passages import Refusal
from tutelage.student.template import reverse_prompt
from tutelage.student.template_sandbox import TEMPLATE_ERRORS
from tutelage.student.tokenizer import control_token_pattern, fast_tokenizer
from tutelage.student.views import ViewBuilder

_MARKUP = re.compile(
    r"<[|\uff5c][^<>'\"\s]+?[|\uff5c]?>|<\w+_of_\w+>|<end_of_utterance>|<\w+\|>|\[/?[A-Z_]+\]"
)


@dataclass(frozen=True, kw_only=True)
class Checked:
    """What came of one row: a status, or how the trainer's mask differs from the target.

    Attributes:
        status: `ok`, or why the row is not scored.
        between: What the trainer puts loss on in front of the target.
        end: What it puts loss on behind it.
        straddles: Whether a token crosses the border.
        reverse: `ok`, or why the instruction is not scored although the response is.
    """

    status: str
    between: str = ""
    end: str = ""
    straddles: bool = False
    reverse: str = "ok"


class Setup:
    """A chat template with a tokenizer that knows its markup."""

    def __init__(self, source: str, **arguments: Any) -> None:
        self.source = source
        self.arguments = arguments
        self.tokenizer = tiny_tokenizer(template=source)
        markup = sorted({m for m in _MARKUP.findall(source) if "think" not in m.lower()})
        self.tokenizer.add_special_tokens({"additional_special_tokens": [*markup, "<unk>"]})
        self.template: ChatTemplate = open_chat_template(
            compile_template(
                source,
                today=datetime.now(tz=UTC).date(),
                variables={**self.tokenizer.special_tokens_map, **arguments},
            ),
            name="test",
            source=source,
            bos=self.tokenizer.bos_token,
            control_tokens=control_token_pattern(self.tokenizer),
        )
        self.builder = ViewBuilder(
            template=self.template,
            tokenizer=fast_tokenizer(self.tokenizer, place="test"),
            max_length=10**6,
            control_tokens=control_token_pattern(self.tokenizer),
        )

    def trained_text(self, row: Row, *, generate: bool = False, until: int | None = None) -> str:
        """The text that transformers renders."""
        return str(
            self.tokenizer.apply_chat_template(
                [self.turn(m) for m in row.messages[:until]],
                tools=json.loads(row.tools) if row.tools else None,
                tokenize=False,
                add_generation_prompt=generate,
                **self.arguments,
            )
        )

    def ids(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def turn(self, message: Message) -> dict[str, Any]:
        content: Any = message.content
        if self.template.parts:
            content = [{"type": "text", "text": content}]
        turn: dict[str, Any] = {"role": message.role, "content": content}
        if message.reasoning is not None:
            turn["reasoning"] = message.reasoning
        if message.tool_calls is not None:
            turn["tool_calls"] = json.loads(message.tool_calls)
        if message.tool_call_id is not None:
            turn |= {"tool_call_id": message.tool_call_id, "name": message.name}
        return turn


def squeezed(text: str) -> str:
    return "".join(text.split())


def check_row(setup: Setup, row: Row) -> Checked:
    """Score a row and hold it against training.

    Raises:
        AssertionError: What is scored is not what is trained on.
    """
    candidate = Candidate(candidate_id="c", example_id="e", messages=row.messages, tools=row.tools)
    side = setup.builder.encode(candidate, "response")
    if isinstance(side, Refusal):
        if side.reason == "template_refused" and not row.tools:
            _assert_refused(setup, row)
        return Checked(status=side.reason)
    rendered = setup.template.render(row.messages, len(row.messages) - 1, tools=row.tools)
    text = rendered.context + rendered.target
    full = _trained(setup, row)
    if full is not None:
        assert full.startswith(text), (text, full)
    else:  # the form of the row that transformers takes differs: tool calls
        assert row.tools, "transformers refuses the row"
        full = text
    _assert_words(row.messages[-1], rendered.target, stripped=side.stripped)
    (given,), (alone,) = side.given, side.alone
    ids = given.ids_T.tolist()
    full_ids = setup.ids(full)
    assert full_ids[: len(ids)] == ids, "other ids than in training"
    target = ids[given.target_start :]
    assert alone.ids_T[alone.target_start :].tolist() == target
    header = rendered.header.removeprefix(setup.template.bos)
    assert header, "no header"
    assert rendered.context.endswith(header), "the header is not that of the row"
    assert alone.ids_T[: alone.target_start].tolist() == setup.ids(rendered.header)
    if setup.template.bos:
        bos = setup.ids(setup.template.bos)
        for passage in (given, alone):
            assert passage.ids_T[: len(bos)].tolist() == bos, "no BOS"
    return Checked(
        status="ok",
        straddles=side.straddles,
        reverse=_reverse(setup, row, candidate, rendered.target),
        **_mask(setup, row, full_ids, given.target_start, len(ids)),
    )


def _reverse(setup: Setup, row: Row, candidate: Candidate, target: str) -> str:
    """Hold the instruction, as it is scored given the response, against its own rendered row."""
    side = setup.builder.encode(candidate, "instruction")
    if isinstance(side, Refusal):
        return side.reason
    turn = row.messages[-1]
    shown = target.strip() if turn.reasoning or turn.tool_calls else turn.content
    asked = next(m.content for m in reversed(row.messages) if m.role == "user")
    turns = (
        Message(role="user", content=reverse_prompt(shown)),
        Message(role="assistant", content=asked),
    )
    full = setup.ids(setup.trained_text(Row(messages=turns)))
    rendered = setup.template.render(turns, 1)
    (given,), (alone,) = side.given, side.alone
    ids = given.ids_T.tolist()
    assert full[: len(ids)] == ids, "the reverse row has other ids than in training"
    assert setup.ids(rendered.header) == alone.ids_T[: alone.target_start].tolist()
    assert rendered.context.endswith(rendered.header.removeprefix(setup.template.bos))
    assert alone.ids_T[alone.target_start :].tolist() == ids[given.target_start :]
    assert squeezed(asked) in squeezed(rendered.target), "a word of the instruction is missing"
    return "ok"


def _trained(setup: Setup, row: Row) -> str | None:
    try:
        return setup.trained_text(row)
    except TEMPLATE_ERRORS:
        return None


def _assert_refused(setup: Setup, row: Row) -> None:
    assert _trained(setup, row) is None, "refused, but transformers renders it"


def _assert_words(turn: Message, target: str, *, stripped: bool) -> None:
    words = squeezed(target)
    if turn.tool_calls:
        assert "tide_table" in target
        assert "Büsum" in target or "B\\u00fcsum" in target
        return
    if turn.reasoning is not None:
        assert squeezed(turn.reasoning) in words
        assert words.endswith(squeezed(turn.content))
        return
    if not stripped:
        assert target.endswith(turn.content) or turn.content.endswith(target)
    for word in turn.content.replace("<think>", " ").replace("</think>", " ").split():
        assert word in words, "a word is missing"


def _mask(setup: Setup, row: Row, full_ids: Sequence[int], start: int, end: int) -> dict[str, str]:
    """How TRL's mask of a prompt and its completion differs from the target."""
    try:
        prompt = setup.ids(setup.trained_text(row, generate=True, until=-1))
    except TEMPLATE_ERRORS:
        return {}
    common = 0
    while common < min(len(prompt), len(full_ids)) and prompt[common] == full_ids[common]:
        common += 1
    assert common <= start, "the trainer has no loss on tokens of the target"
    decode = setup.tokenizer.decode
    return {"between": decode(full_ids[common:start]), "end": decode(full_ids[end:])}


def check_turns(setup: Setup, row: Row) -> list[str] | str:
    """Hold all assistant turns against the mask of TRL's `assistant_only_loss`.

    Returns:
        The texts with loss that are not part of a target, or why the row is not scored.
    """
    candidate = Candidate(candidate_id="c", example_id="e", messages=row.messages, tools=row.tools)
    side = replace(setup.builder, all_turns=True).encode(candidate, "response")
    if isinstance(side, Refusal):
        return side.reason
    try:
        trained = setup.tokenizer.apply_chat_template(
            [setup.turn(m) for m in row.messages],
            tools=json.loads(row.tools) if row.tools else None,
            tokenize=True,
            return_dict=True,
            return_assistant_tokens_mask=True,
        )
    except TEMPLATE_ERRORS:
        return "transformers refuses the row"
    ids, mask = trained["input_ids"], trained["assistant_masks"]
    targets: set[int] = set()
    for passage in side.given:
        assert ids[: len(passage.ids_T)] == passage.ids_T.tolist(), "other ids than in training"
        targets |= set(range(passage.target_start, len(passage.ids_T)))
    unmasked = [at for at in sorted(targets) if not mask[at]]
    # transformers leaves out all but the first token of a last character of several tokens
    text = setup.tokenizer.decode([ids[at] for at in unmasked])
    assert not text.strip("\ufffd"), text
    beyond: list[list[int]] = []
    last = -2
    for at, has_loss in enumerate(mask):
        if has_loss and at not in targets:
            if at != last + 1:
                beyond.append([])
            beyond[-1].append(ids[at])
            last = at
    return [setup.tokenizer.decode(part) for part in beyond]
