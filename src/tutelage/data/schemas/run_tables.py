"""Schemas of the tables of a run folder, which are joined by id and never by position."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from types import MappingProxyType
from typing import Any, Literal, TypeAlias

import pyarrow as pa

from tutelage.data.example import Candidate, Message
from tutelage.data.schemas.columns import column, only_columns, table_schema
from tutelage.data.token_stats import VIEW_NAMES

SCHEMA_VERSION = 1

TextName: TypeAlias = Literal["response", "instruction"]
TEXT_NAMES: tuple[TextName, TextName] = ("response", "instruction")

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

INPUT_PLACE = table_schema(
    column("row", pa.int64(), title="input row", about="0-based input row"),
    column("step", pa.string(), title="version"),
)
"""Leading columns of a table with one row per input row."""

ROWS = table_schema(
    column(
        "row", pa.int64(), about="0-based number of the row, counted over all input files in order"
    ),
    column("file", pa.string(), about="the input file"),
    column("line", pa.int64(), about="1-based line or record in this file"),
    column(
        "example_id", pa.string(), title="example", about="null where the row could not be read"
    ),
    column(
        "status", pa.string(), about="ok, duplicate, or the reason why the row could not be read"
    ),
    column("detail", pa.string(), about="description of what is wrong with the row"),
)
"""rows.parquet: one row per input row."""

EXAMPLES = table_schema(
    column("example_id", pa.string(), title="example", about="hash of the content"),
    column("row", pa.int64(), about="the first input row with this content"),
    column("messages", MESSAGES, about="the original conversation"),
    column("reference", pa.string(), about="the answer to check against; null if there is none"),
    column("source", pa.string(), about="where the row came from"),
    column("extra", pa.string(), about="the other fields of the row, as JSON"),
    column("tools", pa.string(), about="the tools that the assistant may call, as JSON"),
    column("template_args", pa.string(), about="the row's own template arguments, as JSON"),
)
"""examples.parquet: one row per example."""

CANDIDATES = table_schema(
    column("candidate_id", pa.string(), title="candidate", about="hash of the content"),
    column("example_id", pa.string(), title="example"),
    column(
        "parent_id",
        pa.string(),
        title="made from",
        about="the candidate that it was rewritten from; null for an original",
    ),
    column(
        "step",
        pa.string(),
        title="version",
        about="original, instruction_reflection, response_reflection or sample",
    ),
    column("teacher", pa.string(), about="the teacher that wrote it; null for an original"),
    column("messages", MESSAGES, about="null unless status is ok"),
    column("status", pa.string(), about="ok, or the reason why there is no text"),
    column("finish_reason", pa.string(), about="why the teacher stopped writing"),
    column("detail", pa.string(), about="explanation of the status"),
    column("criticism", pa.string(), about="the teacher's critique, written before the rewrite"),
    column("request_key", pa.string(), about="key of the reply in the teacher cache"),
    column("tools", pa.string(), about="the tools that the assistant may call, as JSON"),
    column("template_args", pa.string(), about="the row's own template arguments, as JSON"),
)
"""candidates.parquet, loaded.parquet: one row per version of an example."""

SCORES = table_schema(
    column("candidate_id", pa.string(), title="candidate"),
    column("example_id", pa.string(), title="example"),
    column(
        "student",
        pa.string(),
        about="the student's fingerprint: weights, tokenizer, template, dtype",
    ),
    column("status", pa.string(), about="ok, or the reason why there is no number"),
    column("detail", pa.string(), about="explanation of the status"),
    column(
        "straddles",
        pa.bool_(),
        about="whether a token contains both the end of the context and the start of the target",
    ),
    column("truncated", pa.bool_(), about="whether the text was truncated to the length limit"),
    column("stripped", pa.bool_(), about="whether the template changed white space of the text"),
    column(
        "control_tokens_in_data",
        pa.bool_(),
        about="whether a turn contains the text of a special token",
    ),
    column(
        "contract",
        pa.int32(),
        about="version of the scoring contract (the definition of what is scored); null means 1",
    ),
    column("response_tokens", pa.int32(), unit="tokens"),
    column("instruction_tokens", pa.int32(), unit="tokens"),
    column(
        "nll_response_given_instruction",
        pa.float64(),
        title="loss of the response after the instruction",
        unit="nats per token",
    ),
    column("nll_response", pa.float64(), title="loss of the response alone", unit="nats per token"),
    column(
        "nll_instruction_given_response",
        pa.float64(),
        title="loss of the instruction after the response",
        unit="nats per token",
    ),
    column(
        "nll_instruction",
        pa.float64(),
        title="loss of the instruction alone",
        unit="nats per token",
    ),
)
"""scores.parquet: one row per candidate and student; one float64 column for each metric follows."""

DECISIONS = table_schema(
    column("example_id", pa.string(), title="example"),
    column("candidate_id", pa.string(), title="candidate", about="null if no version was chosen"),
    column("step", pa.string(), title="version", about="step of the chosen candidate"),
    column("kept", pa.bool_(), about="whether a candidate was chosen"),
    column("reason", pa.string(), about="one of the reasons in Rules and baselines"),
    column("rule", pa.string(), about="the rule that decided"),
)
"""decisions.parquet: one row per example; the float64 columns that the rule used follow."""

CHOSEN = table_schema(
    column("example_id", pa.string(), title="example"),
    column("candidate_id", pa.string(), title="candidate"),
    column("rank", pa.int32(), about="0-based place among the chosen candidates of the example"),
    column(
        "weight", pa.float64(), about="weight of the row in training; null if the rule gives none"
    ),
)
"""chosen.parquet: one row per chosen candidate; decisions name only the first one of an example."""

NULLS = table_schema(
    column(
        "null",
        pa.string(),
        title="baseline",
        about="name of the baseline: random, random_version, longest, all_refined or all_original",
    ),
    column("seed", pa.int64(), about="seed of a random baseline; null for the others"),
    column("example_id", pa.string(), title="example"),
    column("candidate_id", pa.string(), title="candidate"),
)
"""nulls.parquet: baselines, which are sets of the same size chosen without the student."""

_TEXTS = tuple(
    one
    for name in TEXT_NAMES
    for one in (
        column(name, pa.string(), about="the text that was scored"),
        column(f"{name}_ids", pa.list_(pa.int32()), about="token ids of the text"),
        column(
            f"{name}_starts",
            pa.list_(pa.int32()),
            about="position in the text at which each token starts",
        ),
    )
)
_STATISTICS: tuple[tuple[str, Any, str, str], ...] = (
    ("logprobs", pa.float32(), "nats", "log-probability of each target token"),
    ("ranks", pa.uint8(), "", "rank of each target token, at most 100"),
    ("entropies", pa.float16(), "nats", "entropy of the distribution at each target token"),
    ("sum_squares", pa.float16(), "", "sum of the squared probabilities at each target token"),
)
_VIEWS = tuple(
    column(f"{name}_{view}", pa.list_(kind), unit=unit, about=about)
    for view in VIEW_NAMES
    for name, kind, unit, about in _STATISTICS
)
_MORE = (
    column("vocabulary_tokens", pa.int32(), unit="tokens", about="size of the vocabulary"),
    column(
        "step_logprobs",
        pa.list_(pa.list_(pa.float32())),
        unit="nats",
        about="log-probability of the answer after each step, for metrics that score step by step",
    ),
)
TOKENS = table_schema(
    only_columns(
        SCORES,
        (
            *("candidate_id", "example_id", "student", "status", "detail", "straddles"),
            *("truncated", "stripped", "control_tokens_in_data", "contract"),
        ),
    ),
    *_TEXTS,
    *_VIEWS,
    *_MORE,
)
"""statistics.parquet: the student's token statistics for every target token."""
TOKEN_COLUMNS = tuple(field.name for field in (*_TEXTS, *_VIEWS, *_MORE))
"""Columns of TOKENS that a scores table does not have."""

