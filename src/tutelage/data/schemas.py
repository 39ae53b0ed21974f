"""The tables of a run folder. They are joined by id, never by position."""

from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa

from tutelage.data.candidate import Candidate
from tutelage.data.example import Message

SCHEMA_VERSION = 1


def _schema(*fields: tuple[str, pa.DataType]) -> pa.Schema:
    return pa.schema([pa.field(name, kind) for name, kind in fields])


MESSAGE_FIELDS: tuple[tuple[str, pa.DataType], ...] = (
    ("role", pa.string()),
    ("content", pa.string()),
    # null where the turn has none; see `tutelage.data.Message`
    ("reasoning", pa.string()),
    ("tool_calls", pa.string()),  # JSON list
    ("tool_call_id", pa.string()),
    ("name", pa.string()),
    ("trained", pa.bool_()),  # false: never a training target; null means true
)
MESSAGES: pa.DataType = pa.list_(pa.struct(MESSAGE_FIELDS))

ROWS = _schema(
    ("row", pa.int64()),  # 0-based row of the input, counted over all input files in order
    ("file", pa.string()),
    ("line", pa.int64()),  # 1-based line or record within that file
    ("example_id", pa.string()),  # null where the row could not be read
    ("status", pa.string()),  # ok, duplicate, or why the row could not be read
    ("detail", pa.string()),
)

EXAMPLES = _schema(
    ("example_id", pa.string()),
    ("row", pa.int64()),  # the first input row with this content
    ("messages", MESSAGES),
    ("reference", pa.string()),
    ("source", pa.string()),
    ("extra", pa.string()),  # the other fields of the row, as JSON
    ("tools", pa.string()),  # the tools the assistant may call, as JSON
)

CANDIDATES = _schema(
    ("candidate_id", pa.string()),
    ("example_id", pa.string()),
    ("parent_id", pa.string()),
    ("step", pa.string()),
    ("teacher", pa.string()),
    ("messages", MESSAGES),  # null unless status is ok
    ("status", pa.string()),
    ("finish_reason", pa.string()),
    ("detail", pa.string()),
    ("criticism", pa.string()),
    ("request_key", pa.string()),
    ("tools", pa.string()),  # the tools the assistant may call, as JSON
)

SCORES = _schema(
    ("candidate_id", pa.string()),
    ("example_id", pa.string()),
    ("student", pa.string()),  # the student's fingerprint: weights, tokenizer, template, dtype
    ("status", pa.string()),
    ("detail", pa.string()),
    ("straddles", pa.bool_()),
    ("truncated", pa.bool_()),
    ("stripped", pa.bool_()),  # the template changed white space of the text
    ("control_tokens_in_data", pa.bool_()),  # a turn contains the text of a special token
    ("contract", pa.int32()),  # version of what is scored; null: 1
    ("response_tokens", pa.int32()),
    ("instruction_tokens", pa.int32()),
    ("nll_response_given_instruction", pa.float64()),
    ("nll_response", pa.float64()),
    ("nll_instruction_given_response", pa.float64()),
    ("nll_instruction", pa.float64()),
    # then one float64 column a metric
)

DECISIONS = _schema(
    ("example_id", pa.string()),
    ("candidate_id", pa.string()),  # null where nothing was chosen
    ("step", pa.string()),  # of the chosen candidate
    ("kept", pa.bool_()),
    ("reason", pa.string()),
    ("rule", pa.string()),
    # then the float64 columns the decision rested on, which depend on the rule
)

CHOSEN = _schema(  # one row a chosen candidate; decisions name only the first of an example
    ("example_id", pa.string()),
    ("candidate_id", pa.string()),
    ("rank", pa.int32()),  # 0-based place among those chosen of the example
    ("weight", pa.float64()),  # in training, where the rule gives one; else null
)

NULLS = _schema(
    ("null", pa.string()),  # random, random_version, longest, all_refined, all_original
    ("seed", pa.int64()),
    ("example_id", pa.string()),
    ("candidate_id", pa.string()),
)


def messages_to_arrow(messages: Iterable[Message]) -> list[dict[str, object]]:
    """Messages as rows of the `MESSAGES` type."""
    return [
        {
            "role": m.role,
            "content": m.content,
            "reasoning": m.reasoning,
            "tool_calls": m.tool_calls,
            "tool_call_id": m.tool_call_id,
            "name": m.name,
            "trained": None if m.trained else False,
        }
        for m in messages
    ]


def messages_from_arrow(value: Iterable[Mapping[str, Any]] | None) -> tuple[Message, ...]:
    """The inverse of `messages_to_arrow`; null gives no messages.

    Tables of an older version lack some fields; those turns have none of them.
    """
    return tuple(
        Message(
            role=m["role"],
            content=m["content"],
            reasoning=m.get("reasoning"),
            tool_calls=m.get("tool_calls"),
            tool_call_id=m.get("tool_call_id"),
            name=m.get("name"),
            trained=m.get("trained") is not False,
        )
        for m in value or ()
    )


def plain_turns(messages: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Turns of the `MESSAGES` type without the fields they do not have, for JSON files.

    Examples:
        >>> plain_turns([{"role": "user", "content": "Hi", "name": None}])
        [{'role': 'user', 'content': 'Hi'}]
    """
    return [{k: v for k, v in turn.items() if v is not None} for turn in messages]


def candidates_to_table(candidates: Iterable[Candidate]) -> pa.Table:
    """Candidates as a table of the `CANDIDATES` schema, in the order given."""
    return pa.Table.from_pylist([candidate_to_row(c) for c in candidates], schema=CANDIDATES)


def candidate_to_row(candidate: Candidate) -> dict[str, object]:
    """One candidate as a row of the `CANDIDATES` schema."""
    row: dict[str, object] = {
        name: getattr(candidate, name) for name in CANDIDATES.names if name != "messages"
    }
    row["messages"] = messages_to_arrow(candidate.messages) if candidate.messages else None
    return row


def candidates_from_table(table: pa.Table) -> list[Candidate]:
    """The inverse of `candidates_to_table`."""
    there = [name for name in CANDIDATES.names if name in table.column_names]
    return [
        Candidate(**{**row, "messages": messages_from_arrow(row["messages"])})
        for row in table.select(there).to_pylist()
    ]
