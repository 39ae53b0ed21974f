"""Planted faults: known faults in the user's own rows, on which detectors are fitted and measured.

Each fault has two doses, fixed before anything was measured:

    fault            mild                                     strong
    mismatch         second half from another answer          another answer of the same length
    scrambled_words  10 % of the words change places          30 %
    wrong_letters    2 % of the letters are wrong             10 %
    truncation       the first 75 % of the words              the first eight words
    introduction     an introduction and the first sentence   an introduction and nothing else
    doubling         the second half comes twice              the whole answer comes twice
    looping          one sentence three times at the end      eight times
    echo             half of the instruction is repeated      all of it, also with no answer
    refusal          half an answer, then a refusal           a refusal and nothing else
    other_language   second half in another language          all of it
    markup_debris    one broken piece of markup               around every sentence
    template_text    a header of a template in front          an unfilled template
    wrong_turn       a played next user turn at the end       a whole next exchange at the end

A plant depends on the seed, the row's id and the other rows as a set, never on their order. Where
a text is too short for a fault, there is no plant and a reason.
"""

import random
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from tutelage.data import content_hash
from tutelage.errors import SettingsError
from tutelage.gate.fault_texts import (
    COMMON_WORDS,
    DEBRIS,
    INTRODUCTIONS,
    LEAD_INS,
    NEXT_TURNS,
    PARTIAL_REFUSALS,
    PASSAGES,
    REFUSALS,
    SCRIPTS,
    TEMPLATE_BODIES,
    TEMPLATE_HEADS,
    TOPIC_REFUSALS,
)

Dose: TypeAlias = Literal["mild", "strong"]
DOSES: tuple[Dose, ...] = ("mild", "strong")
Part: TypeAlias = Literal["fit", "held_out"]

TOO_SHORT = "too_short"
NO_OTHER_ROW = "no_other_row"
NO_INTRODUCTION = "no_introduction"
UNCHANGED = "unchanged"
"""Reasons for which a fault could not be planted."""

FIRST_WORDS = 8
"""Share of a text that a strong truncation keeps."""
_TOPIC_WORDS = 4
"""Most words of a topic: the last ones of the instruction's first line."""
_TOPIC_CHARACTERS = 60
_NEAREST = 8
"""Number of rows nearest in length from which a mismatched answer is drawn."""
_SENTENCE = re.compile(r"\s*\S.*?(?:[.!?]+(?=\s)|[\u3002\uff01\uff1f]+|(?=\n)|$)\s*", re.DOTALL)
_SEPARATORS = ("\n\n", "\n", " ")


@dataclass(frozen=True, slots=True, kw_only=True)
class PlantRow:
    """A row that faults are planted into.

    Attributes:
        row_id: Any id; draws depend on it.
        instruction: The last user turn.
        response: A response that is taken as clean.
    """

    row_id: str
    instruction: str
    response: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Plant:
    """A row with a planted fault, or the reason why it could not be planted.

    Attributes:
        row_id: The row.
        fault: The name of the fault.
        dose: `mild` or `strong`.
        response: The faulty response; None where there is a reason.
        reason: `too_short`, `no_other_row`, `no_introduction` or `unchanged`; None where there
            is a response.
    """

    row_id: str
    fault: str
    dose: Dose
    response: str | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Draw:
    """Random choices of one plant."""

    row: PlantRow
    dose: Dose
    part: Part
    rng: random.Random
    others: Sequence[PlantRow] = field(repr=False)

    @property
    def is_strong(self) -> bool:
        return self.dose == "strong"

    def wording(self, texts: Sequence[str]) -> str:
        """One of the wordings reserved for this part of the rows."""
        return self.rng.choice(texts[0 if self.part == "fit" else 1 :: 2])

    def on_topic(self, texts: Sequence[str]) -> str:
        """One of the wordings, with the words in which the instruction ends as its topic."""
        lines = self.row.instruction.strip().splitlines() or [""]
        words = lines[0].strip(" \t.?!:;,\"'").split()[-_TOPIC_WORDS:]
        topic = " ".join(words)
        if not 0 < len(topic) <= _TOPIC_CHARACTERS:
            topic = "this"
        text = self.wording(texts).replace("{topic}", topic)
        return text[:1].upper() + text[1:]

    def other(self) -> PlantRow | None:
        """Another row with a response of about the same length."""
        mine, own = len(self.row.response), self.row.instruction.strip()
        others = [
            o
            for o in self.others
            if o.row_id != self.row.row_id
            and o.instruction.strip() != own
            and o.response.strip() != self.row.response.strip()
        ]
        others.sort(key=lambda o: (abs(len(o.response) - mine), o.row_id))
        return self.rng.choice(others[:_NEAREST]) if others else None


