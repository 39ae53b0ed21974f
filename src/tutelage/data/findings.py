"""Findings about a whole source: hints about columns, missing responses and unreadable rows."""

import difflib
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tutelage.data.chat_messages import ROLE_OF
from tutelage.data.example import ORIGINAL, Candidate, Message
from tutelage.data.field_aliases import (
    ALIASES,
    ASKING,
    OF_THE_PROMPT,
    OF_TOOLS,
    THINKING,
    FieldMap,
)
from tutelage.data.field_values import clean_text
from tutelage.errors import DataError

_FIELDS_SHOWN = 20
_ROWS_LOOKED_AT = 200
_LONG_TEXT = 40
_LIKE_A_RESPONSE = re.compile(
    r"respon|answer|output|complet|solution|reply|generat|assistant|target|chosen|reason|"
    r"attempt|rationale|explanation|summary|translation",
    re.IGNORECASE,
)
_NO_GUESS = re.compile(
    r"(^|[._])(id|uuid|url|hash|split|index|style|type|source)s?$", re.IGNORECASE
)
_KNOWN = frozenset(alias for aliases in ALIASES.values() for alias in aliases)

_HINTS: Mapping[str, str] = {
    "unsupported_content": "only text can be read: leave out rows with images, sound or video, or "
    "name a field that holds text: --map instruction=FIELD",
    "unsupported_role": f"the known roles are {', '.join(ROLE_OF)}",
    "no_user_turn": "a conversation needs a turn of the user in front of the answer",
    "unexpected_turns": "a conversation ends with one assistant turn, behind the last user turn "
    "and what tools returned",
    "bad_type": "the field has another kind of value than its name suggests; name the right one: "
    "--map instruction=FIELD --map response=FIELD",
    "bad_candidates": "compare the row with what `tutelage export` writes",
    "partly_trained": "leave the spans out to train on whole turns; a turn without any of its "
    "text in a span is context",
    "malformed_json": "a JSONL file has one JSON object on each line, a JSON file a list of them",
    "malformed_csv": "every record needs as many fields as the header",
    "bad_encoding": "convert it to UTF-8, such as: iconv -f LATIN1 -t UTF-8 OLD > NEW",
    "not_an_object": "rows are JSON objects, or records under a header",
    "nested_too_deeply": "rows are plain objects: is it the right file?",
    "row_too_large": "is it the right file? A row is one example",
    "broken_file": "is the file complete?",
}
"""Hint for each reason for which no row of a source could be read."""


@dataclass(slots=True)
class _File:
    examples: int = 0
    answered: int = 0


@dataclass(slots=True)
class Findings:
    """Findings collected while rows are read.

    Attributes:
        fields: Names of the fields of the rows.
        one_response_each: Whether rows of one instruction may be responses to choose from, which
            the user has not said.
    """

    fields: FieldMap
    one_response_each: bool = True
    _files: dict[str, _File] = field(default_factory=dict)
    _texts: dict[str, list[int]] = field(default_factory=dict)
    _looked_at: int = 0
    _instructions: set[int] = field(default_factory=set)
    _sharing: int = 0
    _unasked: dict[str, None] = field(default_factory=dict)
    _unread: Counter[str] = field(default_factory=Counter)

    def add(self, file: str, row: object, found: tuple[Candidate, ...]) -> None:
        """Record a row that became an example.

        Args:
            file: Name of its file.
            row: The row as it was read.
            found: Its versions.
        """
        told = self._files.get(file)
        if told is None:
            told = self._files[file] = _File()
        told.examples += 1
        if found:
            told.answered += 1
            if isinstance(row, Mapping):
                self._count_unread(row, found[0])
            if self.one_response_each and len(found) == 1 and found[0].step == ORIGINAL:
                self._share(found[0].messages)
        elif self._looked_at < _ROWS_LOOKED_AT and isinstance(row, Mapping):
            self._looked_at += 1
            self._look_at(row, inside="")

    def add_plain(
        self, file: str, possible_texts: Mapping[str, object] | None, version: Candidate
    ) -> None:
        """Record a plain row: what `add` does for it, in half the time.

        Args:
            file: Name of its file.
            possible_texts: Its columns that may belong to the prompt or the response.
            version: Its only version.
        """
        told = self._files.get(file)
        if told is None:
            told = self._files[file] = _File()
        told.examples += 1
        told.answered += 1
        if possible_texts is not None:
            self._count_unread(possible_texts, version)
        if self.one_response_each:
            self._share(version.messages)

    def _count_unread(self, row: Mapping[Any, object], version: Candidate) -> None:
        """Note columns that may belong to the prompt or to the response and were not read."""
        if not version.messages:
            return
        *asked, said = version.messages
        for name in THINKING.intersection(row):
            value = row[name]
            if isinstance(value, str) and len(value) >= _LONG_TEXT and not said.reasoning:
                self._unread[str(name)] += value.strip() not in said.content
        for name in OF_THE_PROMPT.intersection(row):
            text = _first_text(row[name])
            if text is not None and not any(text in turn.content for turn in asked):
                self._unread[str(name)] += 1
        for name in ASKING.intersection(row):
            text = _first_text(row[name])
            if text is not None and not _is_told(text, version.messages):
                self._unread[str(name)] += 1
        if version.tools is None:
            for name in OF_TOOLS.intersection(row):
                self._unread[str(name)] += bool(row[name])

    def _share(self, messages: tuple[Message, ...]) -> None:
        if not messages:
            return
        is_pair = len(messages) == 2  # noqa: PLR2004  (most are)
        turns = messages[0].content if is_pair else tuple([m.content for m in messages[:-1]])
        asked = hash(turns)
        if asked in self._instructions:
            # A repeated row has the same response and is counted as a duplicate, not here.
            self._sharing += 1
        else:
            self._instructions.add(asked)

    def _look_at(self, row: Mapping[object, object], *, inside: str) -> None:
        for key, value in row.items():
            name = clean_text(f"{inside}{key}")
            if isinstance(value, Mapping) and not inside:
                self._look_at(value, inside=f"{name}.")
            elif name.lower() in _KNOWN or _NO_GUESS.search(name):
                continue
            elif isinstance(value, str) and value.strip():
                self._texts.setdefault(name, []).append(len(value))
                if " " in value.strip():
                    self._unasked[name] = None
            elif isinstance(value, list) and value and not inside:
                self._unasked[name] = None

    def likely_response(self) -> str | None:
        """Unused column that looks like responses, or None."""
        means = {name: sum(lengths) / len(lengths) for name, lengths in self._texts.items()}
        named = [name for name in means if _LIKE_A_RESPONSE.search(name)]
        long = [name for name, mean in means.items() if mean >= _LONG_TEXT]
        return max(named or long, key=lambda name: means[name], default=None)

    @property
    def unanswered(self) -> tuple[str, ...]:
        """Files with examples but without a single response."""
        return tuple(n for n, file in self._files.items() if file.examples and not file.answered)

    def notes(self) -> list[str]:
        """Warnings about the data, in sentences."""
        found = []
        for name in self.unanswered:
            guess = self.likely_response()
            looks = f" ({guess} looks like one)" if guess else ""
            if not guess and self._unasked:
                looks = f" (not read: {', '.join(list(self._unasked)[:_FIELDS_SHOWN])})"
            found.append(
                f"{name}: no row has a response, only an instruction; if a column holds the "
                f"responses{looks}: --map response={guess or 'NAME'}"
            )
        for name, count in sorted((+self._unread).items()):
            if name in OF_THE_PROMPT or name in ASKING:
                meant = "it is not part of the instruction that is read; join the two first"
            elif name in OF_TOOLS:
                meant = f"kept in `extra`; if it holds the tools of the prompt: --map tools={name}"
            else:
                meant = f"kept in `extra`; if it is the response's thinking: --map reasoning={name}"
            found.append(f"{_rows(count)} with a column {name}: {meant}")
        if self._sharing:
            found.append(
                f"{_rows(self._sharing)} with the instruction of an earlier row but another "
                "response, and no column names a model. If these are several responses to choose "
                "from, read them with --as samples"
            )
        return found


