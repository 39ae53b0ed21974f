"""Generator of reference pages: `python -m tutelage.cli.docs_generator docs`.

A test holds the committed pages to what this writes.
"""

import ast
import inspect
import re
import sys
import textwrap
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

import click
from pydantic import BaseModel

from tutelage.cli.command_group import SECTIONS, main
from tutelage.cli.options import SCHEMA
from tutelage.errors import KEYWORDS, SWITCHES

WORKFLOWS = {
    "Data and runs": ("read", "audit", "load", "sample", "refine", "init", "run", "demo"),
    "Scores": ("score", "recompute", "delta", "list_metrics"),
    "Checks and filters": ("verify", "filter"),
    "Decisions": ("select", "explain", "export", "report", "view"),
    "Training and proof": ("train", "evaluate", "prove"),
    "Experiments": ("rank_teachers", "rank_sources", "agreement", "rounds", "drift", "frontier"),
    "This machine": ("doctor",),
}
"""Functions in the order of a user's work; those without a group come last."""

_SECTION = r"^(Args|Attributes|Returns|Raises|Examples):$"

_INTRODUCTION = """\
# Python API

Every command of the command line is also a function, with the name of the command
(`rank teachers` is `rank_teachers`, `rank agreement` is `agreement`, `metrics` is `list_metrics`).
An option is a keyword of the same name with underscores; [Keywords](#keywords) lists the options
whose keyword has another name.

```python
import tutelage as tt

scores = tt.score("data.jsonl", "smollm2-135m", metrics=["ifd", "r_ifd"])
chosen = tt.select(scores, "srt")
print(chosen)                       # how many were kept, how many dropped, and why
train_set = tt.export(chosen, "trl").to_dataset()
```

**Data** may be a path, a folder, a pattern, the id of a hub dataset or a list of these; a list of
dicts or any iterable of mappings; a pyarrow table; a `datasets.Dataset`; a pandas or polars frame;
or the result of `tt.read`. Keywords of the reader (`limit`, `fields`, `shape`, ...) are accepted.

**Models** are given by name, with their settings as keywords or as a mapping
(`teacher={"model": "qwen", "base_url": "http://127.0.0.1:8081/v1"}`). A `tt.Student` that is
already open is used as it is. Unknown keywords are errors with a suggestion.

**Results** contain an Arrow table. In a notebook, they show what was kept and dropped, and why.

**Folders.** Without `out`, a function works in a temporary folder, which is deleted with the last
result that needs it. Teacher replies are then kept in
`~/.cache/tutelage/replies.sqlite`, so that no reply is paid for twice. Rows given in memory are
written to the run folder as `input.jsonl` or `input.arrow`, so that a run can be resumed.

**Progress.** `progress=None` shows bars in a terminal or a notebook and nothing elsewhere; `True`
always shows them, `False` never. An object with the methods `begin`, `advance`, `tell` and `end`
receives the progress directly.

**Errors** are `tutelage.TutelageError`: the message names the value and the place, `hint` gives the
next step. If a command finishes its other work before it fails, for example because a teacher
became unavailable, the function raises at the end; finished work is kept, and the same call
resumes.
"""


def api_page() -> str:
    """Text of docs/api.md: every public function and class."""
    from tutelage import api
    from tutelage.api.results import FolderResult, Run, RunResult
    from tutelage.api.table_result import Result

    names = [name for name in api.__all__ if name[0].islower()]
    grouped = {name for group in WORKFLOWS.values() for name in group}
    rest = tuple(name for name in names if name not in grouped)
    groups = {**WORKFLOWS, **({"More": rest} if rest else {})}
    lines = [_INTRODUCTION]
    for title, functions in groups.items():
        lines += [f"## {title}", ""]
        for name in functions:
            lines += [f"### tutelage.{name}", "", *_signature(getattr(api, name)), ""]
            lines += _body(inspect.getdoc(getattr(api, name)) or "")
    lines += [*_keywords(), "## Results", ""]
    first = {kind.__name__: kind for kind in (Run, Result, RunResult, FolderResult)}
    classes = {name: getattr(api, name) for name in api.__all__ if name[0].isupper()}
    for name, kind in {**first, **classes}.items():
        lines += list(_class(kind, name))
    return "\n".join(lines)