class _CannotPlantError(Exception):
    """Carries the reason why a fault cannot be planted."""


_Plants: TypeAlias = Callable[[_Draw], str]


def _mismatch(draw: _Draw) -> str:
    other = draw.other()
    if other is None:
        raise _CannotPlantError(NO_OTHER_ROW)
    if draw.is_strong:
        return other.response
    return _half(draw.row.response, first=True) + _half(other.response, first=False)


def _scrambled_words(draw: _Draw) -> str:
    units = split_units(draw.row.response)
    places = [i for i, unit in enumerate(units) if unit.strip()]
    count = round((0.3 if draw.is_strong else 0.1) * len(places))
    if len(places) < 8 or count < 2:  # noqa: PLR2004
        raise _CannotPlantError(TOO_SHORT)
    chosen = draw.rng.sample(places, count)
    words = [units[i] for i in chosen]
    for place, word in zip(chosen, [*words[1:], words[0]], strict=True):
        units[place] = word
    return "".join(units)


def _wrong_letters(draw: _Draw) -> str:
    letters = [i for i, c in enumerate(draw.row.response) if c.isalpha()]
    count = round((0.1 if draw.is_strong else 0.02) * len(letters))
    alphabet = sorted({draw.row.response[i].lower() for i in letters})
    if count < 1 or len(alphabet) < 3:  # noqa: PLR2004
        raise _CannotPlantError(TOO_SHORT)
    characters = list(draw.row.response)
    for place in draw.rng.sample(letters, count):
        kind = draw.rng.choice(("replaced", "replaced", "dropped", "doubled", "exchanged"))
        if kind == "dropped":
            characters[place] = ""
        elif kind == "doubled":
            characters[place] *= 2
        elif kind == "exchanged" and place + 1 < len(characters):
            characters[place : place + 2] = characters[place : place + 2][::-1]
        else:
            others = [c for c in alphabet if c != draw.row.response[place].lower()]
            characters[place] = draw.rng.choice(others)
    return "".join(characters)


def _truncation(draw: _Draw) -> str:
    units = split_units(draw.row.response)
    places = [i for i, unit in enumerate(units) if unit.strip()]
    keep = FIRST_WORDS if draw.is_strong else round(0.75 * len(places))
    if len(places) < FIRST_WORDS + 4 or keep >= len(places):
        raise _CannotPlantError(TOO_SHORT)
    return "".join(units[: places[keep]]).rstrip()


def _introduction(draw: _Draw) -> str:
    """The response's own introduction, or a made one in English."""
    sentences = split_sentences(draw.row.response.strip())
    first = sentences[0].rstrip()
    own = first.endswith(":") and len(first.split()) > 2  # noqa: PLR2004
    if not own:
        if language_of(draw.row.instruction + " " + draw.row.response) not in ("en", None):
            raise _CannotPlantError(NO_INTRODUCTION)
        first = draw.on_topic(INTRODUCTIONS)
    if draw.is_strong:
        return first
    rest = "".join(sentences[own:]).strip()
    parts = rest.splitlines() if "\n" in rest else split_sentences(rest)
    if len(parts) < 2:  # noqa: PLR2004
        raise _CannotPlantError(TOO_SHORT)
    return f"{first}\n{parts[0].strip()}"


