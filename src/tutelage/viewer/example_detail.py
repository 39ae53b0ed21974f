"""Details of one example: versions, scores, decision and differences."""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from tutelage.data.example import OWN_ANSWER, turn_text
from tutelage.errors import DataError
from tutelage.gate import FEATURES
from tutelage.pipeline.gate_results import as_facts, results_of
from tutelage.pipeline.overrides import Override, override_history
from tutelage.reporting.blocks import difference, visible
from tutelage.reporting.number_format import STEP_WORDS, reason_words
from tutelage.viewer.run_store import Shelf

DIFF_CHARACTERS = 12_000
"""Longest text that is compared word by word."""

_MOST_LOST_ROWS = 500

_DETAILS = ("candidate_id", "parent_id", "step", "teacher", "status", "finish_reason", "detail")
_NOT_NUMBERS = frozenset(("candidate_id", "example_id", "student"))


def lineage_of(shelf: Shelf, example_id: str) -> dict[str, Any]:
    """An example, its versions with texts and numbers, and the decision.

    Raises:
        DataError: There is no such example.
    """
    n, er, reason, kept, overruled = _located(shelf, example_id)
    example = shelf.examples.take([er])[0]
    listed = shelf.ask("select k, s, status, chosen from c where n = $n", {"n": n})
    decided = dict(shelf.ask("select k, chosen from ix.c where n = $n", {"n": n}))
    texts = shelf.candidates.take([int(row[0]) for row in listed])
    scores = _scores(shelf, [row[1] for row in listed])
    versions = [
        {
            **_version(candidate, score),
            "status": status,
            "in_force": bool(chosen),
            "by_rule": bool(decided[k]),
        }
        for (k, _, status, chosen), candidate, score in zip(listed, texts, scores, strict=True)
    ]
    judged = results_of(shelf.run, example_id)
    for version in versions:
        version["gate"] = _gate(judged.get(version["candidate_id"]))
    _name_own_answers(versions)
    override = shelf.overrides.get(example_id)
    return {
        "n": n,
        "id": example_id,
        "row": example["row"],
        "source": example["source"],
        "reference": example["reference"],
        "extra": _extra(example["extra"]),
        "tools": example.get("tools"),
        "messages": _turns(example["messages"]),
        "versions": versions,
        "reason": reason,
        "reason_words": None if reason is None else reason_words(reason),
        "kept": kept,
        "overruled": overruled,
        "override": None if override is None else _entry(override),
        "second": _second(shelf, example_id, versions),
        "history": [_entry(e) for e in override_history(shelf.run) if e.example_id == example_id],
    }


