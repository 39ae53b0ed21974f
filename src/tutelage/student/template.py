"""How a conversation becomes the text the student would be trained on.

    C(messages)            everything up to where the response starts
    header                 what stands between instruction and response
    REVERSE(response)      the user turn that asks for the instruction of a response

The rule for every template: `context + target` is the text that training would render, up to
the end of the turn. Where a chat template puts something between its generation prompt and the
response (an empty thinking block, say), that belongs to the context, because training sees it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from tutelage.data import Message, content_hash
from tutelage.errors import DataError, SettingsError

_REVERSE_BEFORE = "Someone gave the answer below to a request.\n\n"
_REVERSE_AFTER = "\n\nWrite the request it answers."

ALPACA_TEXT = (
    "Below is an instruction that describes a task. Write a response that appropriately "
    "completes the request.\n\n### Instruction:\n{instruction}\n\n### Response:"
)
"""The raw template of the Stanford Alpaca project, in its form without a separate input."""

_INSTRUCTION_MARK = "{instruction}"
_RESPONSE_MARK = "{response}"


class TemplateRefusedError(DataError):
    """The template will not render this conversation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """One turn to be read, as text.

    Attributes:
        context: Everything in front of the target.
        target: The response as training would see it; a template may trim it.
        offset: How many characters the template cut from the start of the response.
        end: What ends the turn, or nothing where the template has no such thing.
        verbatim: False where the template rewrites the response, so that training would not see
            `context + target`.
    """

    context: str
    target: str
    offset: int = 0
    end: str = ""
    verbatim: bool = True


class Template(Protocol):
    """What the student's room needs to know of a template."""

    @property
    def name(self) -> str:
        """`chat`, `alpaca`, or the name of the user's file."""
        ...

    @property
    def digest(self) -> str:
        """Content hash of everything that decides what is rendered."""
        ...

    @property
    def header(self) -> str:
        """The text in front of a target that is read alone."""
        ...

    @property
    def adds_bos(self) -> bool:
        """Whether contexts and header lack the BOS token that the tokenizer adds by itself."""
        ...

    def render(self, context: Sequence[Message], response: str) -> Rendered:
        """Render a conversation and the response to its last user turn.

        Raises:
            TemplateRefusedError: The template does not accept such a conversation.
        """
        ...


def reverse_prompt(response: str) -> str:
    r"""The user turn that shows a response and asks for its instruction.

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
    """A text with a place for the instruction, for models without a chat template.

    A system prompt and earlier turns stand in front, separated by blank lines, each earlier
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
    def digest(self) -> str:
        """Content hash of the template's text and of the reverse prompt."""
        return content_hash("raw", self.before, self.between, self.end, reverse_digest())

    @property
    def header(self) -> str:
        """The text between instruction and response without the blank lines it starts with."""
        return self.between.lstrip("\n")

    @property
    def adds_bos(self) -> bool:
        """Always: raw text has no BOS of its own."""
        return True

    def render(self, context: Sequence[Message], response: str) -> Rendered:
        """Render a conversation and its response.

        Raises:
            TemplateRefusedError: The turns do not alternate.
        """
        parts: list[str] = []
        expected = "user"
        for message in context:
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
        return Rendered(context="".join(parts), target=response, end=self.end)


def parse_raw_template(text: str, *, name: str, end: str = "") -> RawTemplate:
    r"""Read a raw template: a text with `{instruction}` once, and `{response}` at most once after.

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
            f"template {name}: nothing stands between instruction and response",
            hint="put a header there, such as 'Answer:'; the views without context start with it",
        )
    ends = rest.rstrip("\n") if response_mark else ""
    return RawTemplate(name=name, before=before, between=between, end=ends or end)
