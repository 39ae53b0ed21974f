"""Chat templates: rows are rendered as a whole, and each turn is located in the result."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from types import MappingProxyType
from typing import Any, Protocol

from tutelage.data import Message
from tutelage.errors import SettingsError
from tutelage.student.template import (
    REASONING_FIELDS,
    Rendered,
    RewrittenError,
    TemplateRefusedError,
)
from tutelage.student.template_sandbox import TEMPLATE_ERRORS, TemplateEnvironment
from tutelage.student.turn_spans import PROBE, Span, find_turn


class RenderMessages(Protocol):
    """Renders messages as text."""

    def __call__(
        self,
        messages: list[dict[str, Any]],
        generate: bool,  # noqa: FBT001
        tools: list[Any] | None,
        arguments: Mapping[str, Any],
        /,
    ) -> str:
        """Messages, whether to add the generation prompt, tools and the row's own arguments."""
        ...


def compile_template(source: str, *, today: date, variables: Mapping[str, Any]) -> RenderMessages:
    """Compile a chat template to a function of messages, generation prompt, tools and arguments.

    Args:
        source: The Jinja text.
        today: What the template takes for the current date.
        variables: Special tokens and template arguments; the arguments of a row win over them.

    Raises:
        jinja2.TemplateError: The text is not a template.
    """
    environment = TemplateEnvironment(today=today)
    template = environment.from_string(source)

    def render(
        messages: list[dict[str, Any]],
        generate: bool,  # noqa: FBT001
        tools: list[Any] | None,
        arguments: Mapping[str, Any] = MappingProxyType({}),
    ) -> str:
        values = {"documents": None, **variables, **arguments}
        return environment.timed(
            lambda: template.render(
                {
                    **values,
                    "messages": messages,
                    "tools": tools,
                    "add_generation_prompt": generate,
                }
            )
        )

    return render


def reads_clock(source: str) -> bool:
    """Whether a template uses the current date or time."""
    return "strftime_now" in source


