"""Templates: the text of a conversation as in training, and the position of a turn in it.

A row is rendered as a whole, as for training. For each assistant turn that is read:

    text      <turns in front> <header> target <end of turn> <later turns>
              `------ context ------'

    REVERSE(response)      the user turn that asks for the instruction of a response
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from tutelage.data import Message, content_hash
from tutelage.errors import DataError, SettingsError

REASONING_FIELDS = ("reasoning_content", "thinking", "reasoning")
"""Field names under which rows keep the thinking of a turn and templates read it."""

_TAGS = (
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<thought>", "</thought>"),
    ("<seed:think>", "</seed:think>"),
    ("[THINK]", "[/THINK]"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
    ("◁think▷", "◁/think▷"),
)


def without_thinking(messages: Sequence[Message]) -> tuple[Message, ...]:
    """Same turns, with the thinking removed from those of the assistant."""
    return tuple(
        replace(m, content=answer_of(m.content), reasoning=None) if m.role == "assistant" else m
        for m in messages
    )


def answer_of(content: str) -> str:
    r"""A response without its thinking blocks.

    A block whose opening tag is missing starts with the text (the generation prompt has opened
    it); one that is never closed ends with it, and only counts at the start of a response.

    Examples:
        >>> answer_of("<think>\nfive, twelve\n</think>\n\nIt is 12.")
        'It is 12.'
        >>> answer_of("five, twelve</think>It is 12.")
        'It is 12.'
        >>> answer_of("<think>five and")
        ''
        >>> answer_of("  Plain. ")
        '  Plain. '
    """
    text = content
    for opening, closing in _TAGS:
        if opening not in text and closing not in text:
            continue
        block = re.escape(opening) + r".*?" + re.escape(closing) + r"\s*"
        text = re.sub(block, "", text, flags=re.DOTALL)
        text = text.rpartition(closing)[2] if closing in text else text
        if text.lstrip().startswith(opening):
            text = ""
    return text if text == content else text.strip()


def is_opening(text: str) -> bool:
    r"""Whether a text consists of nothing but an opening thinking tag.

    Examples:
        >>> is_opening("<think>\n"), is_opening("Here are my ")
        (True, False)
    """
    return text.strip() in {opening for opening, _ in _TAGS}


def pieces_of(content: str) -> tuple[str, str] | None:
    r"""Thinking and answer of a response that starts with a thinking block.

    Returns:
        None where it does not start with a closed block.

    Examples:
        >>> pieces_of("<think>\nfive\n</think>\n\nIt is 12.")
        ('five', 'It is 12.')
        >>> pieces_of("It is 12.") is None
        True
    """
    for opening, closing in _TAGS:
        if content.lstrip().startswith(opening) and closing in content:
            thought, _, answer = content.lstrip().removeprefix(opening).partition(closing)
            return thought.strip(), answer.strip()
    return None


_REVERSE_BEFORE = "Someone gave the answer below to a request.\n\n"
_REVERSE_AFTER = "\n\nWrite the request it answers."

ALPACA_TEXT = (
    "Below is an instruction that describes a task. Write a response that appropriately "
    "completes the request.\n\n### Instruction:\n{instruction}\n\n### Response:"
)
"""Raw template of the Stanford Alpaca project, in its form without a separate input."""

_INSTRUCTION_MARK = "{instruction}"
_RESPONSE_MARK = "{response}"


class TemplateRefusedError(DataError):
    """The template refuses to render this conversation."""


class RewrittenError(DataError):
    """The template drops, repeats or moves words of the turn that is to be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """Text of one assistant turn with its position in the rendered row.

    Attributes:
        context: Everything in front of the target.
        header: The end of `context`: the text between the turn in front and the target. A
            target is read alone after it. It starts with BOS where the template renders one.
        target: What the assistant wrote, as training sees it.
        end: What ends the turn, or nothing where the template has no such thing.
        stripped: Whether the template changed white space of the turn.
    """

    context: str
    header: str
    target: str
    end: str = ""
    stripped: bool = False


class Template(Protocol):
    """Protocol of a template."""

    @property
    def name(self) -> str:
        """Name: `chat`, `alpaca`, or the name of the user's file."""
        ...

    @property
    def adds_bos(self) -> bool:
        """Whether the tokenizer adds its BOS token in front of the rendered text."""
        ...

    def render(
        self,
        messages: Sequence[Message],
        at: int,
        *,
        tools: str | None = None,
        template_args: str | None = None,
    ) -> Rendered:
        """Render a row and find one of its assistant turns.

        Args:
            messages: The whole row.
            at: Index of the assistant turn.
            tools: The tools of the row, as JSON text.
            template_args: The row's own template arguments, as JSON text; they win over the
                settings.

        Raises:
            TemplateRefusedError: The template does not accept such a conversation.
            RewrittenError: The turn is not in the rendered row word for word.
        """
        ...


