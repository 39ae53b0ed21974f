"""Phrases of teachers that do not answer: refusals, talk about the task, placeholders.

English only: in another language these rules pass everything, and the student judges it.
"""

import re

_CANNOT = r"(?:can't|cannot|can\ not|won't|(?:am|are)\ (?:unable|not\ able)\ to|unable\ to)"
_SERVICE = (
    r"(?:assist|help|fulfil|comply|provide|answer|complete|create|write|generate|engage|discuss"
    r"|share|do\ that|continue|support|produce|participate)"
)
_REFUSAL = re.compile(
    rf"""\A [\s"'*_]* (?:
      (?:i'm|i\ am|we're|we\ are|my\ apologies|apologies|sorry)\b [^.!?\n]{{0,40}}?
        \b(?:i|we)\ {_CANNOT}
      | (?:i|we)\ (?:{_CANNOT}|must\ decline\ to)\ (?:\w+\ )?{_SERVICE}
      | as\ an?\ (?:ai|artificial\ intelligence|large\ language|language)\b [^.!?\n]{{0,60}}?
        \b(?:{_CANNOT}
          |do(?:n't|\ not)\ have\ (?:\w+\ )?(?:access|abilit|capabilit|information))
    )""",
    re.IGNORECASE | re.VERBOSE,
)
_ASKS_TO_DECLINE = re.compile(
    r"\b(?:declin|refus|reject|apolog|turn(?:s|ed|ing)? down|say(?:s|ing)? no)", re.IGNORECASE
)

_LONGEST_REFUSAL_CHARS = 600

_NEW = r"(?:new|improved|better|revised|rewritten|refined|enhanced|updated|corrected)"
_OLD = r"(?:original|old|given|previous|provided|existing|initial)"
_PART = r"(?:response|answer|instruction|pair|reply)"
_META = re.compile(
    rf"""\b(?:the|this|your|my)\ {_OLD}\ {_PART}\b
      | \b(?:the|this|my|our)\ {_NEW}\ (?:and\ {_NEW}\ )?(?:version\ of\ the\ )?{_PART}\b
      | \bhere(?:'s|\ is)\ (?:a|an|the|my)\ (?:[\w,]+\ ){{0,3}}
        {_NEW}\ (?:\w+\ )?(?:version|{_PART})\b
      | \b(?:answer|response)\ to\ the\ (?:new\ |old\ )?instruction\b
      | \A\W*{_NEW}\ {_PART}\W*:
    """,
    re.IGNORECASE | re.VERBOSE,
)
_REMARK = re.compile(
    r"\b(?:the|this) (?:instruction|response) (?:is|was|does|has|lacks|now|above)\b"
    r"|\bthe instruction and (?:the )?(?:response|answer)\b",
    re.IGNORECASE,
)
_ABOUT_TEXTS = re.compile(
    r"\b(?:rewrit|rephras|paraphras|revis|improv|edit|critic|critique|feedback|review|evaluat"
    r"|compar|grad(?:e|ing)|rat(?:e|ing)|proofread|survey|prompt|correct|error|mistake|bug|fix)",
    re.IGNORECASE,
)
_EDGE_CHARS = 240  # talk about the task stands at the start or at the end of a text

_TEXT_NOUN = (
    r"(?:text|passage|sentences?|paragraph|poem|haiku|article|description|review|e-?mail|letter"
    r"|story|code|snippet|program|function|list|numbers?|words?|data(?:set)?|table|phrase|pronoun"
    r"|statement|document|quot(?:e|ation)|dialogue|conversation|input|prose|lyrics|speech)"
)
_POINTER = re.compile(
    rf"\b(?:the|this|these|those|each|following)\ (?:\w+\ ){{0,2}}{_TEXT_NOUN}\b", re.IGNORECASE
)
_OWN_TEXT = re.compile(r"""(?::\s|\n|["\u201c`])\W*\w+(?:\W+\w+){2}""")
_KEPT_FRACTION = 0.5  # of the words of the input that an instruction still has to hold
_MIN_INPUT_WORDS = 4