_INSTRUCTION_PROBE = "Probing instruction."
_RESPONSE_PROBE = "Probing response."
_MARK = "Qzfront"
_USER = Message(role="user", content=_INSTRUCTION_PROBE)
_SAID = Message(role="assistant", content=_RESPONSE_PROBE)
_SYSTEM = Message(role="system", content="Probing system.")
_TOOLS_PROBE = json.dumps(
    [
        {
            "type": "function",
            "function": {
                "name": "probe",
                "description": "Probing tool.",
                "parameters": {
                    "type": "object",
                    "properties": {"place": {"type": "string", "description": "Its name."}},
                    "required": ["place"],
                },
            },
        }
    ]
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Form:
    """Form in which a template accepts turns.

    Attributes:
        parts: Contents as a list of typed parts, for templates of models that also see images.
        json_arguments: Arguments of tool calls as JSON text instead of an object.
        without_content: No `content` in a turn that only calls tools.
    """

    parts: bool = False
    json_arguments: bool = False
    without_content: bool = False


_PLAIN = _Form()


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatTemplate:
    """Chat template of a Hugging Face tokenizer.

    Attributes:
        name: `chat`, or the name of the user's file.
        source: The Jinja text.
        render_messages: Renders a conversation, with or without the generation prompt.
        bos: The BOS text that the template starts with; empty where it starts with none.
        parts: Whether contents are handed over as typed parts.
        control_tokens: Finds the text of special tokens.
    """

    name: str
    source: str
    render_messages: RenderMessages
    bos: str = ""
    parts: bool = False
    control_tokens: re.Pattern[str] | None = None

    @property
    def adds_bos(self) -> bool:
        """Always false: the rendered text is what training sees."""
        return False

    def render(
        self,
        messages: Sequence[Message],
        at: int,
        *,
        tools: str | None = None,
        template_args: str | None = None,
    ) -> Rendered:
        """Render a row and find one of its assistant turns.

        Raises:
            TemplateRefusedError: The template does not accept such a conversation.
            RewrittenError: The turn is not in the rendered row word for word.
        """
        first: TemplateRefusedError | RewrittenError | None = None
        for form in self._forms(messages):
            row = _Row(
                template=self,
                messages=tuple(messages),
                tools=_parsed(tools),
                arguments={} if template_args is None else json.loads(template_args),
                form=form,
            )
            try:
                return row.placed(at)
            except (TemplateRefusedError, RewrittenError) as error:
                first = first or error
        assert first is not None  # noqa: S101  (there is always a form)
        raise first

    def whole(
        self, messages: Sequence[Message], *, tools: str | None = None, generate: bool = False
    ) -> str:
        """Rendered text of a whole row, as training sees it, or of a prompt.

        Args:
            messages: The turns.
            tools: JSON text of the tool schemas, or None.
            generate: Whether the text ends with the generation prompt.

        Raises:
            TemplateRefusedError: The template does not accept such a conversation.
        """
        form = replace(_PLAIN, parts=self.parts)
        row = _Row(template=self, messages=tuple(messages), tools=_parsed(tools), form=form)
        return row.text(messages, generate=generate)

    def _forms(self, messages: Sequence[Message]) -> Iterator[_Form]:
        yield replace(_PLAIN, parts=self.parts)
        if any(m.tool_calls for m in messages):
            for json_arguments, without_content in ((True, False), (False, True), (True, True)):
                yield _Form(
                    parts=self.parts,
                    json_arguments=json_arguments,
                    without_content=without_content,
                )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    """One row in one form."""

    template: ChatTemplate
    messages: tuple[Message, ...]
    tools: list[Any] | None
    form: _Form
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def placed(self, at: int) -> Rendered:
        """Position of the assistant turn `at` in the rendered row."""
        full = self.text(self.messages)
        before = self.messages[:at]
        prompt = self.attempt(before, generate=True)
        bare = self.attempt(before)
        probe = Message(role="assistant", content=PROBE)
        alone = self.attempt([*before, probe])
        probed, upto = alone, None
        if at + 1 < len(self.messages):
            later = self.messages[at + 1 :]
            probed = self.attempt([*before, probe, *later])
            upto = self.attempt(self.messages[: at + 1])
        span = find_turn(
            turn=self.messages[at],
            full=full,
            prompt=prompt,
            bare=bare,
            alone=alone,
            probed=probed,
            between=lambda: self._between(at, probed=probed or alone or ""),
            upto=upto,
            control_tokens=self.template.control_tokens,
        )
        return self._rendered(full, span)

    def _rendered(self, full: str, span: Span) -> Rendered:
        context = full[: span.border]
        header = full[span.header : span.border]
        bos = self.template.bos
        if bos and context.startswith(bos) and not header.startswith(bos):
            header = bos + header
        return Rendered(
            context=context,
            header=header,
            target=full[span.border : span.end],
            end=span.after,
            stripped=span.stripped,
        )

    def _between(self, at: int, *, probed: str) -> str | None:
        """Text between the content of the previous turn and a plain response.

        Later turns can change it: some templates close a thought only behind the last question.

        Args:
            at: The turn.
            probed: The rendered row with `PROBE` in place of the turn.
        """
        front = probed.rpartition(PROBE)[0]
        for later in ((), self.messages[at + 1 :]):
            text = self._in_front_of(at, later)
            if text is not None and front.endswith(text):
                return text
        return None

    def _in_front_of(self, at: int, later: Sequence[Message]) -> str | None:
        """The same for one choice of the turns behind it.

        Of a turn that the template leaves out, the one in front of that counts.
        """
        probe = Message(role="assistant", content=PROBE)
        for index in range(at - 1, -1, -1):
            marked = replace(self.messages[index], content=_MARK)
            before = (*self.messages[:index], marked, *self.messages[index + 1 : at])
            text = self.attempt([*before, probe, *later])
            if text is not None and PROBE in text and _MARK in text:
                return text.rpartition(PROBE)[0].rpartition(_MARK)[2]
        return None

    def attempt(self, messages: Sequence[Message], *, generate: bool = False) -> str | None:
        """Rendered turns, or None where the template refuses them."""
        if not messages:
            return None
        try:
            return self.text(messages, generate=generate)
        except TemplateRefusedError:
            return None

    def text(self, messages: Sequence[Message], *, generate: bool = False) -> str:
        turns = [self._turn(m) for m in messages]
        try:
            return self.template.render_messages(turns, generate, self.tools, self.arguments)
        except TEMPLATE_ERRORS as error:
            roles = ", ".join(m.role for m in messages)
            raise TemplateRefusedError(
                f"the chat template refuses a conversation of {roles}: {_said(error)}",
                hint="remove the turns it refuses, or use a raw template",
            ) from error

    def _turn(self, message: Message) -> dict[str, Any]:
        content: Any = message.content
        if self.form.parts:
            content = [{"type": "text", "text": content}]
        turn: dict[str, Any] = {"role": message.role, "content": content}
        if message.reasoning is not None:
            # Templates read the thinking by different names.
            turn |= dict.fromkeys(REASONING_FIELDS, message.reasoning)
        if message.tool_calls is not None:
            calls = json.loads(message.tool_calls)
            if self.form.json_arguments:
                calls = [_with_json_arguments(call) for call in calls]
            turn["tool_calls"] = calls
            if self.form.without_content and not message.content:
                del turn["content"]  # as transformers hands over a content of null
        if message.tool_call_id is not None:
            turn["tool_call_id"] = message.tool_call_id
        if message.name is not None:
            turn["name"] = message.name
        return turn


def _with_json_arguments(call: Any) -> Any:
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict) or isinstance(function.get("arguments"), str):
        return call
    text = json.dumps(function.get("arguments"), ensure_ascii=False)
    return {**call, "function": {**function, "arguments": text}}


def _parsed(tools: str | None) -> list[Any] | None:
    return None if tools is None else list(json.loads(tools))


def _said(error: Exception) -> str:
    """Message of a template's error."""
    return str(error) or type(error).__name__