def _keywords() -> Iterator[str]:
    """Groups of keywords that appear as `**options` in signatures."""
    from tutelage.api import options

    yield from ("## Keywords", "")
    yield "The keywords that functions take as `**options`, by group. docs/configuration.md"
    yield from ("explains each setting.", "")
    for group in options.GROUPS:
        names = ", ".join(f"`{name}`" for name in get_type_hints(group))
        yield f"- `{group.__name__}`: {_paragraph(inspect.getdoc(group) or '')} {names}."
    yield from ("", "Options whose keyword has another name:", "")
    renamed = {**KEYWORDS, **SWITCHES}
    yield ", ".join(f"`--{option}`: `{renamed[option]}`" for option in sorted(renamed)) + "."
    yield ""


def _class(kind: type[object], name: str) -> Iterator[str]:
    shown = name if name in ("Run", "Result") else f"{name}({kind.__bases__[0].__name__})"
    yield from (f"### {shown}", "")
    yield from _body(inspect.getdoc(kind) or "")
    for member, value in vars(kind).items():
        if member.startswith("_") or (not isinstance(value, property) and not callable(value)):
            continue
        text = inspect.getdoc(value)
        if text:
            call = "" if isinstance(value, property) else "()"
            yield f"- `{member}{call}`: {_paragraph(text)}"
    yield ""


def _paragraph(text: str) -> str:
    return " ".join(text.split("\n\n", maxsplit=1)[0].split())


def _signature(function: object) -> Iterator[str]:
    """Signature as in the code, with one parameter per line."""
    source = textwrap.dedent(inspect.getsource(function))  # type: ignore[arg-type]
    node = ast.parse(source).body[0]
    assert isinstance(node, ast.FunctionDef)  # noqa: S101  (a public function is one)
    yield from ("```python", f"tutelage.{node.name}(")
    for text in _parameters(node.args):
        yield f"    {text},"
    returned = "" if node.returns is None else f" -> {ast.unparse(node.returns)}"
    yield from (f"){returned}", "```")


def _parameters(taken: ast.arguments) -> Iterator[str]:
    missing: list[ast.expr | None] = [None] * (len(taken.args) - len(taken.defaults))
    for one, default in zip(taken.args, [*missing, *taken.defaults], strict=True):
        yield _parameter(one, default)
    if taken.vararg is not None:
        yield f"*{_parameter(taken.vararg, None)}"
    elif taken.kwonlyargs:
        yield "*"
    for one, default in zip(taken.kwonlyargs, taken.kw_defaults, strict=True):
        yield _parameter(one, default)
    if taken.kwarg is not None:
        yield f"**{_parameter(taken.kwarg, None)}"


def _parameter(one: ast.arg, default: ast.expr | None) -> str:
    kind = "" if one.annotation is None else f": {ast.unparse(one.annotation)}"
    return f"{one.arg}{kind}" if default is None else f"{one.arg}{kind} = {ast.unparse(default)}"


def _body(text: str) -> Iterator[str]:
    """Markdown of a docstring with Google's sections."""
    opening, *parts = re.split(_SECTION, text, flags=re.MULTILINE)
    yield from (opening.strip(), "")
    for title, part in zip(parts[::2], parts[1::2], strict=True):
        inner = textwrap.dedent(part).strip("\n")
        if title == "Examples":
            code = re.sub(r"\s*# doctest: \+SKIP", "", inner)
            yield from ("```pycon", code.strip(), "```", "")
        elif title == "Returns":
            yield from (f"**Returns.** {' '.join(inner.split())}", "")
        else:
            yield from (f"**{title}.**", "", *_items(inner), "")


def _items(text: str) -> Iterator[str]:
    """Markdown list of `name: text` entries over several lines."""
    for item in re.split(r"\n(?=\S)", text):
        name, _, meaning = item.partition(":")
        yield f"- `{name.strip()}`: {' '.join(meaning.split())}"


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
        "`tutelage run CONFIG.yaml` reads one YAML file. Unknown names are errors, and so are keys",
        "that are given twice. All that is wrong is reported at once. `--set name=value` overrides",
        "the file. Only `data.path`, `student.model` and `out` must be given.",
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
    from tutelage.pipeline.config import schema_text

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