VERDICTS = table_schema(
    column("row", pa.int64(), about="0-based input row"),
    column("candidate_id", pa.string(), title="candidate", about="null if the rows have no ids"),
    column("verdict", pa.string(), about="right, wrong, no_answer or cannot_check; never null"),
    column("evidence", pa.string(), about="description of what was compared"),
)
"""verdicts.parquet: one row per candidate and check."""

FILTER_DECISIONS = table_schema(
    column("candidate_id", pa.string(), title="candidate"),
    column("kept", pa.bool_(), about="whether the filter keeps the candidate"),
    column("reason", pa.string(), about="reason for the decision, in snake_case"),
    column(
        "value", pa.float64(), about="number that the filter measured; null if it measures none"
    ),
    column("detail", pa.string(), about="explanation of the decision"),
)
"""Decision of one filter on each candidate."""

FINAL_DECISIONS = table_schema(
    FILTER_DECISIONS,
    column(
        "filter",
        pa.string(),
        about="the filter that dropped the candidate; null if all filters keep it",
    ),
)
"""filters.parquet: joint decision of all filters on each candidate."""

QUALITY_GATE = table_schema(
    column("candidate_id", pa.string(), title="candidate"),
    column("example_id", pa.string(), title="example"),
    column("student", pa.string()),
    column(
        "status",
        pa.string(),
        about="judged, not_fitted, or the reason why the student could not score it",
    ),
    column(
        "passed", pa.bool_(), about="whether the candidate passes; null unless the status is judged"
    ),
    column("fault", pa.string(), about="the most likely fault, also for candidates that pass"),
    column(
        "excess",
        pa.float64(),
        title="above the threshold",
        unit="log-odds",
        about="how far the score of this fault's detector is above its threshold; null for a row "
        "that a person rejected",
    ),
    column(
        "evidence",
        pa.string(),
        about="JSON: each feature with its value and log-odds, the largest first",
    ),
)
"""quality_gate.parquet: decision of the calibrated gate on each candidate."""