def reverse_prompt(response: str) -> str:
    r"""User turn that shows a response and asks for its instruction.

    Examples:
        >>> reverse_prompt("42")
        'Someone gave the answer below to a request.\n\n42\n\nWrite the request it answers.'
    """
    return f"{_REVERSE_BEFORE}{response}{_REVERSE_AFTER}"


def reverse_digest() -> str:
    """Content hash of the reverse prompt's wording."""
    return content_hash(_REVERSE_BEFORE, _REVERSE_AFTER)


@dataclass(frozen=True, slots=True, kw_only=True)
class RawTemplate:
    """Text with a place for the instruction, for models without a chat template.

    A system prompt and earlier turns come first, separated by blank lines, each earlier
    turn in the same form with its response.

    Attributes:
        name: What the manifest calls it.
        before: The text in front of the instruction.
        between: The text between instruction and response.
        end: What ends a response; empty where nothing does.
    """

    name: str
    before: str
    between: str
    end: str = ""

    @property
    def header(self) -> str:
        """Text between instruction and response, without leading blank lines."""
        return self.between.lstrip("\n")

    @property
    def adds_bos(self) -> bool:
        """Always true: raw text has no BOS of its own."""
        return True

    def render(
        self,
        messages: Sequence[Message],
        at: int,
        *,
        tools: str | None = None,
        template_args: str | None = None,  # noqa: ARG002  (a raw template has none)
    ) -> Rendered:
        """Render a conversation up to one of its assistant turns, and that turn.

        Thinking that a row keeps apart from the content has no place in a raw template.

        Args:
            messages: All turns of the row.
            at: Index of the assistant turn.
            tools: JSON text of the tool schemas, or None.
            template_args: JSON text of the row's own template arguments; a raw template has none.

        Raises:
            TemplateRefusedError: The turns do not alternate, or call tools.
            RewrittenError: The turn has thinking in addition to its content.
        """
        parts: list[str] = []
        expected = "user"
        if tools is not None or any(m.tool_calls for m in messages):
            raise TemplateRefusedError(
                f"template {self.name}: has no place for tools",
                hint="rows with tools need a chat template",
            )
        for message in messages[:at]:
            if message.role == "system" and not parts:
                parts.append(f"{message.content}\n\n")
                continue
            if message.role != expected:
                raise TemplateRefusedError(
                    f"template {self.name}: expected a {expected} turn, found {message.role}",
                    hint="a raw template needs turns that alternate",
                )
            if message.role == "user":
                parts.append(f"{self.before}{message.content}{self.between}")
            else:
                parts.append(f"{message.content}{self.end}\n\n")
            expected = "assistant" if message.role == "user" else "user"
        if expected != "assistant":
            raise TemplateRefusedError(
                f"template {self.name}: no user turn before the response",
                hint="a raw template needs turns that alternate",
            )
        if messages[at].reasoning is not None:
            raise RewrittenError(
                f"template {self.name}: has no place for the thinking of a turn",
                hint="score the answers alone with --thinking exclude",
            )
        return Rendered(
            context="".join(parts),
            header=self.header,
            target=messages[at].content,
            end=self.end,
        )


def parse_raw_template(text: str, *, name: str, end: str = "") -> RawTemplate:
    r"""Parse a raw template: `{instruction}` once, then at most one `{response}`.

    Args:
        text: The template.
        name: Its name, for messages.
        end: Text that ends a response.

    Raises:
        SettingsError: The places are missing, doubled or in the wrong order.

    Examples:
        >>> parse_raw_template("Q: {instruction}\nA:", name="qa").header
        'A:'
    """
    before, mark, after = text.partition(_INSTRUCTION_MARK)
    between, response_mark, rest = after.partition(_RESPONSE_MARK)
    if not mark or _INSTRUCTION_MARK in after or _RESPONSE_MARK in before + rest:
        raise SettingsError(
            f"template {name}: needs {{instruction}} once, then {{response}} at most once",
            hint="write the text as training will see it, with these two places in it",
        )
    if not between.strip():
        raise SettingsError(
            f"template {name}: there is nothing between instruction and response",
            hint="put a header there, such as 'Answer:'; the views without context start with it",
        )
    ends = rest.rstrip("\n") if response_mark else ""
    return RawTemplate(name=name, before=before, between=between, end=ends or end)