def _gate(result: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Result of the quality gate for a version, with the meaning of each number."""
    facts = as_facts(result)
    if facts is None:
        return None
    numbers = [
        {"name": name, "about": FEATURES.get(name) or _DIFFERENCE, **part}
        for name, part in facts["evidence"].items()
    ]
    fault = facts["fault"]
    words = None if fault is None else str(fault).replace("_", " ")
    return {**facts, "fault_words": words, "evidence": numbers}


_DIFFERENCE = "the difference to the row's original"


def _name_own_answers(versions: list[dict[str, Any]]) -> None:
    """Mark samples that the student wrote itself, and rewrites of these."""
    own = {v["candidate_id"] for v in versions if v["detail"] == OWN_ANSWER}
    for version in versions:
        if version["candidate_id"] in own:
            version["step_words"] = "student's own answer"
        elif version["parent_id"] in own:
            version["step_words"] = "rewritten own answer"


def _second(shelf: Shelf, example_id: str, versions: list[dict[str, Any]]) -> dict[str, Any] | None:
    if shelf.second is None:
        return None
    with shelf.cursor() as tables:
        ids = [str(version["candidate_id"]) for version in versions]
        found = shelf.second.about(tables, example_id, ids)
    if shelf.second.run.root == shelf.run.root and shelf.second.student == shelf.meta.student:
        found["numbers"] = {}  # another selection from the same numbers
    return found


def _located(shelf: Shelf, example_id: str) -> tuple[int, int, str | None, bool, bool]:
    found = shelf.ask(
        "select n, er, reason::varchar, kept, overruled from e where example_id = $id",
        {"id": example_id},
    )
    if not found:
        raise DataError(f"there is no example {example_id!r} in this run")
    n, er, reason, kept, overruled = found[0]
    return n, er, reason, kept, overruled


def example_named(shelf: Shelf, name: str) -> str | None:
    """Id of an example named as in `tutelage explain`, or None."""
    if numbered := re.fullmatch(r"row:([0-9]{1,18})", name):  # more digits fit no column
        found = shelf.ask("select example_id from e where row = $row", {"row": int(numbered[1])})
        return str(found[0][0]) if found else None
    query = "select example_id from e where starts_with(example_id, $id) limit 2"
    found = shelf.ask(query, {"id": name}) if name else []
    return str(found[0][0]) if len(found) == 1 else None


def _scores(shelf: Shelf, rows: Iterable[int | None]) -> list[dict[str, Any] | None]:
    wanted = list(rows)
    there = [row for row in wanted if row is not None]
    found = iter(shelf.scores.take(there)) if shelf.scores is not None else iter(())
    return [None if row is None else next(found) for row in wanted]


def _version(candidate: Mapping[str, Any], score: Mapping[str, Any] | None) -> dict[str, Any]:
    messages = candidate["messages"]
    shown: dict[str, Any] = {name: candidate[name] for name in _DETAILS}
    shown["step_words"] = STEP_WORDS.get(candidate["step"], candidate["step"])
    shown["criticism"] = candidate["criticism"]
    if messages:
        shown["instruction"], shown["response"] = _pair(messages)
        shown["earlier"] = _turns(_other_turns(messages))
    if score is not None:
        shown["score_detail"] = score["detail"]
        shown["numbers"] = {
            name: value
            for name, value in score.items()
            if name not in _NOT_NUMBERS and isinstance(value, int | float)
        }
    return shown


def _pair(messages: list[dict[str, Any]]) -> tuple[str, str]:
    users = [m["content"] for m in messages if m["role"] == "user"]
    response = turn_text(messages[-1]) if messages[-1]["role"] == "assistant" else ""
    return (users[-1] if users else ""), response


def _other_turns(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Turns other than the last user turn and the response."""
    last = max((i for i, turn in enumerate(messages) if turn["role"] == "user"), default=-1)
    return [turn for i, turn in enumerate(messages[:-1]) if i != last]


def _turns(messages: Iterable[Mapping[str, Any]] | None) -> list[dict[str, str]]:
    return [{"role": _speaker(m), "content": turn_text(m)} for m in messages or ()]


def _speaker(turn: Mapping[str, Any]) -> str:
    name = turn.get("name")
    return f"{turn['role']} ({name})" if name else str(turn["role"])


def _extra(text: str | None) -> dict[str, Any] | None:
    if not text:
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {"extra": text}
    return value if isinstance(value, dict) else {"extra": value}


def _entry(entry: Override) -> dict[str, Any]:
    return {
        "time": entry.time,
        "candidate_id": entry.candidate_id,
        "note": entry.note,
        "withdrawn": entry.withdrawn,
        "was_candidate_id": entry.was_candidate_id,
        "was_reason": entry.was_reason,
        "was_words": None if entry.was_reason is None else reason_words(entry.was_reason),
    }


def differences_of(
    shelf: Shelf, example_id: str, *, left: str, right: str
) -> dict[str, list[list[list[str]]]]:
    """Word-by-word comparison of two versions: spans of instruction and response.

    Args:
        shelf: The opened run.
        example_id: The example.
        left: Id of one candidate.
        right: Id of the other.

    Raises:
        DataError: There is no such example, or no such version of it with text.
    """
    n, *_ = _located(shelf, example_id)
    pairs = []
    for wanted in (left, right):
        texts = [c["messages"] for _, c in shelf.versions(n) if c["candidate_id"] == wanted]
        if not texts or not texts[0]:
            raise DataError(f"example {example_id} has no version {wanted!r} with text")
        pairs.append(_pair(texts[0]))
    return {
        name: [
            [[span.kind, visible(span.text)] for span in side]
            for side in difference(pairs[0][at], pairs[1][at], characters=DIFF_CHARACTERS)
        ]
        for at, name in enumerate(("instruction", "response"))
    }


def lost_rows(shelf: Shelf) -> list[dict[str, Any]]:
    """First input rows that are not examples, with the reasons, in the order of the input."""
    if not shelf.run.rows.exists():
        return []
    query = (
        'select "row", file, line, example_id, status, detail from read_parquet($path) '
        "where status <> 'ok' order by \"row\" limit $most"
    )
    found = shelf.ask(query, {"path": str(shelf.run.rows), "most": _MOST_LOST_ROWS})
    names = ("row", "file", "line", "example_id", "status", "detail")
    return [dict(zip(names, row, strict=True)) | {"words": reason_words(row[4])} for row in found]