_PLACEHOLDER = re.compile(
    rf"""\W* (?: (?:insert|write|put|place|add)\ )? (?:(?:the|your|a|an)\ )?
      (?:(?:complete|full|{_NEW})\ )* {_PART} (?:\ (?:goes|text))? (?:\ (?:here|below))? \W*
      | [.\u2026_\-\s]+""",
    re.IGNORECASE | re.VERBOSE,
)


def is_refusal(text: str) -> bool:
    """Whether a short text begins with a typical refusal.

    A long text that begins so goes on to say something after all ("I cannot decide for you, but
    here is what to think of ..."); whether that is worth training on is for the student to say.

    Examples:
        >>> is_refusal("I'm sorry, but I can't help with that.")
        True
        >>> is_refusal("I am sorry for your loss.")
        False
    """
    return len(text) <= _LONGEST_REFUSAL_CHARS and _REFUSAL.match(_plain(text)) is not None


def asks_to_decline(instruction: str) -> bool:
    """Whether the right answer to an instruction may be a text that declines something."""
    return _ASKS_TO_DECLINE.search(instruction) is not None


def meta_talk_in(text: str) -> str | None:
    """Words with which a text talks about the pair it replaces, or None.

    Examples:
        >>> meta_talk_in("The original response was too short.")
        'The original response'
        >>> meta_talk_in("The immune response has two phases.")
    """
    text = _plain(text)
    for edge in (text[:_EDGE_CHARS], text[_EDGE_CHARS:][-_EDGE_CHARS:]):
        found = _META.search(edge)
        if found is not None:
            return found[0].strip()
    return None


def remark_in(instruction: str) -> str | None:
    """Words with which an instruction comments on itself or its answer, or None.

    Examples:
        >>> remark_in("Name a river. The instruction is clear and specific.")
        'The instruction is'
        >>> remark_in("Name a river. The response should be one word.")
    """
    found = _REMARK.search(instruction)
    return None if found is None else found[0]


def lost_input_of(new: str, *, old: str) -> str | None:
    r"""Words by which a new instruction refers to a text that only the old one held, or None.

    The text is what follows the first line of the old instruction, as in Alpaca's `input`. A new
    instruction that brings a text of its own, after a colon, in quotes or on a line, lost nothing.

    Examples:
        >>> lost_input_of("Summarise the text in a line.", old="Summarise.\nIt rained all of May.")
        'the text'
        >>> lost_input_of("How much does it rain in May?", old="Summarise.\nIt rained all of May.")
    """
    held = _words(old.partition("\n")[2])
    if len(held) < _MIN_INPUT_WORDS or len(held & _words(new)) >= _KEPT_FRACTION * len(held):
        return None
    found = _POINTER.search(new)
    if found is None or _OWN_TEXT.search(new, found.end()) is not None:
        return None
    noun = re.escape(found[0].split()[-1])
    asked_for = re.search(rf"\b(?:an?|some|your)\ (?:[\w-]+\ ){{0,3}}{noun}\b", new, re.IGNORECASE)
    return None if asked_for else found[0]


def is_about_texts(instruction: str) -> bool:
    """Whether an instruction is about a text, so that its answer may talk about one."""
    plain = _plain(instruction)
    return _ABOUT_TEXTS.search(plain) is not None or _META.search(plain) is not None


def is_placeholder(text: str) -> bool:
    """Whether a text consists of a placeholder only.

    Examples:
        >>> is_placeholder("[Your new instruction here]")
        True
        >>> is_placeholder("Answer the door.")
        False
    """
    return _PLACEHOLDER.fullmatch(text.strip()) is not None


def _words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text.casefold()))


def _plain(text: str) -> str:
    return text.replace("\u2019", "'")
