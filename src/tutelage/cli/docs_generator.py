"""Generator of reference pages: `python -m tutelage.cli.docs_generator docs`.

A test holds the committed pages to what this writes.
"""

import re
import sys
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from pydantic import BaseModel

from tutelage.cli.api_reference import api_page
from tutelage.cli.command_group import SECTIONS, main
from tutelage.cli.options import SCHEMA

if TYPE_CHECKING:
    import pyarrow as pa

WIDTH = 96


def commands_page() -> str:
    """Text of docs/cli.md: every command's own help."""
    lines = [
        "# Commands",
        "",
        "Results go to stdout, progress and notes to stderr. Exit codes: 0 done, 1 failed,",
        "2 misuse, 130 interrupted; finished work is kept.",
        "",
        "Results are printed as text. Every command takes `--json` (the result as JSON, for",
        "programs), `-v` (more detail, with the code location of errors) and `-q` (only the result",
        "and errors).",
        "",
        *_overview(),
    ]
    root = click.Context(
        main,
        info_name="tutelage",
        max_content_width=WIDTH,
        terminal_width=WIDTH,
        **main.context_settings,  # else `-h` is missing, unless the command has run before
    )
    for name, command in sorted(main.commands.items()):
        lines += _help_of(command, name=name, parent=root, title=f"tutelage {name}")
    return "\n".join(lines)


def _overview() -> Iterator[str]:
    """Commands by the step of the work they belong to."""
    for title, names in SECTIONS.items():
        known = [name for name in names if name in main.commands]
        links = ", ".join(f"[{name}](#tutelage-{name})" for name in known)
        yield from (f"* **{title}:** {links}",)
    yield ""


def _help_of(
    command: click.Command, *, name: str, parent: click.Context, title: str
) -> Iterator[str]:
    context = click.Context(
        command, info_name=name, parent=parent, max_content_width=WIDTH, terminal_width=WIDTH
    )
    yield from (f"## {title}", "", "```text", command.get_help(context), "```", "")
    if isinstance(command, click.Group):
        for inner, part in sorted(command.commands.items()):
            yield from _help_of(part, name=inner, parent=context, title=f"{title} {inner}")


def settings_page() -> str:
    """Text of docs/configuration.md: every setting of a run's YAML file."""
    from tutelage.pipeline import RunSettings

    schema = RunSettings.model_json_schema()
    lines = [
        "# Configuration",
        "",
        "`tutelage run CONFIG.yaml` reads one YAML file. Unknown names are errors, and all that is",
        "wrong is reported at once. `--set name=value` overrides the file. Only `data.path`,",
        "`student.model` and `out` must be given.",
        "",
        "`tutelage init` writes a commented file to start from and, next to it, the JSON schema",
        "that editors use to complete and check it ([config-schema.json](config-schema.json)). The",
        "first line of the file, `# yaml-language-server: $schema=tutelage-schema.json`, names it.",
        "",
        "The smallest useful file:",
        "",
        "```yaml",
        "data: {path: pairs.jsonl}           # rows with an original and a rewrite",
        "student: {model: smollm2-135m}",
        "out: runs/first",
        "```",
        "",
        "With a teacher behind an OpenAI-compatible endpoint:",
        "",
        "```yaml",
        "data: {path: data.jsonl}",
        "teacher: {model: my-teacher, base_url: http://127.0.0.1:8081/v1, concurrency: 8}",
        "student: {model: smollm2-135m}",
        "select: {rule: srt, mode: safe}",
        "out: runs/second",
        "```",
        "",
    ]
    for section, values in schema["properties"].items():
        inner = _resolved(values, schema)
        if "properties" not in inner:
            continue
        lines += [f"## {section}", "", "| setting | default | meaning |", "|---|---|---|"]
        lines += list(_rows(section, inner, schema))
        lines.append("")
    return "\n".join([*lines, *_rounds_lines(set(schema["properties"]))])


def _rounds_lines(known: set[str]) -> list[str]:
    """Settings of `tutelage rounds` in addition to those of a run."""
    from tutelage.experiments.rounds import RoundsSettings

    schema = RoundsSettings.model_json_schema()
    more = {n: v for n, v in schema["properties"].items() if n not in known}
    lines = [
        "## Rounds",
        "",
        "`tutelage rounds CONFIG.yaml` takes all of the above and:",
        "",
        "| setting | default | meaning |",
        "|---|---|---|",
    ]
    for name, values in more.items():
        given = RoundsSettings.model_fields[name].get_default(call_default_factory=True)
        if name in ("no_gate", "random", "own_answers"):
            lines.append(_whole_row(name, given, str(values.get("description", ""))))
            continue
        if name == "check":  # whose defaults depend on the machine
            lines.append(f"| `check` | `null` | {values['description']} See verification.md. |")
            continue
        rows = _rows_of(name, values, schema, required=())
        lines += [row for row in rows if not row.startswith("| `held_out.answers.")]
        if name == "held_out":
            said = "As `own_answers`, of `held_out.instructions`. At temperature 1 and top_p 1 the "
            said += "divergence is estimated without bias."
            lines.append(_whole_row("held_out.answers", given.answers, said))
    return [*lines, ""]


