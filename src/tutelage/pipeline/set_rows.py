"""Rows of a set of a run, as trainers take them: the selection, a baseline, rejected examples."""

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, TypeAlias

import pyarrow.parquet as pq

from tutelage.data.schemas import plain_turns
from tutelage.data.thinking import join_thinking
from tutelage.errors import DataError, RunError, SettingsError
from tutelage.pipeline.explanation import deciding_student
from tutelage.pipeline.run_dir import RunFolder
from tutelage.pipeline.tables import open_tables, stream

Turn = dict[str, Any]

FUNCTION_CALL, OBSERVATION = "function_call", "observation"
"""LLaMA-Factory's roles of a turn with tool calls and of a turn with their results."""
LLAMAFACTORY_TAGS: Mapping[str, str] = MappingProxyType(
    {
        "role_tag": "role",
        "content_tag": "content",
        "user_tag": "user",
        "assistant_tag": "assistant",
        "observation_tag": OBSERVATION,
        "function_tag": FUNCTION_CALL,
        "system_tag": "system",
    }
)
"""Tags by which LLaMA-Factory finds the keys and roles of our turns."""


def openai_turns(
    turns: Iterable[Mapping[str, Any]], *, untrained: Turn | None = None
) -> list[Turn]:
    """Turns for chat templates: calls as objects, thinking as `reasoning_content`.

    Args:
        turns: Rows of the `MESSAGES` type without the fields they do not have.
        untrained: What marks a turn that is never trained on; without it, OpenAI's `weight: 0`.
    """
    found = []
    for turn in turns:
        plain: Turn = {"role": turn["role"], "content": turn["content"]}
        if turn.get("reasoning") is not None:
            plain["reasoning_content"] = turn["reasoning"]
        if turn.get("tool_calls") is not None:
            plain["tool_calls"] = json.loads(turn["tool_calls"])
        plain |= {n: turn[n] for n in ("tool_call_id", "name") if turn.get(n) is not None}
        if turn.get("trained") is False:
            plain |= {"weight": 0} if untrained is None else untrained
        found.append(plain)
    return found


def flat_turns(
    turns: Iterable[Mapping[str, Any]],
    *,
    role: str,
    content: str,
    names: Mapping[str, str],
    example: object,
) -> list[Turn]:
    """Turns with one role and text each, as ShareGPT and LLaMA-Factory have them.

    Thinking precedes the text; tool calls are a separate kind of turn.

    Args:
        turns: Rows of the `MESSAGES` type without the fields they do not have.
        role: The name of the field with the role.
        content: The name of the field with the text.
        names: How each of our roles is called there.
        example: The example's id, for the error.

    Raises:
        DataError: A turn says something and calls tools, which one turn cannot hold there.
    """
    found = []
    for turn in turns:
        text = join_thinking(turn.get("reasoning"), turn["content"])
        if turn.get("tool_calls") is None:
            found.append({role: names[turn["role"]], content: text})
            continue
        if turn["content"].strip():
            raise DataError(
                f"example {example}: a turn contains both text and tool calls, which this "
                "format does not support",
                hint="--to trl, --to messages and --to axolotl support any conversation",
            )
        calls = [call["function"] for call in json.loads(turn["tool_calls"])]
        written = json.dumps(calls[0] if len(calls) == 1 else calls, ensure_ascii=False)
        text = join_thinking(turn.get("reasoning"), written)
        found.append({role: names[FUNCTION_CALL], content: text})
    return found


def tools_list(row: Mapping[str, Any]) -> list[Any] | None:
    """Tools of a row as objects; None without any."""
    return json.loads(row["tools"]) if row.get("tools") else None


OF_LLAMAFACTORY = {
    "user": "user",
    "assistant": "assistant",
    "system": "system",
    "tool": OBSERVATION,
    FUNCTION_CALL: FUNCTION_CALL,
}
"""Roles of LLaMA-Factory by our own."""
OF_SHAREGPT = {**OF_LLAMAFACTORY, "user": "human", "assistant": "gpt"}
"""Roles of ShareGPT by our own."""


def llamafactory_turns(messages: Iterable[Mapping[str, Any]], *, example: object) -> list[Turn]:
    """Turns for LLaMA-Factory, with the fields `role` and `content`."""
    return flat_turns(
        messages, role="role", content="content", names=OF_LLAMAFACTORY, example=example
    )


PROVENANCE = ("example_id", "candidate_id", "step", "teacher", "source", "reason", "rule")
"""Provenance columns next to `messages`; trainers ignore them."""

WEIGHT = "weight"
"""Column with the training weight of a row, where a rule gives weights."""

TEMPLATE_ARGS = "chat_template_kwargs"
"""The column of a row's own template arguments, by the name that TRL reads."""
_SOMETIMES = ("tools", "template_args")

_SELECTED = """
select c.messages{c_more}, d.example_id, h.candidate_id, c.step, c.teacher, e.source, d.reason,
       d.rule, h.weight
from chosen h
join decisions d on d.example_id = h.example_id
join candidates c on c.candidate_id = h.candidate_id
left join examples e on e.example_id = d.example_id
where d.kept
order by e.row, d.example_id, h.rank
"""
_NULL = """
select c.messages{c_more}, n.example_id, n.candidate_id, c.step, c.teacher, e.source,
       'null_' || n."null" as reason, n."null" as rule
from nulls n
join candidates c on c.candidate_id = n.candidate_id
left join examples e on e.example_id = n.example_id
where n."null" = ?
order by e.row, n.example_id, n.candidate_id
"""
_REJECTED = """
select e.messages{e_more}, d.example_id, d.reason, d.rule, e.source, e.row
from decisions d
left join examples e on e.example_id = d.example_id
where not d.kept
order by e.row, d.example_id
"""