def _doubling(draw: _Draw) -> str:
    response = draw.row.response.rstrip()
    again = response if draw.is_strong else _half(response, first=False).lstrip()
    return response + draw.rng.choice(_SEPARATORS) + again


def _looping(draw: _Draw) -> str:
    response = draw.row.response.rstrip()
    sentence = draw.rng.choice([s for s in split_sentences(response) if s.strip()]).strip()
    units = split_units(sentence)
    if len(units) > 40:  # noqa: PLR2004  (a loop repeats a phrase, not a page)
        sentence = "".join(units[:40]).strip()
    joint = draw.rng.choice((" ", "\n"))
    return joint.join([response, *[sentence] * (8 if draw.is_strong else 3)])


def _echo(draw: _Draw) -> str:
    instruction, response = draw.row.instruction.strip(), draw.row.response.strip()
    if not draw.is_strong:
        instruction = _half(instruction, first=True).strip()
    if not instruction:
        raise _CannotPlantError(TOO_SHORT)
    separator = draw.rng.choice(_SEPARATORS)
    how = draw.rng.random()
    if how < 0.2:  # noqa: PLR2004  (some models repeat it at the end)
        return response + separator + instruction
    if draw.is_strong and how > 0.85:  # noqa: PLR2004  (and some give nothing else)
        return draw.wording(LEAD_INS) + instruction
    return draw.wording(LEAD_INS) + instruction + separator + response


def _refusal(draw: _Draw) -> str:
    if draw.is_strong and draw.rng.random() < 0.5:  # noqa: PLR2004
        return draw.on_topic(TOPIC_REFUSALS)
    if draw.is_strong:
        text = draw.wording(REFUSALS)
        more = draw.wording(REFUSALS)
        return f"{text} {more}" if more != text and draw.rng.random() < 0.4 else text  # noqa: PLR2004
    return _half(draw.row.response, first=True).rstrip() + " " + draw.wording(PARTIAL_REFUSALS)


def _other_language(draw: _Draw) -> str:
    own = language_of(draw.row.instruction + " " + draw.row.response)
    code = draw.rng.choice(sorted(code for code in PASSAGES if code != own))
    wanted = len(draw.row.response) // (1 if draw.is_strong else 2)
    if code in ("zh", "ja") and own not in ("zh", "ja"):
        wanted //= 3  # these scripts say as much in a third of the characters
    text = _of_length(draw.wording(PASSAGES[code]), wanted)
    if draw.is_strong:
        return text
    return _half(draw.row.response, first=True).rstrip() + " " + text


def _markup_debris(draw: _Draw) -> str:
    pairs = DEBRIS[0 if draw.part == "fit" else 1 :: 2]
    sentences = split_sentences(draw.row.response)
    if draw.is_strong:
        marked = [(*draw.rng.choice(pairs), s) for s in sentences]
        return "".join(before + s.strip() + behind for before, behind, s in marked)
    before, behind = draw.rng.choice(pairs)
    place = draw.rng.randrange(len(sentences))
    if draw.rng.random() < 0.5:  # noqa: PLR2004
        sentences[place] = before + sentences[place]
    else:
        sentences[place] = sentences[place].rstrip() + behind + " "
    return "".join(sentences).rstrip()


def _template_text(draw: _Draw) -> str:
    if draw.is_strong:
        return draw.wording(TEMPLATE_BODIES)
    return draw.wording(TEMPLATE_HEADS) + draw.row.response


def _wrong_turn(draw: _Draw) -> str:
    other = draw.other()
    if other is None:
        raise _CannotPlantError(NO_OTHER_ROW)
    user, assistant = draw.rng.choice(NEXT_TURNS[0 if draw.part == "fit" else 1 :: 2])
    response = draw.row.response.rstrip()
    played = f"{response}\n\n{user}{other.instruction.strip()}"
    return f"{played}\n\n{assistant}{other.response.strip()}" if draw.is_strong else played


