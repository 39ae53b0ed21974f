"""Export of a selected set for a trainer."""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tutelage.data import TableWriter, write_jsonl
from tutelage.data.extensions import extensions_of
from tutelage.data.schemas import MESSAGES, columns_of, table_schema
from tutelage.data.thinking import join_thinking
from tutelage.errors import DataError, RunError, SettingsError
from tutelage.pipeline.dataset_card import Card, alternates
from tutelage.pipeline.preference_export import PREFERENCE_TARGETS, preferences_for
from tutelage.pipeline.run_dir import RunFolder
from tutelage.pipeline.set_rows import (
    LLAMAFACTORY_TAGS,
    OF_SHAREGPT,
    PROVENANCE,
    TEMPLATE_ARGS,
    TRAIN_WEIGHT,
    WEIGHT,
    Turn,
    Weights,
    chosen_rows,
    flat_turns,
    llamafactory_turns,
    openai_turns,
    template_args_of,
    tools_list,
    weighted_rows,
)
from tutelage.pipeline.staleness import stale_outputs
from tutelage.pipeline.teacher_routes import Routes, read_routes

# ----------------------------------------------------------------------------------------------
# What to paste into the configuration of each trainer, for a file that was exported.
# ----------------------------------------------------------------------------------------------


def trl(file: Path) -> str:
    """Python snippet that trains with TRL."""
    return (
        "from datasets import load_dataset\n"
        "from trl import SFTConfig, SFTTrainer\n\n"
        f'data = load_dataset("json", data_files="{file.name}", split="train")\n'
        'columns = ["prompt", "completion", "tools", "chat_template_kwargs"]\n'
        "data = data.select_columns([c for c in columns if c in data.column_names])\n"
        "# loss on the completion only, as it was scored; nothing is truncated silently\n"
        "args = SFTConfig(completion_only_loss=True, max_length=None)\n"
        'SFTTrainer(model="STUDENT", train_dataset=data, args=args).train()\n'
    )


def axolotl(file: Path) -> str:
    """The `datasets` section of an axolotl configuration."""
    return (
        "datasets:\n"
        f"  - path: {file.name}\n"
        f"    ds_type: {_format_of(file)}\n"
        "    type: chat_template\n"
        "    field_messages: messages\n"
        "    message_property_mappings:\n"
        "      role: role\n"
        "      content: content\n"
        "    message_field_training: train\n"
        "    roles_to_train: [assistant]\n"
        "    train_on_eos: turn\n"
    )


def llamafactory(file: Path) -> str:
    """Entry of LLaMA-Factory's dataset_info.json for rows with role and content."""
    entry = {
        "tutelage": {
            "file_name": file.name,
            "formatting": "sharegpt",
            "columns": {"messages": "messages", **_tools_column(file)},
            "tags": dict(LLAMAFACTORY_TAGS),
        }
    }
    return json.dumps(entry, indent=2) + "\n"


def _tools_column(file: Path) -> dict[str, str]:
    """Column of the tools, if the written file has one."""
    if file.suffix == ".parquet":
        return {"tools": "tools"} if "tools" in pq.read_schema(file).names else {}
    with file.open(encoding="utf-8") as lines:
        return {"tools": "tools"} if "tools" in json.loads(next(lines)) else {}


def llamafactory_alpaca(file: Path) -> str:
    """Entry of LLaMA-Factory's dataset_info.json for Alpaca rows."""
    # Once any column is named, LLaMA-Factory forgets its defaults: all must be.
    columns = {
        "prompt": "instruction",
        "query": "input",
        "response": "output",
        "system": "system",
        "history": "history",
    }
    entry = {"file_name": file.name, "formatting": "alpaca", "columns": columns}
    return json.dumps({"tutelage": entry}, indent=2) + "\n"


def llamafactory_sharegpt(file: Path) -> str:
    """Entry of LLaMA-Factory's dataset_info.json for ShareGPT rows."""
    entry = {
        "file_name": file.name,
        "formatting": "sharegpt",
        "columns": {"messages": "conversations", **_tools_column(file)},
    }
    return json.dumps({"tutelage": entry}, indent=2) + "\n"


def plain(file: Path) -> str:
    """Python snippet that loads the file."""
    return (
        "from datasets import load_dataset\n\n"
        f'data = load_dataset("{_format_of(file)}", data_files="{file.name}", split="train")\n'
    )


