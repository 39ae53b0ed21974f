"""Export of preference pairs (DPO) and labelled responses (KTO) for TRL and LLaMA-Factory."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from tutelage.data import write_jsonl
from tutelage.errors import RunError, SettingsError
from tutelage.pipeline.dataset_card import Card, alternates
from tutelage.pipeline.preference_pairs import (
    BASES,
    LIKELIHOOD,
    Basis,
    Labelled,
    Pair,
    Preferences,
    Version,
)
from tutelage.pipeline.run_dir import RunFolder
from tutelage.pipeline.set_rows import (
    LLAMAFACTORY_TAGS,
    TEMPLATE_ARGS,
    Turn,
    has_tools,
    llamafactory_turns,
    openai_turns,
)
from tutelage.pipeline.staleness import stale_outputs
from tutelage.reporting.number_format import count as counted

Preference = Pair | Labelled
Row = dict[str, Any]

_UNLIKE = (
    "these preferences are the student's own: text that is unlike the student is not necessarily "
    "bad text"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PreferenceTarget:
    """An export format for preferences.

    Attributes:
        paired: Whether its rows are pairs; otherwise they are single responses with a label.
        convert: One preference to one row, given whether the file has a column of tools.
        snippet: What to paste into the trainer's configuration.
        alternating: Whether its program takes no conversation that does not alternate.
    """

    paired: bool
    convert: Callable[[Any, bool], Row]
    snippet: Callable[[Path, bool], str]
    alternating: bool = False


def _teacher(version: Version) -> str:
    return version.teacher or ""


def _verdicts(version: Version) -> str:
    return json.dumps(dict(version.verdicts), sort_keys=True)


def _pair_columns(pair: Pair) -> Row:
    """Provenance of a pair. Texts are never null, so that every file has the same columns."""
    columns: Row = {
        "preferred_by": pair.preferred_by,
        "chosen_reason": pair.chosen_reason,
        "rejected_reason": pair.rejected_reason,
        "chosen_teacher": _teacher(pair.chosen),
        "rejected_teacher": _teacher(pair.rejected),
        "chosen_step": pair.chosen.step,
        "rejected_step": pair.rejected.step,
        "chosen_verdicts": _verdicts(pair.chosen),
        "rejected_verdicts": _verdicts(pair.rejected),
        "example_id": pair.chosen.example_id,
        "chosen_candidate_id": pair.chosen.candidate_id,
        "rejected_candidate_id": pair.rejected.candidate_id,
        "source": pair.chosen.source or "",
    }
    return columns if pair.margin is None else columns | {"margin": pair.margin}


def _label_columns(labelled: Labelled) -> Row:
    version = labelled.version
    return {
        "preferred_by": labelled.preferred_by,
        "reason": labelled.reason,
        "teacher": _teacher(version),
        "step": version.step,
        "verdicts": _verdicts(version),
        "example_id": version.example_id,
        "candidate_id": version.candidate_id,
        "source": version.source or "",
    }


def _tools(version: Version, *, tools: bool, none: str) -> Row:
    return {"tools": version.tools or none} if tools else {}


def _template_args(version: Version) -> Row:
    found = version.template_args
    return {} if found is None else {TEMPLATE_ARGS: json.loads(found)}


def _to_dpo(pair: Pair, tools: bool) -> Row:  # noqa: FBT001  (one of a table of functions)
    return {
        "prompt": openai_turns(pair.chosen.messages[:-1]),
        "chosen": openai_turns(pair.chosen.messages[-1:]),
        "rejected": openai_turns(pair.rejected.messages[-1:]),
        **_tools(pair.chosen, tools=tools, none="null"),
        **_template_args(pair.chosen),
        **_pair_columns(pair),
    }


def _to_kto(labelled: Labelled, tools: bool) -> Row:  # noqa: FBT001
    messages = labelled.version.messages
    return {
        "prompt": openai_turns(messages[:-1]),
        "completion": openai_turns(messages[-1:]),
        "label": labelled.label,
        **_tools(labelled.version, tools=tools, none="null"),
        **_template_args(labelled.version),
        **_label_columns(labelled),
    }


def _flat(version: Version) -> list[Turn]:
    return llamafactory_turns(version.messages, example=version.example_id)


def _to_ranking(pair: Pair, tools: bool) -> Row:  # noqa: FBT001
    *context, chosen = _flat(pair.chosen)
    return {
        "messages": context,
        "chosen": chosen,
        "rejected": _flat(pair.rejected)[-1],
        **_tools(pair.chosen, tools=tools, none=""),
        **_pair_columns(pair),
    }


def _to_tagged(labelled: Labelled, tools: bool) -> Row:  # noqa: FBT001
    return {
        "messages": _flat(labelled.version),
        "label": labelled.label,
        **_tools(labelled.version, tools=tools, none=""),
        **_label_columns(labelled),
    }


def _trl_snippet(trainer: str, columns: str) -> Callable[[Path, bool], str]:
    def snippet(file: Path, tools: bool) -> str:  # noqa: FBT001
        named = f"{columns}, tools" if tools else columns
        with file.open(encoding="utf-8") as lines:
            named += f", {TEMPLATE_ARGS}" if TEMPLATE_ARGS in json.loads(next(lines)) else ""
        return (
            "from datasets import load_dataset\n"
            f"from trl import {trainer}Config, {trainer}Trainer\n\n"
            f'data = load_dataset("json", data_files="{file.name}", split="train")\n'
            f"data = data.select_columns({named.split(', ')!r})\n"
            "# nothing is truncated silently\n"
            f"args = {trainer}Config(max_length=None)\n"
            f'{trainer}Trainer(model="STUDENT", train_dataset=data, args=args).train()\n'
        )

    return snippet


def _llamafactory_snippet(paired: bool) -> Callable[[Path, bool], str]:  # noqa: FBT001
    def snippet(file: Path, tools: bool) -> str:  # noqa: FBT001
        columns = {"messages": "messages"}
        columns |= {"chosen": "chosen", "rejected": "rejected"} if paired else {"kto_tag": "label"}
        entry = {
            "file_name": file.name,
            **({"ranking": True} if paired else {}),
            "formatting": "sharegpt",
            "columns": columns | ({"tools": "tools"} if tools else {}),
            "tags": dict(LLAMAFACTORY_TAGS),
        }
        return json.dumps({"tutelage_preferences": entry}, indent=2) + "\n"

    return snippet


PREFERENCE_TARGETS: Mapping[str, PreferenceTarget] = {
    "dpo": PreferenceTarget(
        paired=True, convert=_to_dpo, snippet=_trl_snippet("DPO", "prompt, chosen, rejected")
    ),
    "kto": PreferenceTarget(
        paired=False, convert=_to_kto, snippet=_trl_snippet("KTO", "prompt, completion, label")
    ),
    "llamafactory-dpo": PreferenceTarget(
        paired=True, convert=_to_ranking, snippet=_llamafactory_snippet(True), alternating=True
    ),
    "llamafactory-kto": PreferenceTarget(
        paired=False, convert=_to_tagged, snippet=_llamafactory_snippet(False), alternating=True
    ),
}


def export_preferences(
    run: RunFolder,
    *,
    to: str,
    file: Path,
    basis: Basis = "checked",
    check: str | None = None,
    pairs_per_prompt: int | None = None,
) -> dict[str, Any]:
    """Export the preferences of a run for a trainer.

    Args:
        run: The run folder.
        to: One of `PREFERENCE_TARGETS`.
        file: A `.jsonl` file.
        basis: `checked` (a verifier, a judge or a person), or `likelihood`.
        check: The only check whose verdicts count; None: all.
        pairs_per_prompt: The most pairs of one context; None: all.

    Returns:
        The count of rows, how many were preferred by whom, what was left out and why, the file,
        the snippet to paste, the data card and notes.

    Raises:
        SettingsError: A setting is wrong.
        RunError: There is no preference, so there is nothing to write.
        DataError: A turn cannot be held by the format; nothing is written.
    """
    target = PREFERENCE_TARGETS[to]
    if file.suffix != ".jsonl":
        raise SettingsError(
            f"{file}: cannot write {file.suffix or 'a file without ending'} for {to}",
            hint="give a file that ends in .jsonl",
        )
    if pairs_per_prompt is not None and not target.paired:
        raise SettingsError(
            f"--pairs-per-prompt: {to} has no pairs", hint="leave it out, or use --to dpo"
        )
    source = Preferences(run=run, basis=basis, check=check, pairs_per_prompt=pairs_per_prompt)
    found: Iterator[Preference] = iter(source.pairs() if target.paired else source.labelled())
    first = next(found, None)
    if first is None:  # before a file of an earlier export is replaced by an empty one
        raise _nothing(source, file, paired=target.paired)
    card = Card(
        run=run,
        chosen="preferences",
        file=file,
        made_by={"preferences": basis, "check": check or "all", "format": to},
    )
    tools, counts, labels = has_tools(run.candidates), dict[str, int](), dict[bool, int]()
    out_of_turn: list[str] = []

    def rows() -> Iterator[Row]:
        for preference in chain([first], found):
            version = preference.chosen if isinstance(preference, Pair) else preference.version
            if target.alternating and not alternates(version.messages):
                out_of_turn.append(version.example_id)
            by = preference.preferred_by
            counts[by] = counts.get(by, 0) + 1
            if isinstance(preference, Labelled):
                labels[preference.label] = labels.get(preference.label, 0) + 1
            yield from (target.convert(preference, tools) for _ in card.noted([_told(version, by)]))

    count = write_jsonl(file, rows())
    notes = [_UNLIKE] if LIKELIHOOD in counts else []
    if len(labels) == 1:
        only = "wanted" if True in labels else "unwanted"
        notes.append(f"every response is {only}: KTO needs some of both labels")
    if out_of_turn:
        notes.append(
            f"{counted(len(out_of_turn), 'row')} in which user and assistant do not alternate, "
            f"such as example {out_of_turn[0]}: LLaMA-Factory leaves such rows out with a warning "
            "in its log; --to dpo and --to kto keep them"
        )
    return {
        "rows": count,
        "file": str(file),
        "to": to,
        "pairs": basis,
        "preferred_by": counts,
        **({"labels": {str(k).lower(): n for k, n in labels.items()}} if labels else {}),
        "left_out": {reason: n for reason, n in sorted(source.left_out.items()) if n},
        "snippet": target.snippet(file, tools),
        "card": str(card.write()),
        "notes": [*notes, *(line.text for line in stale_outputs(run))],
    }


def preferences_for(
    to: str, *, chosen: str, given: Mapping[str, Any]
) -> Callable[[RunFolder, Path], dict[str, Any]] | None:
    """Requested preference export; None for another kind of format.

    Args:
        to: The format; `llamafactory` with `pairs` is `llamafactory-dpo`.
        chosen: The set, which preferences do not have.
        given: `pairs`, `check` and `pairs_per_prompt`, None where nothing was said.

    Raises:
        SettingsError: A setting belongs to another format.
    """
    unknown = sorted(set(given) - {"pairs", "check", "pairs_per_prompt"})
    if unknown:
        raise TypeError(f"export() has no argument {unknown[0]!r}")
    said = [name for name, value in given.items() if value is not None]
    if to == "llamafactory" and given.get("pairs") is not None:
        to = "llamafactory-dpo"
    if to not in PREFERENCE_TARGETS:
        if said:
            flag = f"--{said[0].replace('_', '-')}"
            raise SettingsError(
                f"{flag}: --to {to} writes no preferences",
                hint=f"formats of preferences are {', '.join(PREFERENCE_TARGETS)}",
            )
        return None
    if chosen != "selected":
        raise SettingsError(
            f"--set {chosen}: preferences are made from all candidates of a run",
            hint="leave out --set",
        )
    basis = checked_basis(given.get("pairs"))

    def work(run: RunFolder, file: Path) -> dict[str, Any]:
        return export_preferences(
            run,
            to=to,
            file=file,
            basis=basis,
            check=given.get("check"),
            pairs_per_prompt=given.get("pairs_per_prompt"),
        )

    return work


def checked_basis(value: str | None) -> Basis:
    """Value of `--pairs`, which is `checked` by default.

    Raises:
        SettingsError: It is not one of `BASES`.
    """
    for basis in BASES:
        if value in (basis, None):
            return basis
    raise SettingsError(f"--pairs {value}: unknown", hint=f"it is {' or '.join(BASES)}")


def _told(version: Version, by: str) -> Row:
    """Counts of a preference for the data card."""
    return {
        "messages": version.messages,
        "example_id": version.example_id,
        "source": version.source,
        "teacher": version.teacher,
        "step": version.step,
        "reason": by,
    }


def _nothing(source: Preferences, file: Path, *, paired: bool) -> RunError:
    """Error that explains why there is no preference, with a hint."""
    what = "no two candidates of this run with the same context" if paired else "no candidate"
    left = ", ".join(f"{n} {reason}" for reason, n in sorted(source.left_out.items()) if n)
    more = f" (left out: {left})" if left else ""
    if source.basis == "likelihood":
        return RunError(
            f"{source.run.root}: {what} differ in likelihood{more}, so {file} was not written",
            hint="pairs need two scored versions of a response to the same instruction: "
            "`tutelage sample` writes several",
        )
    needed = "one that is right and one that is wrong" if paired else "a verdict right or wrong"
    why = (
        f"{what} are {needed}"
        if source.run.verdicts.exists()
        else "nothing was verified or judged, and no person decided"
    )
    return RunError(
        f"{source.run.root}: there is no preference with a reason: {why}{more}; {file} was not "
        "written",
        hint="`tutelage verify RUN --check CHECK` gives reasons; `--pairs likelihood` exports the "
        "student's own preference instead, which says nothing about quality",
    )
