"""Signs of faults in the text alone, without a student.

Two uses: as features among the others, and to set rows aside before a gate is fitted. A sign is
strict: a text has it only where a reader would hardly doubt. It is not a verdict. Whether a
version is refused, detectors decide that were fitted and measured on the user's own rows.
"""

import re
from collections.abc import Mapping

from tutelage.gate.fault_texts import COMMON_WORDS

_CANNOT = (
    r"(?:can(?: ?not|'t)|could ?n[o']t|won't|would not|unable|not (?:able|allowed|permitted|going)|"
    r"(?:do not|don't) have|must (?:decline|stop)|decline|rather not|no answer|outside|beyond)"
)
_REGRET = r"(?:sorry|apologi[sz]e|apolog(?:y|ies)|unfortunately|regret(?:tably)?|afraid)"
_OF_HELP = (
    r"(?:help|assist|answer|respond|comply|fulfil|provide|complete|continue|request|question|"
    r"respond|do (?:this|that|for you)|give you|say anything)"
)
_FIND = (
    r"(?:find|access|look|see|view|open|browse|retrieve|determine|verify|predict|know|generate|"
    r"create|produce|draw|tell|say|give|provide|answer|endorse|express|understand|do)"
)
_REFUSAL = re.compile(
    rf"\b{_REGRET}\b.{{0,60}}{_CANNOT}"
    rf"|\bI(?:'d|'m| am| would| must| have to)?\b.{{0,12}}{_CANNOT}\b.{{0,60}}\b{_OF_HELP}"
    rf"|\bas an? (?:\w+ )?(?:AI|artificial|virtual|language|digital|automated)\b"
    rf"|\bI(?:'m| am| was)? (?:currently )?(?:unable|not able) to {_FIND}\b"
    rf"|\b(?:the|this) (?:model|assistant|system|AI) (?:cannot|can't|is (?:unable|not able))\b"
    rf"|\bI (?:do not|don't|cannot|can't) understand (?:the|this|your|what)\b"
    rf"|\bI(?:'d| would)? need (?:more|to (?:see|know))\b.{{0,60}}\b(?:before|in order|to answer)\b"
    rf"|\bI (?:do not|don't) have (?:any |enough |current |the )?"
    rf"(?:access|data|information|details|ability|context)\b"
    rf"|\bI have no (?:access|information|data|knowledge|opinion)\b"
    rf"|\b(?:question|request) (?:cannot|can't|could not) be answered\b"
    rf"|\bagainst (?:my|our|the) (?:guidelines|polic|rules|programming)"
    rf"|\b(?:not|n't) (?:be )?(?:appropriate|available|possible) "
    rf"(?:for me|for this|to (?:answer|help))"
    rf"|\bI (?:must |have to )?(?:decline|refuse)\b|\bno answer (?:is|was) (?:available|possible)",
    re.IGNORECASE,
)
_SENTENCES = re.compile(r"[^.!?\n]*[^.!?\s][^.!?\n]*(?:[.!?]+|$)")
_TURNS = re.compile(
    r"^[ \t]*(?:(?:User|Human|Q|Question)[ \t]?:|#{2,} ?(?:Instruction|Human|User|Input)\b"
    r"|<\|(?:im_start\|>user|user\|>|start_header_id)|<start_of_turn>user|\[INST\])",
    re.MULTILINE | re.IGNORECASE,
)
_TEMPLATE = re.compile(
    r"<\|im_(?:start|end)\|>|<\|(?:assistant|user|system|end)\|>|<(?:start|end)_of_turn>|\[/?INST\]"
    r"|<</?SYS>>|#{2,} ?(?:Response|Instruction|Input|Output|Assistant)\b|\{\{?\s?\w+\s?\}?\}"
    r"|^\s*(?:Assistant|Instruction|Output|Response)[ \t]?:",
    re.IGNORECASE | re.MULTILINE,
)
_SMALL_WORDS = frozenset(
    re.findall(
        r"\w+",
        "a an the of to in on at by for from with and or but as is are was were be been has have "
        "had that which who this these those their its his her your our my it they we you i if "
        "when while because not very more most can could should would will may might into than "
        "then so such",
    )
)
_LIST_LINE = re.compile(r"\s*(?:[-*\u2022]|\d+[.)])\s|.*[|`]")
_UNFINISHED_WORDS = 4


