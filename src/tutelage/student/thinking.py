"""Thinking in assistant turns: its position, and turns without it."""

import re
from collections.abc import Sequence
from dataclasses import replace

from tutelage.data import Message

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