def _format_of(file: Path) -> str:
    """Name that `datasets` has for the format of a written file."""
    return "parquet" if file.suffix == ".parquet" else "json"


# ----------------------------------------------------------------------------------------------
# Export stage.
# ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """An export format for one trainer.

    Attributes:
        name: As the user names it.
        convert: One of our rows to one of its rows.
        snippet: What to paste into its configuration, given the file's name.
    """

    name: str
    convert: Callable[[Mapping[str, Any]], dict[str, Any]]
    snippet: Callable[[Path], str]


def _with_provenance(row: Mapping[str, Any], fields: dict[str, Any]) -> dict[str, Any]:
    # Every row has every column as text: a column that begins after the first ten megabytes, or
    # is null until then, is one that `datasets` (and so every trainer) refuses to load.
    fields |= {name: row.get(name) or "" for name in PROVENANCE}
    weights = {WEIGHT: row.get(WEIGHT), TRAIN_WEIGHT: row.get(TRAIN_WEIGHT, row.get(WEIGHT))}
    return fields | {name: value for name, value in weights.items() if value is not None}


def as_training_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """`messages` plus provenance: a row of selected.jsonl."""
    fields = {"messages": openai_turns(row["messages"]), **_tools_text(row)}
    return _with_provenance(row, fields | template_args_of(row))


def _tools_text(row: Mapping[str, Any], *, none: str = "null") -> dict[str, str]:
    """Tools as a column of JSON text, which every row of a set with tools has."""
    return {"tools": row["tools"] or none} if "tools" in row else {}


def _to_prompt_completion(row: Mapping[str, Any]) -> dict[str, Any]:
    messages = openai_turns(row["messages"])
    pair: dict[str, Any] = {"prompt": messages[:-1], "completion": messages[-1:]}
    pair["teacher_id"] = row.get("teacher") or ""  # what multi-teacher distillation reads
    return _with_provenance(row, {**pair, **_tools_text(row), **template_args_of(row)})


def _to_axolotl(row: Mapping[str, Any]) -> dict[str, Any]:
    messages = openai_turns(row["messages"], untrained={"train": False})
    tools = {"tools": tools_list(row)} if "tools" in row else {}
    return _with_provenance(row, {"messages": messages, **tools})


def _to_stored(row: Mapping[str, Any]) -> dict[str, Any]:
    """Row of a Parquet file, with turns in the type of our own tables."""
    return _with_provenance(row, {"messages": row["messages"], **_tools_text(row)})


def _to_alpaca(row: Mapping[str, Any]) -> dict[str, Any]:
    if not alternates(row["messages"]):  # a history holds pairs: other turns would change roles
        roles = ", ".join(message["role"] for message in row["messages"])
        raise DataError(
            f"example {row['example_id']}: alpaca supports alternating user and assistant "
            f"turns after at most one system message, not {roles}",
            hint="--to trl, --to messages and --to axolotl support any conversation",
        )
    if row.get("tools") or any(
        turn["role"] == "tool" or turn.get("tool_calls") for turn in row["messages"]
    ):
        raise DataError(
            f"example {row['example_id']}: alpaca does not support tools",
            hint="--to trl, --to axolotl and --to llamafactory support them",
        )
    *context, response = row["messages"]
    system = "".join(m["content"] for m in context if m["role"] == "system")
    turns = [_said(m) for m in context if m["role"] != "system"]
    fields: dict[str, Any] = {
        "instruction": turns[-1],
        "input": "",
        "output": _said(response),
        "system": system,
        "history": [list(pair) for pair in zip(turns[0:-1:2], turns[1:-1:2], strict=True)],
    }
    return _with_provenance(row, fields)


def _said(turn: Turn) -> str:
    return join_thinking(turn.get("reasoning"), turn["content"])


def _to_llamafactory(row: Mapping[str, Any]) -> dict[str, Any]:
    turns = llamafactory_turns(row["messages"], example=row["example_id"])
    return _with_provenance(row, {"messages": turns, **_tools_text(row, none="")})


def _to_sharegpt(row: Mapping[str, Any]) -> dict[str, Any]:
    turns = flat_turns(
        row["messages"],
        role="from",
        content="value",
        names=OF_SHAREGPT,
        example=row["example_id"],
    )
    return _with_provenance(row, {"conversations": turns, **_tools_text(row, none="")})


TARGETS: Mapping[str, Target] = {
    target.name: target
    for target in (
        Target(name="messages", convert=as_training_row, snippet=plain),
        Target(name="trl", convert=_to_prompt_completion, snippet=trl),
        Target(name="axolotl", convert=_to_axolotl, snippet=axolotl),
        Target(name="llamafactory", convert=_to_llamafactory, snippet=llamafactory),
        Target(name="alpaca", convert=_to_alpaca, snippet=llamafactory_alpaca),
        Target(name="sharegpt", convert=_to_sharegpt, snippet=llamafactory_sharegpt),
    )
}


def export(
    run: RunFolder,
    *,
    to: str,
    file: Path,
    chosen: str = "selected",
    weights: Weights = "auto",
    routes: Path | None = None,
    **preferences: Any,
) -> dict[str, Any]:
    """Export a set for a trainer.

    Args:
        run: The run folder.
        to: One of `TARGETS`, or of the formats of preferences.
        file: `.jsonl`, or `.parquet` for messages.
        chosen: `selected`, or the name of a null.
        weights: Where `train_weight` comes from: the rule (auto), `likelihood`, or `off`.
        routes: For distillation: a routing table; see `read_routes`.
        **preferences: `pairs`, `check` and `pairs_per_prompt`, for the formats of preferences.

    Returns:
        The count of rows, the file, the snippet to paste, the data card that was written next to
        the file, and what a person should know before training.

    Raises:
        SettingsError: The target, the set or the file's ending is not one there is.
        RunError: Nothing was chosen, so there is nothing to write.
        DataError: A conversation cannot be held by the target; nothing is written.
    """
    wanted = preferences_for(to, chosen=chosen, given=preferences)
    if wanted is not None:
        return wanted(run, file)
    if to == DISTILLATION:
        return export_prompts(run, file=file, chosen=chosen, routes=routes)
    if routes is not None:
        raise SettingsError(f"--routes: --to {to} takes no routes", hint="use --to distillation")
    target = TARGETS.get(to) or _extension_target(to)
    if target is None:
        own = extensions_of("export")
        targets = ", ".join((*TARGETS, DISTILLATION, *PREFERENCE_TARGETS, *own))
        raise SettingsError(f"unknown target {to!r}", hint=f"targets are {targets}")
    found = weighted_rows(chosen_rows(run, chosen=chosen), run, weights=weights)
    first = next(found, None)
    if first is None:  # before a file of an earlier export is replaced by an empty one
        raise RunError(
            f"{run.root}: the set {chosen!r} is empty, so {file} was not written",
            hint="`tutelage report` says why nothing was chosen",
        )
    card = Card(run=run, chosen=chosen, file=file)
    noted = card.noted(chain([first], found))
    match file.suffix:
        case ".jsonl":
            count = write_jsonl(file, map(target.convert, noted))
        case ".parquet" if TEMPLATE_ARGS in first:
            raise SettingsError(
                f"{file}: the rows have template arguments of their own ({TEMPLATE_ARGS}), which "
                "differ from row to row",
                hint="give a file that ends in .jsonl",
            )
        case ".parquet" if to in ("messages", "axolotl", "llamafactory"):
            stored = _to_llamafactory if to == "llamafactory" else _to_stored
            count = _write_parquet(file, map(stored, noted), tools="tools" in first)
        case suffix:
            raise SettingsError(
                f"{file}: cannot write {suffix or 'a file without ending'} for {to}",
                hint="give a file that ends in .jsonl, or in .parquet for messages, axolotl and "
                "llamafactory",
            )
    return {
        "rows": count,
        "file": str(file),
        "to": to,
        "set": chosen,
        "snippet": target.snippet(file),
        "card": str(card.write()),
        "notes": [*card.notes(to), *(line.text for line in stale_outputs(run))],
    }


def _extension_target(name: str) -> Target | None:
    """Format of this name defined by the loaded extensions, or None."""
    found = extensions_of("export").get(name)
    if found is None:
        return None

    def convert(row: Mapping[str, Any]) -> dict[str, Any]:
        about = f"example {row['example_id']}"
        made = found.call(as_training_row(row), about=about)
        if not isinstance(made, dict):
            raise DataError(
                f"extension export {name}: gave {type(made).__name__} for {about}",
                hint="give a dictionary: one row of the file",
            )
        return made

    return Target(name=name, convert=convert, snippet=plain)


def _write_parquet(file: Path, rows: Iterator[dict[str, Any]], *, tools: bool) -> int:
    schema = table_schema(
        columns_of(["messages"], MESSAGES),
        columns_of(["tools", *PROVENANCE] if tools else PROVENANCE, pa.string()),
        columns_of([WEIGHT, TRAIN_WEIGHT], pa.float64()),
    )
    count = 0
    with TableWriter(file, schema) as writer:
        for row in rows:
            writer.append([{name: row.get(name) for name in schema.names}])
            count += 1
    return count


DISTILLATION = "distillation"


def export_prompts(
    run: RunFolder, *, file: Path, chosen: str, routes: Path | None
) -> dict[str, Any]:
    """Write the prompts of a set, each with the teacher from which it is distilled.

    The teacher is the route of the row's source, else the one that wrote the row, else the only
    teacher of the run.

    Args:
        run: The run folder.
        file: A `.jsonl` file.
        chosen: `selected`, or the name of a null.
        routes: A routing table, or None.

    Returns:
        The count of rows, rows by teacher, the file, the snippet to paste, the card and notes.

    Raises:
        SettingsError: The file's ending or the set is not one there is.
        RunError: The set is empty.
        DataError: A row has no teacher.
    """
    if file.suffix != ".jsonl":
        raise SettingsError(
            f"{file}: cannot write {file.suffix or 'a file without ending'} for {DISTILLATION}",
            hint="give a file that ends in .jsonl",
        )
    table = None if routes is None else read_routes(routes)
    teachers = {row["teacher"] for row in chosen_rows(run, chosen=chosen) if row["teacher"]}
    named = run.read_manifest().get("teacher", {}).get("name")
    only = next(iter(teachers)) if len(teachers) == 1 else (None if teachers else named)
    found = chosen_rows(run, chosen=chosen)
    first = next(found, None)
    if first is None:
        raise RunError(
            f"{run.root}: the set {chosen!r} is empty, so {file} was not written",
            hint="`tutelage report` says why nothing was chosen",
        )
    card = Card(run=run, chosen=chosen, file=file)
    counts: Counter[str] = Counter()

    def rows() -> Iterator[dict[str, Any]]:
        for row in card.noted(chain([first], found)):
            teacher = _teacher_of(row, table, only=only)
            counts[teacher] += 1
            yield _row(row, teacher)

    count = write_jsonl(file, rows())
    return {
        "rows": count,
        "by_teacher": dict(counts.most_common()),
        "file": str(file),
        "to": DISTILLATION,
        "set": chosen,
        "snippet": _snippet(file, sorted(counts)),
        "card": str(card.write()),
        "notes": [line.text for line in stale_outputs(run)],
    }


def _teacher_of(row: Mapping[str, Any], routes: Routes | None, *, only: str | None) -> str:
    found = None if routes is None else routes.teacher_of(row["source"])
    found = found or row["teacher"] or only
    if found is None:
        raise DataError(
            f"example {row['example_id']}: no teacher wrote this version, and its source "
            f"{row['source']!r} has no route",
            hint="--routes RANKED takes the teacher of each source from `tutelage rank teachers`",
        )
    return str(found)


def _row(row: Mapping[str, Any], teacher: str) -> dict[str, Any]:
    tools = {"tools": row["tools"] or "null"} if "tools" in row else {}
    return {
        "prompt": openai_turns(row["messages"][:-1]),
        "teacher_id": teacher,
        **tools,
        **template_args_of(row),
        **{name: row.get(name) or "" for name in PROVENANCE},
    }


def _snippet(file: Path, teachers: list[str]) -> str:
    urls = "".join(
        f'    "{name}": "http://localhost:{8001 + n}",\n' for n, name in enumerate(teachers)
    )
    return (
        "from datasets import load_dataset\n\n"
        f'data = load_dataset("json", data_files="{file.name}", split="train")\n'
        "# TRL: teacher_id of a row selects the server that scores it\n"
        "#   AsyncDistillationConfig(teacher_server_urls=teacher_server_urls)\n"
        f"teacher_server_urls = {{\n{urls}}}\n"
        "# tinker-cookbook: one dataset and one TeacherConfig for each teacher\n"
        'by_teacher = {t: data.filter(lambda row, t=t: row["teacher_id"] == t)\n'
        "              for t in teacher_server_urls}\n"
    )