def open_chat_template(
    render_messages: RenderMessages,
    *,
    name: str,
    source: str,
    bos: str | None,
    control_tokens: re.Pattern[str] | None = None,
) -> ChatTemplate:
    """Open a chat template; probes find the form of turns it accepts and whether it adds BOS.

    Args:
        render_messages: Renders a conversation.
        name: `chat`, or the name of the user's file.
        source: The Jinja text.
        bos: The tokenizer's BOS text, if it has one.
        control_tokens: Finds the text of special tokens.

    Raises:
        SettingsError: The template renders no conversation at all, or loses what is said in it.
    """
    problem = ""
    for parts in (False, True):
        template = ChatTemplate(
            name=name,
            source=source,
            render_messages=render_messages,
            parts=parts,
            control_tokens=control_tokens,
        )
        for turns, tools in _probes():
            try:
                text = template.whole(turns, tools=tools)
            except TemplateRefusedError as error:
                problem = problem or str(error)
                continue
            if _INSTRUCTION_PROBE in text and _RESPONSE_PROBE in text:
                found = bos if bos and text.startswith(bos) else ""
                template = replace(template, bos=found)
                _check_between(template, turns, tools=tools)
                return template
    raise SettingsError(
        f"template {name}: cannot render a user turn and its response: "
        f"{problem or 'the text of the turns does not appear in it'}",
        hint="use a raw template for this model: --template alpaca, or a file of your own",
    )


def _check_between(template: ChatTemplate, turns: Sequence[Message], *, tools: str | None) -> None:
    try:
        rendered = template.render(turns, len(turns) - 1, tools=tools)
    except RewrittenError:
        return  # each row will say so
    if not rendered.header.strip():
        raise SettingsError(
            f"template {template.name}: has nothing between instruction and response",
            hint="use a raw template for this model: --template alpaca, or a file of your own",
        )


def _probes() -> Iterator[tuple[tuple[Message, ...], str | None]]:
    """Test conversations with their tools, the plainest first."""
    for tools in (None, _TOOLS_PROBE):
        yield (_USER, _SAID), tools
        yield (_SYSTEM, _USER, _SAID), tools


def template_problems(template: ChatTemplate) -> list[str]:
    """Problems of a template that affect scores, in sentences; empty where there are none.

    Returns:
        One sentence for each finding, for people.
    """
    front, tools, problems = _accepted(template)
    cases = (
        ("a system prompt", (_SYSTEM, _USER)),
        ("an earlier turn", (*front, _SAID, _USER)),
        ("two user turns in a row", (*front, _USER)),
    )
    for what, context in cases:
        try:
            rendered = template.render([*context, _SAID], len(context), tools=tools)
        except TemplateRefusedError as error:
            problems.append(f"refuses {what} ({error})")
            continue
        if what == "a system prompt" and _SYSTEM.content not in rendered.context:
            problems.append("drops the system prompt")
    padded = replace(_SAID, content=f" {_RESPONSE_PROBE}\n")
    if template.render([*front, padded], len(front), tools=tools).stripped:
        problems.append(
            "trims the response, so the response is scored without surrounding white space "
            "(`stripped`)"
        )
    problems += _thinking_problems(template, front, tools=tools)
    return [*problems, *_prompt_problems(template, front, tools=tools)]


def _accepted(template: ChatTemplate) -> tuple[tuple[Message, ...], str | None, list[str]]:
    """The plainest turns before a response that the template renders, with their tools.

    Also what it refuses: a row without a system prompt, or without tools.
    """
    problems: list[str] = []
    for turns, tools in _probes():
        try:
            template.render(turns, len(turns) - 1, tools=tools)
        except TemplateRefusedError as error:
            plain = "a row without tools" if tools is None else "a row with tools"
            if turns[0].role != "system":
                plain += " and without a system prompt"
            problems.append(f"refuses {plain} ({error})")
        else:
            return turns[:-1], tools, problems
    raise SettingsError(
        f"template {template.name}: renders no conversation: {problems[0]}",
        hint="use a raw template for this model: --template alpaca, or a file of your own",
    )


def _thinking_problems(
    template: ChatTemplate, front: Sequence[Message], *, tools: str | None
) -> Iterator[str]:
    inside = replace(_SAID, content=f"<think>\nProbing thought.\n</think>\n\n{_SAID.content}")
    for what, turn in (
        ("`<think>` in the content", inside),
        ("a field `reasoning_content`", replace(_SAID, reasoning="Probing thought.")),
    ):
        try:
            template.render([*front, turn], len(front), tools=tools)
        except RewrittenError:
            yield (
                f"rewrites thinking ({what}): such rows are `rewritten_by_template` unless "
                "thinking is excluded (--thinking exclude)"
            )
        except TemplateRefusedError as error:
            yield f"refuses thinking ({what}: {error})"


def _prompt_problems(
    template: ChatTemplate, front: Sequence[Message], *, tools: str | None
) -> Iterator[str]:
    context = template.render([*front, _SAID], len(front), tools=tools).context
    prompt = template.whole(front, tools=tools, generate=True)
    injected = context.removeprefix(prompt)
    if not context.startswith(prompt):
        yield "renders the prompt alone differently than in a whole row; the whole row counts"
    elif injected:
        yield f"puts {injected!r} in front of the response; it counts as context"