def _is_told(text: str, messages: Sequence[Message]) -> bool:
    """Whether a text is part of a turn, or is a turn with something around it."""
    contents = [turn.content.strip() for turn in messages]
    return any(text in content or (content and content in text) for content in contents)


def _first_text(value: object) -> str | None:
    """The text of a value, or the first text of a list or of an object of lists."""
    for inner in (value, value.get("text") if isinstance(value, Mapping) else None):
        if isinstance(inner, str) and inner.strip():
            return inner.strip()
        if isinstance(inner, list) and inner and isinstance(inner[0], str):
            return inner[0].strip() or None
    return None


def refuse_unfound(fields: FieldMap, *, place: str, rows: str) -> None:
    """Raise an error for a mapping to a name that no row has.

    Args:
        fields: Names of the fields of the rows.
        place: Where the rows are, for the message.
        rows: Which rows were looked at, for the message.

    Raises:
        DataError: There is such a name; the hint says the nearest one there is.
    """
    unfound = fields.unfound
    if not unfound or not fields.names:
        return
    ours, name = next(iter(unfound.items()))
    names = list(fields.names)
    folded = {known.lower(): known for known in reversed(names)}
    near = difflib.get_close_matches(name.lower(), folded, n=1)
    if not near:
        last = {known.rpartition(".")[2].lower(): known for known in reversed(names)}
        near = difflib.get_close_matches(name.rpartition(".")[2].lower(), last, n=1)
        folded = last
    listed = ", ".join(names[:_FIELDS_SHOWN]) + (", ..." if len(names) > _FIELDS_SHOWN else "")
    meant = f"did you mean --map {ours}={folded[near[0]]}? " if near else ""
    raise DataError(
        f"{place}: --map {ours}={name}: {rows} has a field {name!r}",
        hint=f"{meant}the fields are {listed}",
    )


def hint_for(statuses: Counter[str], names: Iterable[str], guess: str | None) -> str:
    """Hint for a source of which no row could be read.

    Args:
        statuses: How many rows have which reason.
        names: The fields found.
        guess: A column that looks like responses, or None.
    """
    most = statuses.most_common(1)[0][0]
    if most in _HINTS:
        return _HINTS[most]
    found = list(names)
    if len(found) == 1:
        return (
            f"the only field is {found[0]}: where it holds a whole conversation as one text, split "
            "it into columns of instruction and response, or into a list of messages, first"
        )
    listed = ", ".join(found[:_FIELDS_SHOWN])
    return (
        f"the fields found are {listed or 'none'}; say what they "
        f"are: --map instruction=FIELD --map response={guess or 'FIELD'}"
    )


def _rows(count: int) -> str:
    return f"{count:,} row{'' if count == 1 else 's'}"