GATES = table_schema(
    column("candidate_id", pa.string(), title="candidate"),
    column(
        "status", pa.string(), about="filtered_out, quality_gate, wrong, no_answer or cannot_check"
    ),
    column(
        "late",
        pa.bool_(),
        title="applied to the result",
        about="whether the candidate is still compared, and dropped only if it is chosen",
    ),
)
"""Candidates excluded by the correctness gates."""

ATTEMPTS = table_schema(
    column("example_id", pa.string(), title="example"),
    column("kind", pa.string(), about="greedy or sampled"),
    column("index", pa.int32()),
    column(
        "status",
        pa.string(),
        about="ok, cut_by_length, or teacher_failed, which does not count as an attempt",
    ),
    column("text", pa.string()),
    column(
        "verdict",
        pa.string(),
        about="right, wrong, no_answer or cannot_check; null if the answer is not checked",
    ),
    column("evidence", pa.string()),
    column("completion_tokens", pa.int32(), unit="tokens"),
    column("request_key", pa.string()),
)
"""attempts.parquet: one row per answer of the student."""

DELTAS = table_schema(
    column("candidate_id", pa.string(), title="candidate"),
    column("example_id", pa.string(), title="example"),
    column("status", pa.string(), about="ok, or the reason why there is no number"),
    column("response_tokens", pa.int32(), unit="tokens"),
    column("nll_base", pa.float64(), title="loss before", unit="nats per token"),
    column("nll_current", pa.float64(), title="loss after", unit="nats per token"),
    column(
        "delta_loss",
        pa.float64(),
        title="change of the loss",
        unit="nats per token",
        about="above 0, the response is more likely than before",
    ),
)
"""Table of `tutelage delta`: two states of a student."""

METRIC_AGREEMENT = table_schema(
    column("a", pa.string(), title="metric"),
    column("b", pa.string(), title="with"),
    column(
        "spearman",
        pa.float64(),
        title="correlation",
        about="Spearman's rho; null if it is undefined",
    ),
    column("low", pa.float64(), title="from", about="lower end of the 95 % interval"),
    column("high", pa.float64(), title="to", about="upper end of the 95 % interval"),
    column("n", pa.int64(), title="pairs", about="rows for which both have a number"),
    column(
        "examples",
        pa.int64(),
        about="distinct examples among these rows; equal to n if the table has no example ids",
    ),
)
"""Rank correlations of metrics, one row per pair."""

FILTER_COMPARISON = table_schema(
    column("filter", pa.string()),
    column("kind", pa.string()),
    column("candidates", pa.int64()),
    column("kept", pa.int64()),
    column("kept_fraction", pa.float64(), unit="share"),
    column(
        "mean_characters_kept",
        pa.float64(),
        unit="characters",
        about="mean length of the response; null if none was kept",
    ),
    column("mean_characters_dropped", pa.float64(), unit="characters"),
    column("measured", pa.int64(), about="candidates with both a value and a response"),
    column(
        "length_correlation",
        pa.float64(),
        about="Spearman correlation of value and number of characters; null if undefined",
    ),
)
"""Filter statistics, one row per filter."""

FILTER_OVERLAPS = table_schema(
    column("filter_a", pa.string()),
    column("filter_b", pa.string()),
    column("kept_by_both", pa.int64()),
    column("kept_by_either", pa.int64()),
    column("jaccard", pa.float64(), about="null if neither filter keeps a candidate"),
    column(
        "jaccard_by_chance",
        pa.float64(),
        about="expected value for two independent filters that keep as many",
    ),
)
"""Filter overlap, one row per pair of filters."""

FILTER_REASONS = table_schema(
    column("filter", pa.string()),
    column("kept", pa.bool_()),
    column("reason", pa.string()),
    column("candidates", pa.int64()),
)
"""Filter counts, one row per filter and reason."""

