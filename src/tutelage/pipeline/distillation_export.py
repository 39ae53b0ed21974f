"""Export of prompts for distillation from several teachers, each row with its `teacher_id`."""

from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

from tutelage.data import write_jsonl
from tutelage.errors import DataError, RunError, SettingsError
from tutelage.pipeline.dataset_card import Card
from tutelage.pipeline.run_dir import RunFolder
from tutelage.pipeline.set_rows import PROVENANCE, chosen_rows, template_args_of
from tutelage.pipeline.staleness import stale_outputs
from tutelage.pipeline.teacher_routes import Routes, read_routes
from tutelage.pipeline.turn_formats import openai_turns

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