def _whole_row(name: str, given: BaseModel, meaning: str) -> str:
    """Row for a group of settings that are described elsewhere or have other defaults."""
    values = given.model_dump(mode="json", exclude_unset=True)
    return f"| `{name}` | `{_yaml(values)}` | {meaning} |"


def _resolved(values: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    if "$ref" in values:
        found: dict[str, Any] = schema["$defs"][values["$ref"].rsplit("/", 1)[1]]
        return found
    for choice in values.get("anyOf", ()):
        if "$ref" in choice:
            return _resolved(choice, schema)
    return values


def _rows(prefix: str, model: dict[str, Any], schema: dict[str, Any]) -> Iterator[str]:
    required = {f"{prefix}.{name}" for name in model.get("required", ())}
    for name, values in model["properties"].items():
        yield from _rows_of(f"{prefix}.{name}", values, schema, required=required)


def _rows_of(
    name: str, values: dict[str, Any], schema: dict[str, Any], *, required: Collection[str]
) -> Iterator[str]:
    inner = _resolved(values, schema)
    if "properties" in inner:
        yield from _rows(name, inner, schema)
        return
    default = "required" if name in required else f"`{_yaml(values.get('default'))}`"
    meaning = " ".join(str(values.get("description", "")).split()).replace("|", "\\|")
    choices = values.get("enum") or inner.get("enum")
    if choices:
        meaning = f"One of {', '.join(f'`{c}`' for c in choices)}. {meaning}"
    yield f"| `{name}` | {default} | {meaning.strip()} |"


def _yaml(value: object) -> str:
    import yaml

    if isinstance(value, list | tuple) and sum(len(str(item)) for item in value) > WIDTH:
        return "(see below)"
    text: str = yaml.safe_dump(value, default_flow_style=True, width=1000)
    return text.replace("\n...", "").strip()


def schema_page() -> str:
    """Text of docs/config-schema.json: the JSON schema of a run's YAML file, for editors."""
    from tutelage.pipeline.config_file import schema_text

    return schema_text()


def tables_page() -> str:
    """Text of docs/tables.md: the columns of every table, from the schemas."""
    from tutelage.data.schemas import EXPERIMENT_TABLES, RUN_TABLES

    lines = [
        "# Columns of the tables",
        "",
        "This page lists the columns of every table that tutelage writes. Every table is a Parquet",
        "file; title, unit and meaning are also stored in the file, as metadata of each column.",
        "[The run folder](run-folder.md) lists the files of a run.",
        "",
        "## A run",
        "",
        "`scores.parquet` has an additional column for each metric, and `decisions.parquet` for",
        "each number that the decision is based on.",
        "",
        *_tables(RUN_TABLES),
    ]
    for command, tables in EXPERIMENT_TABLES.items():
        lines += [f"## tutelage {command}", "", *_tables(tables)]
    return "\n".join(lines)


def _tables(tables: "Mapping[str, pa.Schema]") -> Iterator[str]:
    from tutelage.data.schemas import column_facts

    files: dict[int, list[str]] = {}
    for file, schema in tables.items():
        files.setdefault(id(schema), []).append(file)
    for names in files.values():
        schema = tables[names[0]]
        head = ("| column | type | unit | meaning |", "|---|---|---|---|")
        yield from (f"### {', '.join(names)}", "", *head)
        for field in schema:
            facts = column_facts(field)
            kind = "list of turns" if field.name == "messages" else str(field.type)
            kind = re.sub(r"list<element: (\w+)>", r"list of \1", kind)
            meaning = (facts.about or facts.title).replace("|", "\\|")
            yield f"| `{field.name}` | {kind.replace('<', '&lt;')} | {facts.unit} | {meaning} |"
        yield ""


PAGES = {
    "api.md": api_page,
    "cli.md": commands_page,
    "configuration.md": settings_page,
    "config-schema.json": schema_page,
    "tables.md": tables_page,
}


def write(folder: Path) -> None:
    """Write all pages into a folder, and the schema from which options are made."""
    SCHEMA.write_text(schema_page(), encoding="utf-8")
    for name, page in PAGES.items():
        (folder / name).write_text(page().rstrip() + "\n", encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
