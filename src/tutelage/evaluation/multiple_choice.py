"""Multiple choice as files hold it: what can be chosen, and which of it is right.

choices: [red, blue]                             answer_index: 1, "1" or B
choices: {text: [red, blue], label: [A, B]}      answerKey: B         as ARC has it on the hub
"""

from collections.abc import Mapping
from dataclasses import dataclass

from tutelage.errors import DataError

_LEAST_CHOICES = 2
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """What can be chosen.

    Attributes:
        texts: At least two.
        labels: What the file calls each of them, or nothing.
    """

    texts: tuple[str, ...]
    labels: tuple[str, ...] = ()


def choices_of(value: object, *, place: str) -> Choices:
    """The choices of a row.

    Args:
        value: A list of texts, or a mapping with the lists `text` and `label`.
        place: File and row, for messages.

    Raises:
        DataError: It is neither, or there are fewer than two.
    """
    if isinstance(value, Mapping):
        texts = _texts(value.get("text"), what="choices.text", place=place)
        labels = _texts(value.get("label"), what="choices.label", place=place)
        if len(labels) != len(texts) or len(set(labels)) != len(labels):
            raise DataError(
                f"{place}: the labels {list(labels)} do not tell {len(texts)} choices apart",
                hint="give each choice a label of its own",
            )
    else:
        texts, labels = _texts(value, what="choices", place=place), ()
    if len(texts) < _LEAST_CHOICES:
        raise DataError(
            f"{place}: {len(texts)} choices, expected two or more", hint="mend or remove the row"
        )
    return Choices(texts=texts, labels=labels)


def right_index(answer: object, choices: Choices, *, place: str) -> int:
    """Which choice is right, 0-based.

    A text is a label where the choices have labels; where they have none it is an index or a
    letter, A for the first. A number is an index; where it is also the label of another choice
    the row is refused.

    Args:
        answer: As the row has it.
        choices: Of the same row.
        place: File and row, for messages.

    Raises:
        DataError: It names no choice.

    Examples:
        >>> colours = Choices(texts=("red", "blue"))
        >>> [right_index(a, colours, place="row 0") for a in (1, "1", "B")]
        [1, 1, 1]
        >>> right_index("2", Choices(texts=("red", "blue"), labels=("1", "2")), place="row 0")
        1
    """
    index = _index_of(answer, choices)
    if index is None or not 0 <= index < len(choices.texts):
        known = f"labelled {list(choices.labels)}" if choices.labels else "without labels"
        raise DataError(
            f"{place}: answer_index {answer!r} names none of {len(choices.texts)} choices {known}",
            hint="a label, a letter, or an index that counts from 0",
        )
    if not isinstance(answer, str) and str(index) in choices.labels:
        labelled = choices.labels.index(str(index))
        if labelled != index:
            raise DataError(
                f"{place}: answer_index {answer!r} is the index of one choice and the label "
                "of another",
                hint=f'a label is a text: "{index}"',
            )
    return index


def _index_of(answer: object, choices: Choices) -> int | None:
    if isinstance(answer, str):
        given = answer.strip()
        if choices.labels:
            return choices.labels.index(given) if given in choices.labels else None
        if given.isascii() and given.isdigit():
            return int(given)
        letter = given.upper()
        return _LETTERS.index(letter) if len(letter) == 1 and letter in _LETTERS else None
    if isinstance(answer, bool):
        return None
    if isinstance(answer, float) and answer.is_integer():
        return int(answer)  # columns that lack some values hold whole numbers as 1.0
    return answer if isinstance(answer, int) else None


def _texts(value: object, *, what: str, place: str) -> tuple[str, ...]:
    """The texts of a list.

    Raises:
        DataError: It is no list, or holds something else.
    """
    if not isinstance(value, list | tuple):
        raise DataError(
            f"{place}: {what} is {value!r}, expected a list of texts",
            hint="`fields: {choices: FIELD}` says which field it is",
        )
    wrong = [v for v in value if not isinstance(v, str)]
    if wrong:
        raise DataError(
            f"{place}: {what} holds {wrong[0]!r}, expected texts",
            hint="write each choice as a text",
        )
    return tuple(value)