_FAULTS: Mapping[str, _Plants] = {
    "mismatch": _mismatch,
    "scrambled_words": _scrambled_words,
    "wrong_letters": _wrong_letters,
    "truncation": _truncation,
    "introduction": _introduction,
    "doubling": _doubling,
    "looping": _looping,
    "echo": _echo,
    "refusal": _refusal,
    "other_language": _other_language,
    "markup_debris": _markup_debris,
    "template_text": _template_text,
    "wrong_turn": _wrong_turn,
}
FAULTS: tuple[str, ...] = tuple(_FAULTS)
"""Names of the faults that are planted."""
CORRUPTIONS = ("scrambled_words", "wrong_letters", "markup_debris")
"""Faults that damage a text but keep its meaning."""


def plant(
    row: PlantRow,
    *,
    fault: str,
    dose: Dose,
    others: Iterable[PlantRow],
    seed: int,
    part: Part = "fit",
) -> Plant:
    """Plant one fault into one row.

    Args:
        row: The row.
        fault: One of `FAULTS`.
        dose: `mild` or `strong`.
        others: The rows from which another answer or another turn is taken.
        seed: Another seed makes other draws.
        part: Fit rows and held-out rows are given different wordings.

    Returns:
        The faulty response, or why there is none. It never equals the row's own response.

    Raises:
        SettingsError: There is no such fault.
    """
    if fault not in _FAULTS:
        raise SettingsError(f"unknown fault {fault!r}", hint=f"faults are {', '.join(FAULTS)}")
    rng = random.Random(content_hash("plant", seed, row.row_id, fault, dose))
    draw = _Draw(row=row, dose=dose, part=part, rng=rng, others=tuple(others))
    try:
        if not row.response.strip():
            raise _CannotPlantError(TOO_SHORT)  # noqa: TRY301
        text = _FAULTS[fault](draw)
    except _CannotPlantError as reason:
        return Plant(row_id=row.row_id, fault=fault, dose=dose, reason=str(reason))
    if text.strip() == row.response.strip() or not text.strip():
        return Plant(row_id=row.row_id, fault=fault, dose=dose, reason=UNCHANGED)
    return Plant(row_id=row.row_id, fault=fault, dose=dose, response=text)


def split_units(text: str) -> list[str]:
    """Words and the white space between them; characters in scripts without spaces.

    Joined, they give the text again.

    Examples:
        >>> split_units("a bc d")
        ['a', ' ', 'bc', ' ', 'd']
    """
    units = [u for u in re.split(r"(\s+)", text) if u]
    words = [u for u in units if not u.isspace()]
    if words and sum(map(len, words)) / len(words) > 25:  # noqa: PLR2004
        return list(text)
    return units


def split_sentences(text: str) -> list[str]:
    r"""Sentences and lines with the white space behind them; joined, they give the text back.

    Examples:
        >>> split_sentences("One. It costs 2.50 today!\n- Three")
        ['One. ', 'It costs 2.50 today!\n', '- Three']
    """
    return _SENTENCE.findall(text) or [text]


def language_of(text: str) -> str | None:
    """Likely language of a text among those of `PASSAGES`; None without evidence."""
    for code, ranges in SCRIPTS.items():
        if sum(any(low <= c <= high for low, high in ranges) for c in text) * 5 > len(text):
            return code
    words = re.findall(r"\w+", text.lower())
    hits = {code: sum(w in common for w in words) for code, common in COMMON_WORDS.items()}
    best = max(sorted(hits), key=lambda code: hits[code])
    return best if hits[best] else None


def _half(text: str, *, first: bool) -> str:
    units = split_units(text)
    if len(units) < 4:  # noqa: PLR2004
        raise _CannotPlantError(TOO_SHORT)
    middle = len(units) // 2
    return "".join(units[:middle] if first else units[middle:])


def _of_length(text: str, characters: int) -> str:
    """Whole sentences whose total is nearest to a length; at least one."""
    kept = ""
    for sentence in split_sentences(text):
        if kept and len(kept) + len(sentence) / 2 > characters:
            break
        kept += sentence
    return kept.strip()