def chosen_rows(run: RunFolder, *, chosen: str = "selected") -> Iterator[dict[str, Any]]:
    """Rows of a set in the order of the input.

    Args:
        run: The run folder.
        chosen: `selected`, or the name of a null.

    Raises:
        SettingsError: There is no such set; the hint lists those there are.
    """
    run.need(run.decisions)
    tables = open_tables(run)
    try:
        more = _more(run)
        if chosen == "selected":
            yield from map(_plain_row, stream(tables, _SELECTED.format_map(more)))
            return
        names = [
            n for (n,) in tables.execute('select distinct "null" from nulls order by 1').fetchall()
        ]
        if chosen not in names:
            raise SettingsError(
                f"there is no set {chosen!r} in {run.root}",
                hint=f"sets are {', '.join(['selected', *names])}",
            )
        yield from map(_plain_row, stream(tables, _NULL.format_map(more), [chosen]))
    finally:
        tables.close()


def _more(run: RunFolder) -> dict[str, str]:
    """The columns that a set has only where one of its rows has something in them."""
    return {
        f"{letter}_more": "".join(
            f", {letter}.{name}" for name in _SOMETIMES if has_column(table, name)
        )
        for letter, table in (("c", run.candidates), ("e", run.examples))
    }


def has_tools(table: Path) -> bool:
    """Whether a row of a Parquet table of candidates or examples has tools."""
    return has_column(table, "tools")


def has_column(table: Path, name: str) -> bool:
    """Whether a row of a Parquet table has something in this column, if there is such a column."""
    with pq.ParquetFile(table) as file:
        if name not in file.schema_arrow.names:  # a table of an older version
            return False
        return any(
            batch.column(0).null_count < batch.num_rows
            for batch in file.iter_batches(columns=[name])
        )


def with_template_args(row: Mapping[str, Any]) -> dict[str, Any]:
    """The same row, its template arguments as an object under the name that TRL reads."""
    plain = dict(row)
    if "template_args" in plain:
        plain[TEMPLATE_ARGS] = json.loads(plain.pop("template_args") or "{}")
    return plain


def template_args_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row's own template arguments, as every row of a set with such arguments has them."""
    return {TEMPLATE_ARGS: row[TEMPLATE_ARGS]} if TEMPLATE_ARGS in row else {}


def _plain_row(row: dict[str, Any]) -> dict[str, Any]:
    """The same row, its turns without the fields that they do not have."""
    return {**with_template_args(row), "messages": plain_turns(row["messages"] or ())}


def rejected_rows(run: RunFolder) -> Iterator[dict[str, Any]]:
    """Examples without a chosen candidate, with the reasons, in the order of the input."""
    tables = open_tables(run)
    try:
        for row in stream(tables, _REJECTED.format_map(_more(run))):
            plain = with_template_args(row)
            yield {**plain, "messages": openai_turns(plain_turns(row["messages"] or ()))}
    finally:
        tables.close()


Weights: TypeAlias = Literal["auto", "likelihood", "off"]
TRAIN_WEIGHT = "train_weight"

_NLL = "nll_response_given_instruction"


def weighted_rows(
    rows: Iterable[Mapping[str, Any]], run: RunFolder, *, weights: Weights
) -> Iterator[dict[str, Any]]:
    """Same rows with `train_weight`, None where a row has no weight.

    Args:
        rows: Rows with `candidate_id` and, where the rule gives one, `weight`.
        run: Where they come from.
        weights: auto: the weight of the rule (lark). likelihood: exp(-L), the geometric mean
            probability of a response token under the student, in (0, 1]. off: none.

    Raises:
        RunError: The weights come from likelihoods and a row has none.
    """
    nats = likelihoods_of(run) if weights == "likelihood" else {}
    for row in rows:
        if weights == "likelihood":
            found = nats.get(str(row["candidate_id"]))
            if found is None:
                raise RunError(
                    f"{run.root}: candidate {row['candidate_id']} has no likelihood to weigh it by",
                    hint="score the run again: `tutelage score RUN --student MODEL`",
                )
            yield {**row, TRAIN_WEIGHT: math.exp(-found)}
        else:
            yield {**row, TRAIN_WEIGHT: row.get("weight") if weights == "auto" else None}


def student_with_scores(run: RunFolder) -> str | None:
    """Fingerprint of the student that decided, or of the only one that scored."""
    if not run.scores.exists():
        return None
    with open_tables(run) as tables:
        found = [s for (s,) in tables.execute("select distinct student from scores").fetchall()]
    wanted = deciding_student(run.shown_manifest())
    if wanted in found:
        return wanted
    return found[0] if len(found) == 1 else None


def likelihoods_of(run: RunFolder) -> dict[str, float]:
    """Mean negative log-likelihood of each scored response, in nats per token, by candidate.

    Raises:
        RunError: There are no scores of one student that read the response.
    """
    student = student_with_scores(run)
    with open_tables(run, student=student) as tables:
        named = student is not None and _NLL in {
            name for name, *_ in tables.execute("describe scores").fetchall()
        }
        if not named:
            raise RunError(
                f"{run.root}: has no likelihoods of its student",
                hint="score it: `tutelage score RUN --student MODEL --metrics grape`",
            )
        found = tables.execute(
            f"select candidate_id, {_NLL} from scores where status = 'ok' and {_NLL} is not null"  # noqa: S608
        ).fetchall()
    return dict(found)