RESULTS = table_schema(
    column("item_id", pa.string()),
    column("task", pa.string()),
    column("seed", pa.int64()),
    column(
        "value",
        pa.float64(),
        about="null unless the status is ok or no_answer; in the unit of the task",
    ),
    column(
        "correct", pa.bool_(), about="null if the task does not count answers as right or wrong"
    ),
    column("status", pa.string()),
    column("text", pa.string(), about="what the student wrote or chose"),
    column("detail", pa.string(), about="evidence, or the reason for the status"),
)
"""results.parquet: one row per item and task that a student answered."""

FAULT_SHARES = table_schema(
    column("side", pa.string()),
    column("kind", pa.string(), title="fault"),
    column(
        "share",
        pa.float64(),
        title="estimated share",
        about="0 to 1; null if it cannot be estimated",
    ),
    column("low", pa.float64(), title="from", about="lower end of the 95 % interval"),
    column("high", pa.float64(), title="to", about="upper end of the 95 % interval"),
)
"""Estimated shares of faults, as `tutelage.audit` returns them."""

OVERRIDDEN = only_columns(DECISIONS, ("example_id", "candidate_id", "reason", "rule"))
"""Manual decisions that override the rule, as they are applied."""

CHUNK_PROBLEM: pa.DataType = pa.struct(
    [
        ("kind", pa.string()),  # the name of one of our errors, `gave_up`, or null for a bug
        ("message", pa.string()),
        ("hint", pa.string()),
    ]
)
CHUNK_REPORT = table_schema(
    column("part", pa.string()),
    column("rows", pa.int64()),
    column("problem", CHUNK_PROBLEM),
)
"""Report of a worker on a chunk; the rows are in its part."""

WORK = table_schema(
    column("stage", pa.string(), about="the work that would be done"),
    column("count", pa.int64()),
    column("unit", pa.string(), about="what is counted"),
    column("tokens", pa.int64(), unit="tokens"),
    column("seconds", pa.float64(), title="time", unit="s"),
    column("basis", pa.string(), about="how the time was estimated"),
)
"""Work that a dry run foresees, a row for each stage."""

RUN_TABLES: Mapping[str, pa.Schema] = MappingProxyType(
    {
        "rows.parquet": ROWS,
        "examples.parquet": EXAMPLES,
        "loaded.parquet": CANDIDATES,
        "candidates.parquet": CANDIDATES,
        "scores.parquet": SCORES,
        "statistics.parquet": TOKENS,
        "filters.parquet": FINAL_DECISIONS,
        "verdicts.parquet": VERDICTS,
        "quality_gate.parquet": QUALITY_GATE,
        "decisions.parquet": DECISIONS,
        "chosen.parquet": CHOSEN,
        "nulls.parquet": NULLS,
    }
)
"""Tables of a run folder by file; scores and decisions have further columns of numbers."""


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


def messages_to_array(conversations: Sequence[Sequence[Message] | None]) -> "pa.Array[Any]":
    """Conversations as an array of the `MESSAGES` type; None is null."""
    turns = [turn for conversation in conversations for turn in conversation or ()]
    columns: dict[str, list[object]] = {
        name: [getattr(turn, name) for turn in turns] for name, _ in MESSAGE_FIELDS
    }
    columns["trained"] = [None if trained else False for trained in columns["trained"]]
    parts = [pa.array(columns[name], kind) for name, kind in MESSAGE_FIELDS]
    ends = list(accumulate((len(one or ()) for one in conversations), initial=0))
    starts = [None if one is None else at for one, at in zip(conversations, ends, strict=False)]
    structs = pa.StructArray.from_arrays(parts, names=[name for name, _ in MESSAGE_FIELDS])
    offsets = pa.array([*starts, ends[-1]], pa.int32())
    array: pa.Array[Any] = pa.ListArray.from_arrays(offsets, structs)
    return array


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


def candidates_to_columns(
    candidates: Sequence[Candidate],
) -> "dict[str, Sequence[object] | pa.Array[Any]]":
    """Candidates as columns of the `CANDIDATES` schema, in the order given."""
    columns: dict[str, Sequence[object] | pa.Array[Any]] = {
        name: [getattr(candidate, name) for candidate in candidates]
        for name in CANDIDATES.names
        if name != "messages"
    }
    columns["messages"] = messages_to_array([one.messages or None for one in candidates])
    return columns


def candidates_from_table(table: pa.Table) -> list[Candidate]:
    """The inverse of `candidates_to_table`."""
    there = [name for name in CANDIDATES.names if name in table.column_names]
    return [
        Candidate(**{**row, "messages": messages_from_arrow(row["messages"])})
        for row in table.select(there).to_pylist()
    ]