def refusal_share(text: str) -> float:
    """Share of the sentences that refuse, in [0, 1].

    Examples:
        >>> refusal_share("I'm sorry, but I can't help with that.")
        1.0
        >>> refusal_share("Oil and water cannot mix.")
        0.0
    """
    sentences = [m.group() for m in _SENTENCES.finditer(text.replace("\u2019", "'"))]
    return sum(bool(_REFUSAL.search(s)) for s in sentences) / len(sentences) if sentences else 0.0


def foreign_words(text: str, *, asked: str) -> float:
    """Excess frequency of another language's common words over those of the text's own.

    Args:
        text: The response.
        asked: The instruction; its language counts as the own one, English where it shows none.

    Returns:
        A difference of shares in [-1, 1].
    """
    own = _language(asked) or "en"
    words = re.findall(r"\w+", text.lower())
    if not words:
        return 0.0
    shares = {code: sum(w in few for w in words) / len(words) for code, few in COMMON_WORDS.items()}
    return max(s for code, s in shares.items() if code != own) - shares.get(own, 0.0)


def _language(text: str) -> str | None:
    words = re.findall(r"\w+", text.lower())
    hits = {code: sum(w in few for w in words) for code, few in COMMON_WORDS.items()}
    best = max(sorted(hits), key=lambda code: hits[code])
    return best if hits[best] >= 2 else None  # noqa: PLR2004  (one word may be a name)


def unfinished(text: str) -> float:
    """Degree of being cut off: 0; 1 without an ending; 2 and 3 end with a function word, a colon.

    A line of a list, a table or code may end without a mark, and so may a few words.

    Examples:
        >>> [unfinished(t) for t in ("It works well.", "It works very well today", "This is the")]
        [0.0, 1.0, 2.0]
        >>> unfinished("Here are some tips to get started:")
        3.0
    """
    last = text.rstrip().rsplit("\n", 1)[-1]
    words = last.split()
    if last.endswith(":") and len(text.split()) >= _UNFINISHED_WORDS:
        return 3.0
    if not words or not (last[-1].isalnum() or last[-1] in ",;-"):
        return 0.0
    if words[-1].lower().strip(",;-") in _SMALL_WORDS:
        return 2.0
    if len(text.split()) < _UNFINISHED_WORDS or _LIST_LINE.match(last):
        return 0.0
    return 1.0


def played_turns(text: str) -> float:
    """Number of lines that begin a user turn."""
    return float(len(_TURNS.findall(text)))


def template_pieces(text: str) -> float:
    """Number of pieces of a chat or prompt template in the text."""
    return float(len(_TEMPLATE.findall(text)))


def sign_of(features: Mapping[str, float]) -> str | None:
    """Fault that a text has a sign of, or None.

    Args:
        features: Its features by name.
    """
    return next(
        (
            fault
            for fault, least in _SIGNS
            if all(features[name] >= number for name, number in least.items())
        ),
        None,
    )


_SIGNS: tuple[tuple[str, Mapping[str, float]], ...] = (
    ("refusal", {"refusal_share": 0.5}),
    ("other_language", {"foreign_letters": 0.5}),
    ("other_language", {"foreign_words": 0.1}),
    ("echo", {"longest_copy": 0.9, "starts_with_copy": 6}),
    ("echo", {"longest_copy": 1.0, "response_copied": 0.1}),  # at the end, too
    ("looping", {"repeated_long": 0.5}),  # what comes twice has less than half
    ("doubling", {"repeated_run": 0.35}),
    ("wrong_turn", {"played_turns": 1}),
    ("template_text", {"template_pieces": 1}),
    ("template_text", {"blanks": 4}),
    ("markup_debris", {"marks": 8}),
    ("introduction", {"unfinished": 3}),
    ("truncation", {"unfinished": 2}),
)
"""Faults with the features that must all reach a minimum, in order of priority."""
