"""Conversion of messages and candidates to and from table rows."""

from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa

from tutelage.data.example import Candidate, Message
from tutelage.data.schemas.run_tables import CANDIDATES


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
